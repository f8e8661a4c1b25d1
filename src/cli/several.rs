//! One command over several files and targets: side by side, with one report.
use std::{collections::BTreeSet, future::Future, pin::Pin};

use carrack_core::{Error, ErrorKind, Result, spec::ServiceName};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    commands::plan::PENDING,
    error::Failure,
    session::{Project, Session},
    settings::{quoted, this_command},
};
use crate::registry::Place;

/// One service's run of a command.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<u8, Failure>> + 'a>>;

/// What a command does for one service.
pub(super) type Run<O> = for<'a> fn(&'a mut Session, O) -> Running<'a>;

/// The commands that take several services.
const COMMANDS: &str = "`plan`, `deploy`, `status`, `destroy` and `check`";

/// One of the services, and how it ended.
struct Ended {
    session: Session,
    label: String,
    result: Result<u8, Failure>,
}

/// Runs the command for each file and each target. One that fails stops no other.
pub(super) async fn each<O: Clone>(session: &mut Session, options: O, run: Run<O>) -> Result<u8, Failure> {
    if !session.is_several() {
        return run(session, options).await;
    }
    let (sessions, labels) = match projects(session) {
        Ok(all) => all,
        Err(Refused::Whole(failure)) => return Err(failure),
        Err(Refused::Some(ended)) => {
            let code = told(session, ended).await;
            session.ui.say("Refused", "nothing was begun, for any of them");
            return Ok(code);
        }
    };
    Ok(side_by_side(session, sessions.into_iter().zip(labels), options, run).await)
}

/// Runs it for each file; what it does with several targets is its own.
pub(super) async fn each_file<O: Clone>(session: &mut Session, options: O, run: Run<O>) -> Result<u8, Failure> {
    if session.common.file.len() == 1 {
        return run(session, options).await;
    }
    let files = unique(session.common.file.iter().map(|file| file.display().to_string()), "-f")?;
    let sessions = session.common.file.iter().map(|file| session.of(file, session.common.target.clone()));
    let all: Vec<_> = sessions.zip(files).collect();
    Ok(side_by_side(session, all.into_iter(), options, run).await)
}

/// An error for a command that takes one service.
pub(super) fn require_one(session: &Session) -> Result<()> {
    if !session.is_several() {
        return Ok(());
    }
    let named = |count: usize, what: &str| (count > 1).then(|| format!("{count} {what}"));
    let files = named(session.common.file.len(), "files");
    let targets = named(session.common.target.len(), "targets");
    let all = files.into_iter().chain(targets).collect::<Vec<_>>().join(" and ");
    let first = match session.common.target.first() {
        Some(target) if session.common.target.len() > 1 => format!("--to {target}"),
        _ => format!("-f {}", quoted(&session.file().to_string_lossy())),
    };
    Err(Error::new(ErrorKind::Usage, format!("this command takes one service, and {all} are named"))
        .hint(format!("choose one: `{first}`"))
        .hint(format!("{COMMANDS} take several")))
}

enum Refused {
    Whole(Failure),
    Some(Vec<Ended>),
}

/// Every file is read and checked for every target before the first request is sent.
fn projects(session: &Session) -> Result<(Vec<Session>, Vec<String>), Refused> {
    let whole = |error: Error| Refused::Whole(error.into());
    let common = &session.common;
    unique(common.file.iter().map(|file| file.display().to_string()), "-f").map_err(whole)?;
    unique(common.target.iter().cloned(), "--to").map_err(whole)?;
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for file in &common.file {
        let targets: Vec<_> = common.target.iter().map(|target| vec![target.clone()]).collect();
        let targets = if targets.is_empty() { vec![Vec::new()] } else { targets };
        for target in targets {
            let label = match target.first() {
                Some(target) => format!("{}@{target}", file.display()),
                None => file.display().to_string(),
            };
            let one = session.of(file, target);
            match one.project() {
                Ok(project) => good.push((one, project)),
                Err(failure) => bad.push(Ended { session: one, label, result: Err(failure) }),
            }
        }
    }
    if !bad.is_empty() {
        return Err(Refused::Some(bad));
    }
    once_each(&good).map_err(whole)?;
    let labels = labels(&good);
    Ok((good.into_iter().map(|(session, _)| session).collect(), labels))
}

/// The same flag value twice would be the same service twice.
fn unique(values: impl Iterator<Item = String>, flag: &str) -> Result<Vec<String>> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for value in values {
        if !seen.insert(value.clone()) {
            return Err(Error::new(ErrorKind::Usage, format!("`{flag} {value}` is given twice")).hint("name it once"));
        }
        all.push(value);
    }
    Ok(all)
}

/// Two of them must not change one service.
fn once_each(all: &[(Session, Project)]) -> Result<()> {
    let mut seen: Vec<(&Session, &Project)> = Vec::new();
    let place = |project: &Project| -> (ServiceName, String, String, String) {
        let Place { provider, scope, region, .. } = &project.place;
        (project.resolved.name.clone(), provider.0.clone(), scope.clone(), region.clone())
    };
    for (session, project) in all {
        if let Some((other, _)) = seen.iter().find(|(_, other)| place(other) == place(project)) {
            let (name, _, scope, region) = place(project);
            let of = |session: &Session| match session.target() {
                Some(target) => format!("`{}` for `{target}`", session.file().display()),
                None => format!("`{}`", session.file().display()),
            };
            let text = format!("{} and {} are both service `{name}` in {scope}/{region}", of(other), of(session));
            return Err(Error::new(ErrorKind::Usage, text).hint("leave one of them out, or give one another name"));
        }
        seen.push((session, project));
    }
    Ok(())
}

/// By name where that tells them apart, else with the target, else with the file too.
fn labels(all: &[(Session, Project)]) -> Vec<String> {
    let name = |project: &Project| project.resolved.name.to_string();
    let at = |project: &Project| match &project.target {
        Some(target) => format!("{}@{target}", name(project)),
        None => name(project),
    };
    let short: Vec<_> = all.iter().map(|(_, project)| name(project)).collect();
    let longer: Vec<_> = all.iter().map(|(_, project)| at(project)).collect();
    let longest = all.iter().map(|(session, project)| format!("{} ({})", at(project), session.file().display()));
    let apart = |labels: &[String]| labels.iter().collect::<BTreeSet<_>>().len() == labels.len();
    if apart(&short) {
        short
    } else if apart(&longer) {
        longer
    } else {
        longest.collect()
    }
}

async fn side_by_side<O: Clone>(
    session: &mut Session,
    all: impl Iterator<Item = (Session, String)>,
    options: O,
    run: Run<O>,
) -> u8 {
    let all: Vec<_> = all.collect();
    session.ui.name_of(all.iter().map(|(_, label)| label.as_str()));
    let each = all.into_iter().map(|(mut session, label)| {
        session.call(&label);
        let options = options.clone();
        async move {
            let result = run(&mut session, options).await;
            if let Err(failure) = &result {
                // The rest is told when all have ended.
                session.cx.events.flushed().await;
                session.ui.say("Failed", &format!("with exit code {}", failure.exit_code()));
            }
            Ended { session, label, result }
        }
    });
    let ended = join_all(each).await;
    told(session, ended).await
}

/// Prints what each has to say, in the order of the command line, and makes the one report.
async fn told(session: &mut Session, all: Vec<Ended>) -> u8 {
    let (mut reports, mut codes, mut data) = (Vec::new(), Vec::new(), Vec::new());
    session.cx.events.flushed().await;
    for Ended { mut session, label, result } in all {
        let code = match &result {
            Ok(code) => *code,
            Err(failure) => failure.exit_code(),
        };
        let place = result.as_ref().err().and_then(|failure| session.place(failure));
        let said = session.take_data();
        if !said.is_empty() {
            data.push((label.clone(), said));
        }
        let mut report = json!({
            "label": label, "file": session.file(), "target": session.target(), "ok": result.is_ok(), "code": code,
        });
        let own = match &result {
            Ok(_) => session.take_report().unwrap_or_default(),
            Err(failure) => failure.report(&this_command()),
        };
        if let (Some(report), Value::Object(own)) = (report.as_object_mut(), own) {
            report.extend(own);
        }
        if let Err(failure) = &result {
            session.ui.failed(failure, place, Some(&label));
        }
        reports.push(report);
        codes.push(code);
    }
    for text in under_labels(&data) {
        session.ui.data(&text);
    }
    let code = code_of(&codes);
    let failed = reports.iter().filter(|report| report["ok"] == false).count();
    if failed > 0 && failed < reports.len() {
        session.ui.say("Failed", &format!("{failed} of {}", reports.len()));
    }
    session.report(json!({ "ok": failed == 0, "services": reports }));
    code
}

/// A line each, in columns; what has several lines stands below its label.
fn under_labels(all: &[(String, String)]) -> Vec<String> {
    if all.iter().any(|(_, text)| text.contains('\n')) {
        let blocks = all.iter().enumerate();
        return blocks.map(|(n, (label, text))| format!("{}{label}:\n{text}", if n > 0 { "\n" } else { "" })).collect();
    }
    let width = all.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    all.iter().map(|(label, text)| format!("{label:<width$}  {text}")).collect()
}

/// 0 when all went well, the one code of those that failed, and 1 when they failed differently.
fn code_of(codes: &[u8]) -> u8 {
    let failed: BTreeSet<u8> = codes.iter().copied().filter(|code| !matches!(*code, 0 | PENDING)).collect();
    match failed.len() {
        0 => codes.iter().copied().max().unwrap_or(0),
        1 => failed.into_iter().next().unwrap_or(1),
        _ => ErrorKind::Unclassified.exit_code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_one_of_the_failures_or_1() {
        assert_eq!(code_of(&[0, 0]), 0);
        assert_eq!(code_of(&[0, 3, 0]), 3);
        assert_eq!(code_of(&[0, 50, 3, 50]), 50);
        assert_eq!(code_of(&[0, 50, 21]), 1);
        assert_eq!(code_of(&[130, 130]), 130);
    }

    #[test]
    fn lines_stand_beside_their_label_and_blocks_below() {
        let all = |second: &str| under_labels(&[("a".into(), "1".into()), ("bb".into(), second.into())]);
        assert_eq!(all("2"), ["a   1", "bb  2"]);
        assert_eq!(all("2\n3"), ["a:\n1", "\nbb:\n2\n3"]);
    }
}

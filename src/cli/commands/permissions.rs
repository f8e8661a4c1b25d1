//! `carrack permissions …`: which ones a command needs, and whether they are held.
use carrack_core::{
    permission::{Answer, Form, Grant, Held, Members, Need, Task, Who},
    spec::ServiceSpec,
};
use clap::{
    Args, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{
        error::Failure,
        session::{Matter, Session},
        ui::table,
    },
    ops::permissions::{check, missing, refusal, runtime},
    registry,
};

/// Options of `carrack permissions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack permissions show
  carrack permissions show --for image --as yaml > role.yaml
  carrack permissions show --for ci --as gcloud --member user:me@example.com
  carrack permissions check --for deploy")]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what must be allowed, by what the file says; sends nothing
    Show(Show),
    /// Ask the cloud what is allowed, and say what is missing
    Check(Check),
}

/// What is to be done.
#[derive(Debug, Args)]
struct What {
    /// What is to be done; several with commas
    #[arg(long = "for", value_name = "TASK", value_delimiter = ',', default_value = "deploy",
        value_parser = PossibleValuesParser::new(Task::ALL.map(Task::name)).try_map(|name| name.parse::<Task>()))]
    tasks: Vec<Task>,
    /// For the tasks of `carrack secrets`: the secret; else those that the file names
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack permissions show
  carrack permissions show --for image
  carrack permissions show --for push,image --as yaml > role.yaml
  carrack permissions show --for secrets-set --secret db-url --as gcloud
  carrack permissions show --for ci --as terraform --member user:me@example.com")]
struct Show {
    #[command(flatten)]
    what: What,
    /// The form
    #[arg(long = "as", value_enum, value_name = "FORM", default_value_t = As::Table)]
    form: As,
    /// Who is to be allowed, as the cloud's policies name them
    #[arg(long, value_name = "MEMBER")]
    member: Option<String>,
    /// In roles and commands, also what is needed only in some cases
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum As {
    /// For people, with the least roles that the cloud has ready
    Table,
    /// A custom role, for `gcloud iam roles create --file`
    Yaml,
    /// Commands that make the role and bind it
    Gcloud,
    /// The same for Terraform
    Terraform,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack permissions check
  carrack permissions check --for image --to prod
  carrack permissions check --for logs,status --format json")]
struct Check {
    #[command(flatten)]
    what: What,
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    match options.command {
        Command::Show(options) => show(session, options).await,
        Command::Check(options) => asked(session, options).await,
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    tasks: &'a [Task],
    service: &'a str,
    project: &'a str,
    needs: &'a [Need],
    grants: &'a [Grant],
}

async fn show(session: &mut Session, Show { what, form, member, all }: Show) -> Result<u8, Failure> {
    let project = session.project()?;
    let What { tasks, secret } = what;
    let matter = Matter::new(&project, secret)?;
    let table = registry::permissions(&project.place)?;
    let subject = matter.subject();
    let needs = carrack_core::permission::together(tasks.iter().map(|task| table.needs(*task, &subject)));
    let wanted: Vec<Need> = needs.iter().filter(|need| all || need.only.is_none()).cloned().collect();
    let account = runtime(&needs.iter().collect::<Vec<_>>()).map(str::to_owned);
    let members = Members { deployer: member.as_deref(), runtime: account.as_deref() };
    let grants = table.grants(&wanted, members);
    let names: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
    let name = names.join("-");
    let document = |form| table.document(form, &name, &wanted, members);
    let shown = Shown {
        tasks: &tasks,
        service: project.resolved.name.as_str(),
        project: &project.place.scope,
        needs: &needs,
        grants: &grants,
    };
    let text = match form {
        As::Table => for_people(&tasks, &needs, &grants, &matter.subject().spec.clone()),
        As::Yaml => document(Form::Role),
        As::Gcloud => document(Form::Commands),
        As::Terraform => document(Form::Terraform),
        As::Json => serde_json::to_string_pretty(&shown).unwrap_or_default(),
    };
    session.data(&text).await;
    session.report(shown);
    Ok(0)
}

fn for_people(tasks: &[Task], needs: &[Need], grants: &[Grant], spec: &ServiceSpec) -> String {
    let doing: Vec<&str> = tasks.iter().map(|task| task.meaning()).collect();
    let mut lines = vec![format!("To {}:", doing.join(" and "))];
    for who in [Who::Deployer, Who::Runtime, Who::Cloud] {
        let of = |at_times: bool| needs.iter().filter(move |need| need.who == who && need.only.is_some() == at_times);
        let rows = |at_times: bool| -> Vec<[String; 3]> {
            let why = |need: &Need| match &need.only {
                Some(case) => format!("{}; {case}", need.why),
                None => need.why.clone(),
            };
            of(at_times).map(|need| [need.on.to_string(), need.permission.clone(), why(need)]).collect()
        };
        if of(false).next().is_some() {
            lines.push(String::new());
            lines.push(format!("{} needs", capital(whose(who, spec))));
            lines.extend(table(&rows(false), "  "));
        }
        if of(true).next().is_some() {
            lines.push(String::new());
            lines.push(format!("{} needs only at times", capital(whose(who, spec))));
            lines.extend(table(&rows(true), "  "));
        }
    }
    if needs.is_empty() {
        lines.push("  nothing".to_owned());
    }
    if !grants.is_empty() {
        lines.push(String::new());
        lines.push("The least roles that the cloud has ready, and what each gives besides".to_owned());
        let rows: Vec<[String; 3]> =
            grants.iter().map(|grant| [grant.on.to_string(), grant.role.clone(), grant.also.to_owned()]).collect();
        lines.extend(table(&rows, "  "));
    }
    lines.join("\n")
}

fn whose(who: Who, spec: &ServiceSpec) -> String {
    match (who, &spec.workload.service_account) {
        (Who::Runtime, Some(account)) => format!("{} (`{account}`)", who.name()),
        _ => who.name().to_owned(),
    }
}

fn capital(text: String) -> String {
    let (first, rest) = text.split_at(text.len().min(1));
    first.to_uppercase() + rest
}

async fn asked(session: &mut Session, Check { what }: Check) -> Result<u8, Failure> {
    let project = session.project()?;
    let What { tasks, secret } = what;
    let matter = Matter::new(&project, secret)?;
    let connection = session.connect(&project.place).await?;
    let provider = &*connection.provider;
    let held = check(&session.cx, provider, &tasks, &matter.subject()).await?;
    if session.json() {
        for one in &held {
            session.ui.value(&Line { kind: "permission", held: one });
        }
    } else {
        session.data(&answers(&held)).await;
    }
    let lacks = missing(&held);
    if !lacks.is_empty() {
        return Err(refusal(provider, &tasks, &lacks).into());
    }
    let unknown = held.iter().filter(|one| matches!(one.answer, Answer::Unknown { .. })).count();
    if unknown > 0 {
        session.ui.say("Note", &format!("{unknown} of {} could not be asked", held.len()));
    }
    session.report(json!({ "asked": held.len(), "unknown": unknown }));
    Ok(0)
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    held: &'a Held,
}

fn answers(held: &[Held]) -> String {
    let rows: Vec<[String; 4]> = held
        .iter()
        .map(|Held { need, answer }| {
            let (word, more) = match answer {
                Answer::Yes => ("yes", None),
                Answer::No { asked } => (if need.only.is_none() { "missing" } else { "no" }, asked.clone()),
                Answer::Unknown { why } => ("unknown", Some(why.clone())),
            };
            let only = need.only.clone().filter(|_| word != "yes");
            let who = if need.who == Who::Deployer { String::new() } else { format!("{}: ", need.who.name()) };
            let why: Vec<String> = [Some(format!("{who}{}", need.why)), only, more].into_iter().flatten().collect();
            [word.to_owned(), need.on.to_string(), need.permission.clone(), why.join("; ")]
        })
        .collect();
    table(&rows, "").join("\n")
}

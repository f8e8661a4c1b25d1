use carrack_core::{observed::Readiness, permission::Task};
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        error::Failure,
        session::{Session, explained},
        ui::{short, table},
    },
    ops::history::{Client, Entry, history},
};

/// Options of `carrack history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack history --to prod
  carrack history --limit 100
  carrack history --format json")]
pub(in crate::cli) struct Options {
    /// The newest so many; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let project = session.project()?;
    let connection = session.connect(&project.place).await?;
    let (provider, name) = (&*connection.provider, &project.resolved.name);
    let mut entries = match history(&session.cx, provider, name).await {
        Ok(entries) => entries,
        Err(error) => return Err(explained(session, &project, provider, Task::History, error).await.into()),
    };
    let all = entries.len();
    if options.limit > 0 {
        entries.truncate(options.limit);
    }
    session.data(&rows(&entries).join("\n")).await;
    let older = all - entries.len();
    if older > 0 {
        session.ui.say("Note", &format!("{older} older ones are not shown: `--limit 0` lists them all"));
    }
    session.report(json!({ "service": provider.service_ref(name), "revisions": entries, "older": older }));
    Ok(0)
}

fn rows(entries: &[Entry]) -> Vec<String> {
    let head = ["revision", "traffic", "when", "by", "who", "commit", "image", ""].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(entries.iter().map(row)).collect();
    table(&rows, "")
}

fn row(entry: &Entry) -> [String; 8] {
    let unknown = || "-".to_owned();
    [
        entry.revision.0.clone(),
        if entry.percent > 0 { format!("{}%", entry.percent) } else { unknown() },
        short::time(&entry.created),
        match entry.by {
            Client::Carrack => "carrack".to_owned(),
            Client::Others => "others".to_owned(),
        },
        entry.who.clone().unwrap_or_else(unknown),
        entry.commit.as_deref().map_or_else(unknown, short::commit),
        short::image(&entry.image),
        notes(entry).join("; "),
    ]
}

fn notes(entry: &Entry) -> Vec<String> {
    let mut notes = Vec::new();
    if !entry.tags.is_empty() {
        let tags: Vec<&str> = entry.tags.keys().map(String::as_str).collect();
        notes.push(format!("tagged {}", tags.join(", ")));
    }
    if let Some(restored) = &entry.restored {
        notes.push(format!("the settings of {}", restored.0));
    }
    match &entry.readiness {
        Readiness::Ready => {}
        Readiness::Progressing(_) => notes.push("starting".to_owned()),
        Readiness::Failed(_) => notes.push("failed".to_owned()),
    }
    notes
}

use carrack_core::secret::{Secret, SecretVersion, VersionState};
use clap::Args;
use serde_json::json;

use super::Where;
use crate::cli::{error::Failure, session::Session};

/// Options of `carrack secrets versions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  carrack secrets versions db-password\n  carrack secrets versions db-password --format json"
)]
pub(super) struct Versions {
    /// The secret, or whole: `projects/PROJECT/secrets/NAME`
    #[arg(value_name = "NAME")]
    pub(super) name: String,
}

pub(super) async fn list(session: &mut Session, place: &Where) -> Result<u8, Failure> {
    let connection = place.connect(session).await?;
    let secrets = connection.provider.secrets().list(&session.cx).await?;
    let rows =
        secrets.iter().map(|secret| [secret.name.clone(), seconds(&secret.created), kept(secret), labels(secret)]);
    session.data(&table(["secret", "created", "kept", "labels"], rows)).await;
    session.report(json!({ "secrets": secrets }));
    Ok(0)
}

pub(super) async fn versions(session: &mut Session, place: &Where, options: Versions) -> Result<u8, Failure> {
    let connection = place.connect(session).await?;
    let versions = connection.provider.secrets().versions(&session.cx, &options.name).await?;
    let row = |version: &SecretVersion| [version.id.clone(), seconds(&version.created), word(version.state).to_owned()];
    session.data(&table(["version", "created", "state"], versions.iter().map(row))).await;
    session.report(json!({ "secret": options.name, "versions": versions }));
    Ok(0)
}

/// A state as it is said.
pub(super) fn word(state: VersionState) -> &'static str {
    match state {
        VersionState::Enabled => "enabled",
        VersionState::Disabled => "disabled",
        VersionState::Destroyed => "destroyed",
    }
}

fn kept(secret: &Secret) -> String {
    if secret.locations.is_empty() { "automatic".to_owned() } else { secret.locations.join(",") }
}

fn labels(secret: &Secret) -> String {
    secret.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn seconds(time: &str) -> String {
    time.get(..19).map_or_else(String::new, |time| format!("{time}Z"))
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

use std::io::Write;

use carrack_core::{Error, ErrorKind};
use clap::Args;
use serde_json::json;

use crate::{
    cli::{error::Failure, session::Session},
    config,
};

/// Options of `carrack init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack init\n  carrack init --name shop -f shop/carrack.toml")]
pub(in crate::cli) struct Options {
    /// The service's name; the folder's name when it is left out
    #[arg(long)]
    name: Option<String>,
    /// The Google Cloud project to deploy to
    #[arg(long)]
    project: Option<String>,
    /// Its region
    #[arg(long)]
    region: Option<String>,
}

pub(in crate::cli) fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let path = &session.file().to_owned();
    let name = match options.name {
        Some(name) => String::from(carrack_core::spec::ServiceName::try_from(name)?),
        None => folder_name(path).unwrap_or_else(|| "app".to_owned()),
    };
    let binary = cargo_package(path);
    let text = config::template(
        &name,
        &config::TemplateOptions {
            binary: binary.as_deref(),
            project: options.project.as_deref(),
            region: options.region.as_deref(),
        },
    );
    for (flag, value) in [("--project", &options.project), ("--region", &options.region)] {
        if value
            .as_ref()
            .is_some_and(|value| !text.contains(&format!("\n{} = \"{value}\"", flag.trim_start_matches('-'))))
        {
            return Err(Error::new(ErrorKind::Usage, format!("the value of {flag} makes no target"))
                .hint("a target needs both, in valid form: `--project my-project --region europe-west1`")
                .into());
        }
    }
    let written = std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| {
        let exists = e.kind() == std::io::ErrorKind::AlreadyExists;
        let error = Error::new(ErrorKind::ConfigInvalid, format!("cannot write `{}`", path.display())).with_source(e);
        if exists { error.hint("it is there already: edit it, or name another with `-f FILE`") } else { error }
    })?;
    let next = if binary.is_some() { "`carrack deploy --local`" } else { "say in it what the image is made of" };
    session.ui.say("Wrote", &format!("{}; next: {next}", path.display()));
    session.report(json!({ "file": path, "service": name }));
    Ok(0)
}

/// The folder's name, made into a valid one.
fn folder_name(path: &std::path::Path) -> Option<String> {
    let folder = std::path::absolute(path).ok()?.parent()?.file_name()?.to_str()?.to_lowercase();
    let name: String = folder.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
    let name: String = name.chars().take(49).collect();
    (!name.is_empty()).then(|| name.trim_end_matches('-').to_owned())
}

/// The Rust package beside the file, if there is one.
fn cargo_package(path: &std::path::Path) -> Option<String> {
    let text = std::fs::read_to_string(path.with_file_name("Cargo.toml")).ok()?;
    let manifest: toml::Table = text.parse().ok()?;
    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
}

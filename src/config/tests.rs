//! The module as its callers see it.
mod broken_files;
mod contradictions;
mod hostile;
mod jobs;
mod merge;
mod pass_through;
mod places;
mod rollout;
mod schema;
mod secrets;
mod settings;
mod sidecars;
mod unknown_keys;
mod wrong_texts;
mod wrong_types;
mod wrong_units;

use super::{Diagnostics, Loaded, Source, load};

/// A file named carrack.toml, with `A` = one and `PORT` = 8080 in the environment.
fn try_load(text: &str) -> Result<Loaded, Diagnostics> {
    let (path, text) = ("carrack.toml".into(), text.to_owned());
    load(Source { path, text }, &|name| match name {
        "A" => Some("one".to_owned()),
        "PORT" => Some("8080".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

fn loaded(text: &str) -> Loaded {
    try_load(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is shown for a file that is wrong.
fn refused(text: &str) -> String {
    match try_load(text) {
        Ok(_) => panic!("this was taken:\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

/// The same, for what stands below a valid `[service]`.
fn refused_below(text: &str) -> String {
    refused(&format!("[service]\nname = \"hello\"\n{text}"))
}

//! The never-rules of the house that neither the compiler nor clippy holds.
#![expect(clippy::unwrap_used, reason = "an unreadable tree is a failed test")]

use std::{fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every Rust file below `folder`, with its path from the root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = walkdir::WalkDir::new(Path::new(ROOT).join(folder))
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "rs"))
        .map(|entry| {
            let name = entry.path().strip_prefix(ROOT).unwrap().display().to_string();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    assert!(!files.is_empty(), "{folder} has sources");
    files.sort();
    files
}

/// Files below `folder`, but for `except`, that have one of `words`.
fn having(folder: &str, except: &[&str], words: &[&str]) -> Vec<String> {
    sources(folder)
        .into_iter()
        .filter(|(name, _)| !except.iter().any(|path| name.starts_with(path)))
        .flat_map(|(name, text)| {
            let hits: Vec<_> =
                words.iter().filter(|word| text.contains(**word)).map(|word| format!("{name}: {word}")).collect();
            hits
        })
        .collect()
}

fn dependencies(krate: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join("providers").join(krate).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

fn ours(krate: &str) -> Vec<String> {
    dependencies(krate).into_iter().filter(|name| name.starts_with("carrack")).collect()
}

#[test]
fn the_crate_graph_has_no_circles() {
    assert_eq!(ours("core"), [""; 0]);
    assert_eq!(ours("http"), ["carrack-core"]);
    assert_eq!(ours("gcp"), ["carrack-core", "carrack-http"]);
    assert_eq!(ours("emulator"), [""; 0]);
}

#[test]
fn core_knows_no_http_no_command_line_and_no_cloud() {
    for name in ["reqwest", "clap", "hyper", "gcp_auth"] {
        assert!(!dependencies("core").contains(&name.to_owned()), "{name}");
    }
    assert_eq!(having("providers/core/src", &[], &["googleapis", "std::env", "std::net"]), [""; 0]);
}

#[test]
fn only_the_registry_names_clouds() {
    assert_eq!(having("src", &["src/registry.rs"], &["carrack_gcp::"]), [""; 0]);
}

#[test]
fn ops_knows_no_command_line() {
    assert_eq!(having("src/ops", &[], &["cli::", "clap::", "println!", "process::exit"]), [""; 0]);
}

#[test]
fn only_retry_and_poll_wait() {
    let except = ["providers/core/src/poll.rs", "providers/core/src/retry.rs"];
    for folder in ["src", "providers/core/src", "providers/http/src", "providers/gcp/src"] {
        assert_eq!(having(folder, &except, &["sleep(", "sleep_until(", "interval("]), [""; 0]);
    }
}

#[test]
fn a_plan_does_no_io() {
    assert_eq!(
        having("providers/gcp/src/run/plan.rs", &[], &["async ", ".await", "Client", "SystemTime", "Timestamp::now"]),
        [""; 0]
    );
}

#[test]
fn the_trait_has_no_default_bodies() {
    let (_, text) = sources("providers/core/src/provider.rs").remove(0);
    let body = text.split("pub trait Provider").nth(1).unwrap().split("\n}").next().unwrap();
    assert!(body.contains("fn apply") && !body.contains("{\n        "), "{body}");
}

#[test]
fn tests_never_ask_where_they_run() {
    assert_eq!(having("tests/contract/cases.rs", &[], &["\"local\"", "\"memory\"", "id()"]), [""; 0]);
}

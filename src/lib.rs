//! Carrack: one TOML file and one binary that put a container on Cloud Run, and keep it there.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line: arguments, settings, output, exit codes |
//! | [`ops`] | what the commands do, over any provider |
//! | [`config`] | carrack.toml: keys, diagnostics, targets |
//! | [`import`] | a carrack.toml from what is there already |
//! | [`ci`] | pipelines for a CI, and what lets them in without a key |
//! | [`image`] | images without a daemon: layers, OCI layout, push, a look at the program |
//! | [`registry`] | from a target to its provider; the only file that names all clouds |
//!
//! The clouds are crates of their own, under `providers/`: `core` is the contract between them and this crate,
//! `http` is shared by all of them, `gcp` is Cloud Run, and `emulator` is the local cloud.
//!
//! A deploy goes: `config` → a spec → `image` builds, the provider observes → the provider plans →
//! `image` pushes → core's `run` applies step by step → events → `cli::ui` → exit code.

pub mod ci;
pub mod cli;
pub mod config;
pub mod image;
pub mod import;
pub mod ops;
pub mod registry;

//! All runtimes, with real containers, and what a hostile layer can do.
//!
//! They use the examples `launcher` and `owner`, which `cargo test` builds beside them. With a filter or `--lib` it
//! does not: `cargo build --examples` does.
mod behaviour;
mod company;
#[cfg(feature = "engine-tests")]
mod engine;
mod hostile_layers;
mod isolation;
mod layers;
mod owner;
mod place;
pub(crate) mod support;

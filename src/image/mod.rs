//! Container images: made without a daemon, kept as an OCI layout on disk, pushed in few round trips.
//!
//! | module | what it holds |
//! |---|---|
//! | [`spec`] | what an image is made of, and what is refused before anything runs |
//! | `command` | the `run` line: its output, its end, its interruption |
//! | `tree`, `missing` | the files to copy, as the entries of each layer; those that are not there |
//! | [`inspect`], `elf` | whether the program can start: machine, loader, `#!` line |
//! | `layer`, `pipe` | one reproducible tar, compressed and hashed in one pass, cached by content |
//! | [`layout`] | the OCI layout: blobs by digest, the index by name |
//! | [`mod@build`] | all of that, in order |
//! | [`mod@push`] | to a registry, sending only what is missing |
//! | `registry`, `challenge`, `refusal` | one repository of a registry: addresses, credentials, error bodies |
//! | `upload` | one blob, streamed from disk, started anew when it breaks |
//! | `progress`, `deadline` | how many bytes are sent; how long it may take |

pub mod build;
mod challenge;
mod command;
mod deadline;
mod elf;
pub mod inspect;
mod layer;
pub mod layout;
mod missing;
mod pipe;
mod progress;
pub mod push;
mod refusal;
mod registry;
pub mod spec;
#[cfg(test)]
mod test_registry;
mod tree;
mod upload;

pub use build::{Built, build};
pub use push::{Destination, Pushed, exists, push};
pub use spec::{Base, BuildSpec, FileCopy, Platform, check};

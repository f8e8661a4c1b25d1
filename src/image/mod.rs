//! Container images: made without a daemon, kept as an OCI layout on disk, pushed in few round trips.
//!
//! | module | what it holds |
//! |---|---|
//! | [`spec`] | what an image is made of, and what is refused before anything runs |
//! | `command` | the `run` line and other programs: its output, its end, its interruption |
//! | `tree`, `missing` | the files to copy, as the entries of each layer; those that are not there |
//! | `above` | the same files in the folders of a base |
//! | [`inspect`], `elf` | whether the program can start: machine, loader, `#!` line |
//! | `layer`, `pipe` | one reproducible tar, compressed and hashed in one pass, cached by content |
//! | [`layout`] | the OCI layout: blobs by digest, the index by name |
//! | `manifest`, `configuration` | what an image says of itself, and what it inherits |
//! | [`base`], `pull`, [`below`], `listing` | the image below ours, how it comes from its registry, which files it has |
//! | [`mod@build`] | all of that, in order |
//! | [`dockerfile`], `import` | the other way: a Dockerfile by Docker, Podman or Buildah, and what comes of it |
//! | [`mod@push`], `upload` | to a registry, sending only what is missing |
//! | [`exposed`] | which ports an image in a registry says that it listens on |
//! | [`ways`], [`docker_config`] | how a registry is reached, and by whose credentials |
//! | `registry`, `challenge`, `refusal` | one repository of a registry: addresses, credentials, error bodies |
//! | `progress`, `persist`, `deadline` | how many bytes are sent; how often it is tried; how long it may take |

mod above;
pub mod base;
pub mod below;
pub mod build;
mod challenge;
mod command;
mod configuration;
mod deadline;
pub mod docker_config;
pub mod dockerfile;
mod elf;
pub mod exposed;
mod import;
pub mod inspect;
mod layer;
pub mod layout;
mod listing;
mod manifest;
mod missing;
mod persist;
mod pipe;
mod progress;
mod pull;
pub mod push;
mod refusal;
mod registry;
pub mod spec;
#[cfg(test)]
mod test_registry;
mod tree;
mod upload;
pub mod ways;

pub use base::BaseImage;
pub use below::Below;
pub use build::{Built, build};
pub use docker_config::DockerConfig;
pub use dockerfile::DockerfileSpec;
pub use exposed::exposed_ports;
pub use push::{Destination, Pushed, Tag, exists, push};
pub use spec::{Base, BuildSpec, FileCopy, Platform, Recipe, check, source_date_epoch};
pub use ways::{Way, Ways};

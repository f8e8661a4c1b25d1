//! The contract between Carrack and a cloud: words, pure rules, and the one apply loop.
//!
//! | module | what it holds |
//! |---|---|
//! | [`spec`] | what a service shall be, neutral of any cloud |
//! | [`fields`] | a spec as a flat map of named fields |
//! | [`adopted`] | a live service as a file would have it |
//! | [`json_path`] | where something stands in a cloud's own JSON |
//! | [`diff`] | what differs between two specs |
//! | [`ownership`] | which live fields are ours to change: the three-way rule |
//! | [`observed`], [`receipt`] | what is live, and what a deploy wrote about itself |
//! | [`rollout`] | how traffic goes over to a new revision |
//! | [`plan`] | typed steps from observed to desired |
//! | [`traffic`] | who gets how much traffic, and what a change makes of it |
//! | [`capability`] | what a cloud can do, and the check against it |
//! | [`provider`] | the trait that every cloud implements |
//! | [`job`] | what runs to its end: spec, plan, executions |
//! | [`secret`] | what a store of secrets does |
//! | [`permission`] | what a command needs to be allowed |
//! | [`run`] | the loop that applies a plan |
//! | [`retry`], [`poll`] | the only places that sleep |
//! | [`pace`] | how much may be under way at once |
//! | [`event`], [`error`] | what users see, and the exit codes |
//! | [`evidence`], [`listening`], [`cause`] | what a failed deploy left behind, and its one cause |
//! | [`memory`] | a backend in memory, the reference for the contract suite |
//!
//! Nothing here does I/O, knows a cloud, or reads the environment.
#![warn(missing_docs)]

pub mod adopted;
pub mod capability;
pub mod cause;
pub mod diff;
pub mod error;
pub mod event;
pub mod evidence;
pub mod fields;
pub mod job;
pub mod json_path;
pub mod listening;
pub mod memory;
pub mod observed;
pub mod ownership;
pub mod pace;
pub mod permission;
pub mod plan;
pub mod poll;
pub mod provider;
pub mod receipt;
pub mod retry;
pub mod rollout;
pub mod run;
pub mod secret;
pub mod spec;
pub mod traffic;

pub use error::{Error, ErrorKind, Result};

//! The program as a user sees it: its output, its exit codes, and what it leaves behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod bases;
mod basics;
mod canary;
mod ci;
mod credentials;
mod documented;
mod environment;
mod failures;
mod failures_refused;
mod faults;
mod github;
mod history;
mod identities;
mod import;
mod jobs;
mod keys;
mod left_behind;
mod lifecycle;
mod logs;
mod pass_through;
mod permissions;
mod principals;
mod production;
mod promise;
mod pushes;
mod recording;
mod rollback;
mod rollout;
mod run;
mod secret_deploys;
mod secrets;
mod several;
mod sidecars;
mod surgical;
mod threads;
mod traffic;

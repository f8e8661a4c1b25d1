//! One file a command: its options and `run`.
pub(super) mod auth;
pub(super) mod build;
pub(super) mod check;
pub(super) mod ci;
pub(super) mod completions;
pub(super) mod deploy;
pub(super) mod destroy;
#[cfg(all(feature = "local", target_os = "linux"))]
pub(super) mod emulator;
pub(super) mod explain;
pub(super) mod history;
pub(super) mod import;
pub(super) mod init;
pub(super) mod jobs;
pub(super) mod logs;
pub(super) mod permissions;
pub(super) mod plan;
pub(super) mod push;
pub(super) mod rollback;
pub(super) mod schema;
pub(super) mod secrets;
pub(super) mod status;
pub(super) mod traffic;

//! The background process: the local cloud in a session of its own, found again by its state file.
//!
//! | file in the state folder | what it is |
//! |---|---|
//! | `emulator.json` | [`State`]: where it listens, its token, what to sweep |
//! | `emulator.lock` | held by the process for its life ([`Guard`]); holds its pid |
//! | `emulator.start.lock` | held by whoever is starting or stopping it right now |
//! | `emulator.log` | its output |
//!
//! The lock, not the pid, says whether it lives: the kernel drops it with the process, also after SIGKILL, and a pid
//! that was given to another process holds no lock.
mod detach;
mod error;
mod guard;
mod log;
mod paths;
mod process;
mod start;
mod state;
mod stop;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

pub use self::{
    detach::detach,
    error::BackgroundError,
    guard::Guard,
    paths::Paths,
    start::{Ensured, Start, ensure},
    state::State,
    stop::{Swept, stop},
};

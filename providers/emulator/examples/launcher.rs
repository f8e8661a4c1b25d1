//! The smallest program that can start containers: what the binary's main does before anything else.
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(carrack_emulator::runtime::LAUNCHER_ARGUMENT) {
        return carrack_emulator::runtime::launcher_main();
    }
    ExitCode::FAILURE
}

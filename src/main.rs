//! The binary: the container launcher when it is re-executed as one, else the command line.
use std::process::ExitCode;

fn main() -> ExitCode {
    // The launcher makes namespaces, which only a process without threads can.
    #[cfg(all(feature = "local", target_os = "linux"))]
    if std::env::args_os().nth(1).is_some_and(|argument| argument == carrack_emulator::runtime::LAUNCHER_ARGUMENT) {
        return carrack_emulator::runtime::launcher_main();
    }
    carrack::cli::main()
}

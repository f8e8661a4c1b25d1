//! One run of the program, as text that a snapshot can hold.
use std::process::{Command, Output};

/// Exit code, stdout and stderr; what differs from run to run is replaced.
pub(crate) fn snapshot(command: &mut Command, hide: &[(&str, &str)]) -> String {
    shown(&command.output().unwrap(), hide)
}

pub(crate) fn shown(output: &Output, hide: &[(&str, &str)]) -> String {
    let mut text =
        format!("exit {}\n", output.status.code().map_or_else(|| "by signal".to_owned(), |code| code.to_string()));
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            text += &format!("--- {name}\n{}\n", String::from_utf8_lossy(bytes).trim_end());
        }
    }
    for (what, with) in hide {
        text = text.replace(what, with);
    }
    text
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails with the program's own words.
pub(crate) fn ok(output: Output) -> Output {
    assert!(output.status.success(), "{}", shown(&output, &[]));
    output
}

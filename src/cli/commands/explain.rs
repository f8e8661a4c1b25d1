use carrack_core::{Error, ErrorKind};
use clap::Args;

use crate::cli::{error::Failure, session::Session};

/// Options of `carrack explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack explain 31\n  carrack explain          all codes")]
pub(in crate::cli) struct Options {
    /// An exit code
    code: Option<u8>,
}

/// Every exit code: its number, what it means, what to do.
const CODES: [(u8, &str, &str); 20] = [
    (0, "it worked, or there was nothing to do", ""),
    (1, "it failed in a way that has no number of its own", "The message says what happened; `-v` shows the requests."),
    (2, "the command line is wrong", "`carrack COMMAND --help` has examples."),
    (3, "changes are pending", "`carrack plan --exit-code` found something that a deploy would change."),
    (
        10,
        "the configuration is wrong",
        "The message names file, line and column. `carrack check` finds it without sending anything.",
    ),
    (11, "this cloud cannot do that", "Remove the field, or choose another target."),
    (
        12,
        "the saved plan cannot be used",
        "It was made by another version or for another service: `carrack plan --out FILE`.",
    ),
    (
        13,
        "the saved plan is stale",
        "The service changed after the plan was made: look at it again with `carrack plan --out FILE`.",
    ),
    (
        20,
        "there are no valid credentials",
        "`gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS.",
    ),
    (21, "the credentials do not allow it", "The message names the permission and the resource."),
    (30, "it does not exist", "Check project, region and name; `carrack status` shows what is live."),
    (
        31,
        "somebody else changed it at the same time",
        "Run the same command again: it looks anew and shows what it would do.",
    ),
    (32, "a quota is used up", "Ask the cloud for more, or remove what is not needed."),
    (40, "too many requests", "Wait a little and run the same command again."),
    (
        41,
        "the cloud, or the local cloud, does not answer",
        "Check the network; for the local cloud, `carrack emulator status` and its log.",
    ),
    (
        42,
        "it did not finish in time",
        "Run the same command again: it goes on from what is live. `--timeout` sets the limit.",
    ),
    (
        50,
        "deployed, but the new revision does not serve",
        "A revision that does not start gets no traffic: the earlier one goes on serving. The message has the last log lines; mend it and deploy again.",
    ),
    (51, "building or pushing the image failed", "The message has the last lines of the build."),
    (70, "a fault of Carrack itself", "Please report it, with the output of the same command with `-vv`."),
    (130, "interrupted", "Run the same command again: it goes on from what is live."),
];

pub(in crate::cli) fn run(session: &Session, options: Options) -> Result<u8, Failure> {
    let Some(code) = options.code else {
        for (code, meaning, _) in CODES {
            session.ui.print(&format!("{code:>3}  {meaning}"));
        }
        return Ok(0);
    };
    let Some((_, meaning, advice)) = CODES.iter().find(|(known, ..)| *known == code) else {
        return Err(Error::new(ErrorKind::NotFound, format!("Carrack never exits with {code}"))
            .hint("`carrack explain` lists the codes")
            .into());
    };
    session.ui.print(&format!("{code}: {meaning}"));
    if !advice.is_empty() {
        session.ui.print(advice);
    }
    Ok(0)
}

use carrack_core::{Error, ErrorKind, cause::Code};
use clap::Args;

use crate::cli::{error::Failure, session::Session};

/// Options of `carrack explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  carrack explain 31\n  carrack explain wrong-port\n  carrack explain          all of them"
)]
pub(in crate::cli) struct Options {
    /// An exit code, or the code of a cause
    code: Option<String>,
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
        "`carrack auth show` says which are used. `gcloud auth application-default login` makes some.",
    ),
    (
        21,
        "the credentials do not allow it",
        "The message names the permission, the resource and the command that grants it; `carrack permissions check` asks for all of them.",
    ),
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
        "deployed, but the new revision does not serve; or a job failed",
        "A revision that does not start gets no traffic: the earlier one goes on serving. The message has the last log lines; mend it and deploy again. Of a job's tasks `carrack jobs tasks EXECUTION` shows how they ended.",
    ),
    (51, "building or pushing the image failed", "The message has the last lines of the build."),
    (70, "a fault of Carrack itself", "Please report it, with the output of the same command with `-vv`."),
    (130, "interrupted", "Run the same command again: it goes on from what is live."),
];

pub(in crate::cli) fn run(session: &Session, options: Options) -> Result<u8, Failure> {
    let print = |text: &str| session.ui.print(text);
    let Some(asked) = options.code else {
        for (code, meaning, _) in CODES {
            print(&format!("{code:>3}  {meaning}"));
        }
        print("");
        let width = Code::ALL.into_iter().map(|code| code.name().len()).max().unwrap_or(0);
        for code in Code::ALL {
            print(&format!("{:<width$}  {}", code.name(), code.meaning()));
        }
        return Ok(0);
    };
    let (meaning, advice) = if let Ok(code) = asked.parse::<Code>() {
        (code.meaning(), code.advice())
    } else {
        let number = asked.parse::<u8>().ok();
        let Some((_, meaning, advice)) = CODES.iter().find(|(known, ..)| Some(*known) == number) else {
            return Err(unknown(&asked).into());
        };
        (*meaning, *advice)
    };
    print(&format!("{asked}: {meaning}"));
    if !advice.is_empty() {
        print(advice);
    }
    Ok(0)
}

fn unknown(asked: &str) -> Error {
    let text = match asked.parse::<i64>() {
        Ok(number) => format!("Carrack never exits with {number}"),
        Err(_) => format!("there is no cause `{asked}`"),
    };
    Error::new(ErrorKind::NotFound, text).hint("`carrack explain` lists the codes")
}

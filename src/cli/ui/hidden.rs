//! A line that is typed and not shown.
use std::io::{self, Write};

use carrack_core::{Error, ErrorKind, Result, event::Ctx, poll::bounded, secret::SecretValue};
use zeroize::Zeroizing;

/// A terminal hands on no longer line: <https://man7.org/linux/man-pages/man3/termios.3.html>
#[cfg(unix)]
const LONGEST_LINE: usize = 4095;

/// Asks on stderr and reads a line of stdin, without the line break that ends it.
pub(super) async fn ask(cx: &Ctx, question: &str) -> Result<SecretValue> {
    let quiet = Quiet::begin()?;
    let _ = write!(anstream::stderr(), "{question}");
    // The terminal is as it was, whether somebody types, interrupts, or time is up.
    let typed = bounded(cx, "typing the value", tokio::task::spawn_blocking(line)).await;
    drop(quiet);
    let _ = writeln!(anstream::stderr());
    let typed = typed?.map_err(|e| Error::new(ErrorKind::Internal, "reading the terminal failed").with_source(e))?;
    let typed = typed.map_err(|e| Error::new(ErrorKind::Usage, "cannot read the terminal").with_source(e))?;
    Ok(SecretValue::new(typed))
}

/// As long as it lives, the terminal shows nothing of what is typed.
#[cfg(unix)]
struct Quiet(rustix::termios::Termios);

#[cfg(unix)]
impl Quiet {
    fn begin() -> Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let unusable = |e: rustix::io::Errno| {
            Error::new(ErrorKind::Usage, "the terminal cannot hide what is typed")
                .with_source(io::Error::from(e))
                .hint("pipe the value")
        };
        let before = tcgetattr(io::stdin()).map_err(unusable)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).map_err(unusable)?;
        Ok(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

/// Past the standard library's buffer, which nobody wipes.
#[cfg(unix)]
fn line() -> io::Result<Zeroizing<Vec<u8>>> {
    let mut typed = Zeroizing::new(vec![0; LONGEST_LINE + 1]);
    let count = rustix::io::read(io::stdin(), typed.as_mut_slice())?;
    typed.truncate(count);
    match typed.pop_if(|last| *last == b'\n') {
        Some(_) => Ok(typed),
        None if count < LONGEST_LINE => Ok(typed),
        None => Err(io::Error::other("a terminal takes no longer line than 4095 bytes: pipe the value")),
    }
}

#[cfg(not(unix))]
struct Quiet;

#[cfg(not(unix))]
impl Quiet {
    fn begin() -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "typing cannot be hidden on this system").hint("pipe the value"))
    }
}

#[cfg(not(unix))]
fn line() -> io::Result<Zeroizing<Vec<u8>>> {
    Err(io::ErrorKind::Unsupported.into())
}

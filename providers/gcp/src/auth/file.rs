//! Files with secrets, read so that none keeps the program: whoever wrote the name may have named anything.
use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::Path,
};

use carrack_core::{Result, event::Ctx, poll::bounded};
use zeroize::Zeroizing;

/// Keys and tokens are some thousand bytes.
const LONGEST: u64 = 1 << 20;

/// What the file has. Outside is an interrupt or the deadline, inside what is wrong with the file.
pub(super) async fn read(path: &Path, cx: &Ctx) -> Result<io::Result<Zeroizing<String>>> {
    let owned = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || text(&owned));
    let read = bounded(cx, &format!("reading `{}`", path.display()), reading).await?;
    Ok(read.unwrap_or_else(|broken| Err(io::Error::other(broken))))
}

fn text(path: &Path) -> io::Result<Zeroizing<String>> {
    let metadata = std::fs::metadata(path)?;
    // A shell gives a pipe for `<(…)`; a device may have no end.
    if !metadata.is_file() && !is_pipe(&metadata) {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(unix)]
fn is_pipe(metadata: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_metadata: &Metadata) -> bool {
    false
}

//! Descriptors that the launcher inherited: whoever started the local cloud may have left some open, and no
//! program in a container may find them.
use std::{fs, io, os::fd::BorrowedFd};

use rustix::io::{Errno, FdFlags};

/// Marks every descriptor but the first three to be closed in what this process starts.
pub(in crate::runtime) fn keep_from_children() -> io::Result<()> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for number in numbers.into_iter().filter(|&number| number > 2) {
        #[expect(unsafe_code, reason = "an inherited descriptor has no owner in this program to borrow it from")]
        // SAFETY: it is not kept, and a number that is none any more, as the one the folder was read by, is an error.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        match rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

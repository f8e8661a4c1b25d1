//! What a program in a container may never regain.
use rustix::{
    io::Errno,
    thread::{CapabilitySet, CapabilitySets},
};

use super::supervise::Failure;

/// From here on no program that this process starts has a capability, or gets one from a file. This process keeps
/// its own.
pub(in crate::runtime) fn deny_to_children() -> Result<(), Failure> {
    let failed = |error| Failure::host("giving up privileges", error);
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    let sets = rustix::thread::capabilities(None).map_err(failed)?;
    // Without this capability there is none to hand on: an ordinary user's programs have none.
    if !sets.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for number in 0..u64::BITS {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Past the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(failed(error)),
        }
    }
    match rustix::thread::clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(failed(error)),
    }
    let sets = CapabilitySets { inheritable: CapabilitySet::empty(), ..sets };
    rustix::thread::set_capabilities(None, sets).map_err(failed)
}

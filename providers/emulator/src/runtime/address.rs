//! The one address of a container's network beside `127.0.0.1`.

/// On the container's `lo`. Not `127.0.0.1`, where a program that listens on loopback alone would look healthy,
/// as it is not on the real cloud; link-local, so no program can mistake it for a way out.
/// <https://www.rfc-editor.org/rfc/rfc3927>
pub(super) const CONTAINER: [u8; 4] = [169, 254, 8, 1];

//! The namespace runtime: each container has its own user, mount, process, network, IPC and host name namespaces,
//! without a daemon and without root.
//!
//! | file | where it runs | what it does |
//! |---|---|---|
//! | `runtime` | the server | launches, and tries whether it works |
//! | `descriptors` | both stages | keeps from the program what the launcher inherited |
//! | `enclose` | first stage of the launcher | makes the namespaces or joins another container's, starts the second stage |
//! | `init` | second stage, process 1 of the container | prepares everything and watches over the program |
//! | `root` | " | the root file system: an overlay, `/proc`, `/dev` |
//! | `network` | " | brings `lo` up, with the address that the server connects to |
//!
//! Containers of one instance share the first one's user and network namespaces; all else each has for itself.
//!
//! What differs from the real cloud: one uid is mapped, so every program runs as root of its container whatever
//! the image's `USER` says, without any capability. There is no way out of the network. Written files are held in
//! memory, as on Cloud Run, and go with the container.
mod descriptors;
mod enclose;
mod init;
mod network;
mod root;
mod runtime;

pub(super) use descriptors::keep_from_children;
pub(super) use enclose::{enclose, leave_mounts};
pub(super) use init::{Inside, init};
pub(super) use runtime::NamespaceRuntime;

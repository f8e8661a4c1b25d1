//! One port a service and one a tag; requests go to the backends by their share.
//!
//! A backend counts its requests under the same lock that stops it when unrouted, so a switch loses none.
mod affinity;
pub(crate) mod backend;
mod body;
mod client;
mod forward;
mod front;
mod headers;
mod pages;
pub(crate) mod ports;
pub(crate) mod routes;

pub(crate) use self::{
    backend::{Backend, Bounds, Start, Started, Why},
    body::incoming,
    front::Front,
    routes::{Admission, Entry, Owner, Routes, Served, Share},
};

//! All containers of one template as one instance: launched in the order of their dependencies, in one network, with
//! their secrets and volumes, logged, probed, and ended together. Services' instances and jobs' tasks are made of it.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan` | what instances are made of, and how one is brought up |
//! | `running` | an instance that runs, to its end |
//! | `health` | the probes of an instance that runs |
//! | `order` | which container waits for which |
//! | `rules` | what is refused in a template |
//! | `launch` | one container's part of the template |
//! | `secrets` | the values that variables and volumes refer to, and whether they can be had |
//! | `shares` | folders of this machine in the place of buckets, shares and sockets |
//! | `volumes` | what is mounted where |
mod health;
mod launch;
mod order;
mod plan;
mod rules;
mod running;
mod secrets;
mod shares;
mod volumes;

pub(crate) use self::{
    plan::{Ends, Plan, Trouble, Wanted},
    rules::check,
    secrets::check as check_secrets,
    shares::{Shares, told as told_of_shares},
    volumes::unsupported,
};

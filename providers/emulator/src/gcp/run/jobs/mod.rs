//! Cloud Run Admin API v2: jobs, their executions and tasks, really run.
//!
//! | module | what it holds |
//! |---|---|
//! | `store`, `job`, `execution`, `task` | what there is |
//! | `calls` | what both faces answer |
//! | `template`, `rules`, `overrides` | what Google fills in, refuses, and lets a run have otherwise |
//! | `change` | a change of a job, and whether it can run |
//! | `engine`, `attempt` | the tasks of an execution, and one attempt at one of them |
mod attempt;
pub(super) mod calls;
mod change;
mod engine;
mod execution;
mod job;
pub(crate) mod names;
mod overrides;
mod rules;
mod stage;
mod store;
mod task;
mod template;

pub(crate) use self::{calls::handle, store::Jobs};

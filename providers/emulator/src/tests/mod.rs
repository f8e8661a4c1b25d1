//! The whole local cloud over loopback, with containers that are tasks of this process.
mod conformance;
mod containers;
mod deploy;
mod faces;
mod faults;
mod harness;
mod instances;
mod jobs;
mod knative;
mod knative_jobs;
mod races;
mod recording;
mod refusals;
mod routing;
mod secrets;
mod serving;
mod traffic;

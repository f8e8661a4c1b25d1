//! `carrack.toml`: from text to what is deployed, with every error at its place.
//!
//! | step | files |
//! |---|---|
//! | text to values with places | `document`, `interpolate` |
//! | values to sections | `schema` lists every key; `read` makes readers from it; `values`, `numbers`, `units`, `names`, `secrets`, `settings`, `sidecars`, `volumes`, `rollout`, `pass_through` read one value; `rules` hold between keys, `job` between a job's and a service's |
//! | sections to a deploy | `resolve` and `lay` lay a target's overrides over the neutral part |
//! | what is wrong, and where | `diagnostics`, `suggest`, `locate` |
mod diagnostics;
mod document;
mod interpolate;
mod job;
mod lay;
mod load;
mod locate;
mod names;
mod numbers;
mod pass_through;
mod read;
mod resolve;
mod rollout;
mod rules;
mod schema;
mod secrets;
mod settings;
mod sidecars;
mod suggest;
mod template;
mod units;
mod values;
mod volumes;

#[cfg(test)]
mod tests;

pub use diagnostics::{Diagnostic, Diagnostics};
pub use load::{Loaded, Source, load};
pub(crate) use names::{label_key, label_value, project, region, service_account};
pub(crate) use read::Invalid;
pub use resolve::{BuildConfig, BuildFile, DockerfileConfig, Federation, ImageSource, Resolved, Target};
pub use schema::json_schema;
pub use template::{TemplateOptions, template};
pub use values::SCRATCH;

/// The file's rule for `federation.provider`, for where it comes from elsewhere; the error is a sentence.
pub fn check_federation_provider(text: &str) -> Result<(), String> {
    names::federation_provider(text).map_err(read::Invalid::into_text)
}

/// The file's rule for a service account, for where it comes from elsewhere; the error is a sentence.
pub fn check_service_account(text: &str) -> Result<(), String> {
    names::service_account(text).map_err(read::Invalid::into_text)
}

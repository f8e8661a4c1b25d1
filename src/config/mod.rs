//! `carrack.toml`: from text to what is deployed, with every error at its place.
//!
//! | step | files |
//! |---|---|
//! | text to values with places | `document`, `interpolate` |
//! | values to sections | `schema` lists every key; `read` makes readers from it; `values`, `numbers`, `units`, `names` read one value; `rules` hold between keys |
//! | sections to a deploy | `resolve` lays a target's overrides over the neutral part |
//! | what is wrong, and where | `diagnostics`, `suggest`, `locate` |
mod diagnostics;
mod document;
mod interpolate;
mod load;
mod locate;
mod names;
mod numbers;
mod read;
mod resolve;
mod rules;
mod schema;
mod suggest;
mod template;
mod units;
mod values;

#[cfg(test)]
mod tests;

pub use diagnostics::{Diagnostic, Diagnostics};
pub use load::{Loaded, Source, load};
pub use resolve::{BuildConfig, BuildFile, DockerfileConfig, ImageSource, Resolved, Target};
pub use schema::json_schema;
pub use template::{TemplateOptions, template};
pub use values::SCRATCH;

//! Google's discovery documents, trimmed by `schemas/trim.py`: which methods there are, and what they take.
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::numbers::Numbers;

/// One API.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Query parameters that every method takes.
    pub(crate) common: Vec<String>,
    pub(crate) served: BTreeMap<String, Method>,
    /// HTTP method, path, id.
    unserved: Vec<(String, String, String)>,
    pub(crate) schemas: BTreeMap<String, Field>,
    /// Of enum values, from a file of their own.
    #[serde(skip)]
    pub(crate) numbers: Numbers,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Method {
    http_method: String,
    path: String,
    pub(crate) query: BTreeMap<String, Field>,
    /// The schema of the body.
    pub(crate) request: Option<String>,
    pub(crate) response: Option<String>,
}

/// One property, or one message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Field {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) format: Option<String>,
    #[serde(rename = "enum")]
    pub(crate) values: Vec<String>,
    #[serde(rename = "$ref")]
    pub(crate) reference: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) items: Option<Box<Field>>,
    pub(crate) additional_properties: Option<Box<Field>>,
    pub(crate) properties: BTreeMap<String, Field>,
}

/// What a method and a path name.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// The method's id, the method, and the path's parameters in order.
    Served(&'a str, &'a Method, Vec<String>),
    /// A method that Google has and the local cloud does not answer.
    Unserved,
    Nothing,
}

impl Document {
    pub(crate) fn find(&self, http_method: &str, path: &str) -> Found<'_> {
        for (id, method) in &self.served {
            if method.http_method == http_method
                && let Some(parameters) = match_path(&method.path, path)
            {
                return Found::Served(id, method, parameters);
            }
        }
        for (verb, pattern, _) in &self.unserved {
            if verb == http_method && match_path(pattern, path).is_some() {
                return Found::Unserved;
            }
        }
        Found::Nothing
    }
}

/// All APIs of one face.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) run: Document,
    /// The same services in their Knative shape.
    pub(crate) run_v1: Document,
    pub(crate) secret_manager: Document,
    pub(crate) artifact_registry: Document,
    pub(crate) logging: Document,
    pub(crate) service_usage: Document,
    pub(crate) resource_manager: Document,
    pub(crate) resource_manager_v3: Document,
    pub(crate) iam: Document,
    pub(crate) iam_credentials: Document,
    pub(crate) sts: Document,
}

impl Documents {
    pub(crate) fn load() -> serde_json::Result<Self> {
        let mut documents = Self {
            run: serde_json::from_str(include_str!("../../schemas/run.v2.json"))?,
            run_v1: serde_json::from_str(include_str!("../../schemas/run.v1.json"))?,
            secret_manager: serde_json::from_str(include_str!("../../schemas/secretmanager.v1.json"))?,
            artifact_registry: serde_json::from_str(include_str!("../../schemas/artifactregistry.v1.json"))?,
            logging: serde_json::from_str(include_str!("../../schemas/logging.v2.json"))?,
            service_usage: serde_json::from_str(include_str!("../../schemas/serviceusage.v1.json"))?,
            resource_manager: serde_json::from_str(include_str!("../../schemas/cloudresourcemanager.v1.json"))?,
            resource_manager_v3: serde_json::from_str(include_str!("../../schemas/cloudresourcemanager.v3.json"))?,
            iam: serde_json::from_str(include_str!("../../schemas/iam.v1.json"))?,
            iam_credentials: serde_json::from_str(include_str!("../../schemas/iamcredentials.v1.json"))?,
            sts: serde_json::from_str(include_str!("../../schemas/sts.v1.json"))?,
        };
        let mut numbers: BTreeMap<String, Numbers> = serde_json::from_str(include_str!("../../schemas/numbers.json"))?;
        for document in documents.all_mut() {
            let api = format!("{}.{}", document.name, document.version);
            document.numbers = numbers.remove(&api).unwrap_or_default();
        }
        Ok(documents)
    }

    fn all_mut(&mut self) -> [&mut Document; 11] {
        let Self { run, run_v1, secret_manager, artifact_registry, logging, service_usage, .. } = self;
        let Self { resource_manager, resource_manager_v3, iam, iam_credentials, sts, .. } = self;
        [
            run,
            run_v1,
            secret_manager,
            artifact_registry,
            logging,
            service_usage,
            resource_manager,
            resource_manager_v3,
            iam,
            iam_credentials,
            sts,
        ]
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> [&Document; 11] {
        [
            &self.run,
            &self.run_v1,
            &self.secret_manager,
            &self.artifact_registry,
            &self.logging,
            &self.service_usage,
            &self.resource_manager,
            &self.resource_manager_v3,
            &self.iam,
            &self.iam_credentials,
            &self.sts,
        ]
    }
}

/// `v2/projects/{projectsId}:verb` against `/v2/projects/p:verb`.
fn match_path(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut wanted = pattern.split('/');
    let mut given = path.strip_prefix('/')?.split('/');
    let mut parameters = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) => match_segment(wanted, given, &mut parameters)?,
            _ => return None,
        }
    }
}

fn match_segment(wanted: &str, given: &str, parameters: &mut Vec<String>) -> Option<()> {
    let Some(rest) = wanted.strip_prefix('{') else {
        return (wanted == given).then_some(());
    };
    let (_, verb) = rest.split_once('}')?;
    let value = given.strip_suffix(verb)?;
    // A verb belongs to its own method alone; a digest is no verb.
    if value.is_empty() || value.replacen("sha256:", "", 1).contains(':') {
        return None;
    }
    parameters.push(percent_decode_str(value).decode_utf8().ok()?.into_owned());
    Some(())
}

/// `maxInstanceCount` -> `max_instance_count`: errors name fields as the protocol buffers do.
pub(crate) fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// `max_instance_count` -> `maxInstanceCount`: Google takes both.
/// <https://protobuf.dev/programming-guides/json/>
pub(crate) fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else if upper {
            camel.push(letter.to_ascii_uppercase());
            upper = false;
        } else {
            camel.push(letter);
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_method() {
        let documents = Documents::load().expect("the committed schemas");
        let find = |verb, path: &str| match documents.run.find(verb, path) {
            Found::Served(id, _, parameters) => format!("{id} {}", parameters.join(" ")),
            Found::Unserved => "unserved".to_owned(),
            Found::Nothing => "nothing".to_owned(),
        };
        let prefix = "run.projects.locations";
        for (verb, path, expected) in [
            ("POST", "/services", format!("{prefix}.services.create p l")),
            ("GET", "/services/s", format!("{prefix}.services.get p l s")),
            ("POST", "/services/s:setIamPolicy", format!("{prefix}.services.setIamPolicy p l s")),
            ("POST", "/operations/o:wait", format!("{prefix}.operations.wait p l o")),
            ("GET", "/jobs", format!("{prefix}.jobs.list p l")),
            ("GET", "/workerPools", "unserved".to_owned()),
            ("PUT", "/services/s", "nothing".to_owned()),
            ("GET", "/services/s:nothing", "nothing".to_owned()),
            ("GET", "/services/", "nothing".to_owned()),
        ] {
            assert_eq!(find(verb, &format!("/v2/projects/p/locations/l{path}")), expected, "{verb} {path}");
        }
    }

    #[test]
    fn names_go_both_ways() {
        assert_eq!(snake("maxInstanceRequestConcurrency"), "max_instance_request_concurrency");
        assert_eq!(camel("max_instance_request_concurrency"), "maxInstanceRequestConcurrency");
        assert_eq!(camel("*"), "*");
    }
}

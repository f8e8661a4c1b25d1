//! Choices and texts of a service's further settings, each with its reader and its JSON Schema.
use carrack_core::spec::{Egress, Ingress, Protocol};
use serde_json::{Value as Json, json};

use super::{
    document::Node,
    names,
    read::{Context, Invalid, KeyRule, Read},
    suggest::{nearest, quoted},
    values::{text, text_value, valid},
};

/// One of a few words.
macro_rules! choice {
    ($($name:ident { $($word:literal = $value:ident,)* })*) => {$(
        impl Read for $name {
            fn read(node: &Node, context: &mut Context) -> Option<Self> {
                let word = text(node, context, |_| false)?;
                let chosen = match word {
                    $($word => Ok($name::$value),)*
                    _ => Err(unknown_word(context.key(), word, &[$($word),*])),
                };
                valid(chosen, node, context)
            }
            fn schema() -> Json {
                json!({ "enum": [$($word),*] })
            }
        }
    )*};
}

choice! {
    Protocol { "http1" = Http1, "h2c" = H2c, }
    Ingress {
        "all" = All,
        "internal" = Internal,
        "internal-and-load-balancer" = InternalAndLoadBalancer,
        "none" = None,
    }
    Egress { "private-ranges" = PrivateRanges, "all" = All, }
}

/// Words of the cloud's other clients, and ours.
const KNOWN_ELSEWHERE: [(&str, &str); 8] = [
    ("http2", "h2c"),
    ("grpc", "h2c"),
    ("http", "http1"),
    ("internal-and-cloud-load-balancing", "internal-and-load-balancer"),
    ("internal-only", "internal"),
    ("private-ranges-only", "private-ranges"),
    ("all-traffic", "all"),
    ("all-ports", "all"),
];

fn unknown_word(key: &str, word: &str, words: &[&str]) -> Invalid {
    let invalid = Invalid::new(format!("`{key}` cannot be `{word}`"));
    let elsewhere = KNOWN_ELSEWHERE.iter().find(|(other, ours)| *other == word && words.contains(ours));
    match elsewhere.map(|(_, ours)| *ours).or_else(|| nearest(word, words.iter().copied())) {
        Some(near) => invalid.label(format!("did you mean \"{near}\"?")),
        None => invalid.hint(format!("use {}", quoted(words))),
    }
}

text_value! {
    Folder by folder, { "type": "string", "pattern": "^(/.*)?$" };
    Description by description, { "type": "string" };
    NetworkName by network_name, { "type": "string" };
    NetworkTag by network_tag, { "type": "string", "pattern": "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$" };
    SqlInstance by sql_instance, { "type": "string", "pattern": "^[^:]+(:[^:]+){2,3}$" };
}

fn folder(path: &str) -> Result<(), Invalid> {
    if path.is_empty() { Ok(()) } else { names::image_file(path) }
}

fn description(text: &str) -> Result<(), Invalid> {
    match text.contains('\0') {
        true => Err(Invalid::new("the description has a zero byte")),
        false => Ok(()),
    }
}

/// <https://cloud.google.com/compute/docs/naming-resources#resource-name-format>
fn is_resource_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 63
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(inner)
        && !text.ends_with('-')
}

/// A name in the own project, or one with its project before it; an empty one takes the setting away.
fn network_name(text: &str) -> Result<(), Invalid> {
    let part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c))
    };
    let whole = match text.split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "global", "networks", name] => part(project) && is_resource_name(name),
        ["projects", project, "regions" | "locations", place, "subnetworks" | "connectors", name] => {
            part(project) && part(place) && is_resource_name(name)
        }
        [name] => name.is_empty() || is_resource_name(name),
        _ => false,
    };
    if whole {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid name `{text}`"))
        .hint("use 1 to 63 of a-z, 0-9 and `-`, with a letter first and no `-` at the end")
        .hint("for another project write \"projects/PROJECT/global/networks/NAME\", \"projects/PROJECT/regions/REGION/subnetworks/NAME\" or \"projects/PROJECT/locations/REGION/connectors/NAME\""))
}

/// <https://cloud.google.com/vpc/docs/add-remove-network-tags#restrictions>
fn network_tag(text: &str) -> Result<(), Invalid> {
    if is_resource_name(text) {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid network tag `{text}`"))
        .hint("use 1 to 63 of a-z, 0-9 and `-`, with a letter first and no `-` at the end"))
}

/// The instance's connection name; a project of a domain has a colon of its own:
/// <https://cloud.google.com/sql/docs/postgres/connect-run#connect>
fn sql_instance(text: &str) -> Result<(), Invalid> {
    let part = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
    };
    let parts: Vec<&str> = text.split(':').collect();
    if (3..=4).contains(&parts.len()) && parts.iter().all(part) {
        return Ok(());
    }
    let invalid = Invalid::new(format!("invalid Cloud SQL instance `{text}`"));
    Err(invalid
        .hint("write its connection name, \"PROJECT:REGION:INSTANCE\"")
        .hint("ask for it: `gcloud sql instances describe INSTANCE --format='value(connectionName)'`"))
}

/// Namespaces that Cloud Run keeps for itself, and ours:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service>
const RESERVED: [&str; 5] =
    ["run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev", "carrack.dev"];

/// The keys of `[annotations]`.
#[derive(Clone, Debug)]
pub(crate) struct AnnotationKey;

impl KeyRule for AnnotationKey {
    const PATTERN: &'static str = "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$";
    fn check(key: &str) -> Result<(), Invalid> {
        annotation_key(key)
    }
}

/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/#syntax-and-character-set>
fn annotation_key(key: &str) -> Result<(), Invalid> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let ends = |text: &str, end: fn(char) -> bool| text.starts_with(end) && text.ends_with(end);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let named = name.len() <= 63 && ends(name, |c| c.is_ascii_alphanumeric()) && name.chars().all(plain);
    let domain = |prefix: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        prefix.len() <= 253 && ends(prefix, end) && prefix.chars().all(inner)
    };
    if !named || !prefix.is_none_or(domain) {
        return Err(Invalid::new(format!("invalid annotation key `{key}`")).hint(
            "use up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit first and last, perhaps after a domain and `/`",
        ));
    }
    let of =
        |reserved: &&str| prefix.is_some_and(|prefix| prefix == *reserved || prefix.ends_with(&format!(".{reserved}")));
    let Some(reserved) = RESERVED.into_iter().find(of) else { return Ok(()) };
    let invalid = Invalid::new(format!("`{key}` is no annotation of yours")).label(format!("`{reserved}` is reserved"));
    Err(match reserved {
        "carrack.dev" => invalid,
        _ => invalid.hint("what `gcloud` sets with it has a key of its own here: `carrack schema` lists all"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::names::tests::check;

    #[test]
    fn names_of_networks() {
        check(
            network_name,
            &[
                "",
                "default",
                "projects/host/global/networks/shared",
                "projects/example.com:p/regions/us-central1/subnetworks/s",
                "projects/p/locations/us-central1/connectors/c",
            ],
            &["Default", "1a", "a-", "a/b", "projects/p/networks/n", "projects//global/networks/n", "a b"],
        );
        check(network_tag, &["web", "a-1"], &["", "Web", "-a", "a_b"]);
    }

    #[test]
    fn names_of_instances() {
        check(
            sql_instance,
            &["my-project:us-central1:orders", "example.com:p:us-central1:orders"],
            &["", "orders", "p:orders", "p:us-central1:", "P:r:i", "a:b:c:d:e"],
        );
    }

    #[test]
    fn keys_of_annotations() {
        check(
            annotation_key,
            &["owner", "example.com/owner", "A_b.c-1", "a/b"],
            &[
                "",
                "-a",
                "a-",
                "a b",
                "a/b/c",
                "Example.com/a",
                "/a",
                "a/",
                "run.googleapis.com/ingress",
                "x.run.googleapis.com/a",
                "autoscaling.knative.dev/minScale",
                "carrack.dev/receipt",
                &"a".repeat(64),
            ],
        );
        assert!(annotation_key("notrun.googleapis.com/a").is_ok());
    }

    #[test]
    fn other_clients_words_are_known() {
        let label = |key: &str, word: &str, words: &[&str]| unknown_word(key, word, words).label;
        assert_eq!(label("protocol", "grpc", &["http1", "h2c"]).as_deref(), Some("did you mean \"h2c\"?"));
        assert_eq!(
            label("egress", "all-traffic", &["private-ranges", "all"]).as_deref(),
            Some("did you mean \"all\"?")
        );
        assert_eq!(label("protocol", "all-traffic", &["http1", "h2c"]), None);
    }
}

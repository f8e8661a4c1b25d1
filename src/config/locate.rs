//! The place in the file that a field of the spec comes from.
use carrack_core::{
    fields::{SIDECARS, sidecar},
    json_path::{JsonPath, Part},
};

use super::{
    diagnostics::Span,
    document::{Node, Value},
    values::PROVIDERS,
};

/// The most specific place that stands in the file: the target's own key, the neutral one, then their
/// sections, the target, the service.
pub(crate) fn place(root: &Node, target: Option<&str>, field: Option<&str>) -> Span {
    let path: Vec<&str> = field.map(|field| field.split('.').collect()).unwrap_or_default();
    let path = match path.as_slice() {
        ["image"] => vec!["image", "ref"],
        _ => path,
    };
    let target = target.map(|target| vec!["targets", target]);
    if let Some(span) = field.and_then(|field| cloud(root, target.as_deref()?, field)) {
        return span;
    }
    let (section, own) = match field.and_then(sidecar) {
        Some((name, own)) => (vec![SIDECARS, name, "secrets"], Some(own)),
        None => (vec!["secrets"], field),
    };
    if let Some(file) = own.and_then(|field| field.strip_prefix("secrets.")).filter(|name| name.starts_with('/')) {
        let in_target =
            target.as_ref().and_then(|target| mount(root, &[target.as_slice(), section.as_slice()].concat(), file));
        if let Some(span) = in_target.or_else(|| mount(root, &section, file)) {
            return span;
        }
    }
    for length in (1..=path.len()).rev() {
        let part = &path[..length];
        let in_target = target.as_ref().map(|target| [target.as_slice(), part].concat());
        let found = in_target.and_then(|path| find(root, &path)).or_else(|| find(root, part));
        if let Some(span) = found {
            return span;
        }
    }
    let named = || find(root, &["service", "name"]).or_else(|| find(root, &["job", "name"]));
    target.and_then(|target| find(root, &target)).or_else(named).unwrap_or(0..0)
}

/// The place of a field in a cloud's own section: its key, where it has a value.
fn cloud(root: &Node, target: &[&str], field: &str) -> Option<Span> {
    let path: JsonPath = PROVIDERS.iter().any(|name| field.starts_with(name)).then(|| field.parse().ok())??;
    let mut node = target.iter().try_fold(root, |node, key| node.get(key).map(|entry| &entry.node))?;
    let mut span = None;
    for part in &path.0 {
        let found = match part {
            Part::Key(key) => node.get(key).map(|entry| (&entry.node, &entry.key_span)),
            Part::Entry(name) => {
                let Value::Array(list) = &node.value else { break };
                let own = |node: &Node| match node.get("name").map(|entry| &entry.node.value) {
                    Some(Value::Text(name)) => Some(name.clone()),
                    _ => None,
                };
                list.iter().find(|item| own(item) == *name).map(|item| (item, &item.span))
            }
        };
        let Some((below, at)) = found else { break };
        (node, span) = (below, Some(at.clone()));
    }
    span
}

/// The place of a mounted secret, whose field is called after its file.
fn mount(root: &Node, section: &[&str], file: &str) -> Option<Span> {
    let section = section.iter().try_fold(root, |node, key| node.get(key).map(|entry| &entry.node))?;
    let mounts = section.entries().iter().filter_map(|entry| entry.node.get("mount"));
    mounts
        .map(|mount| &mount.node)
        .find(|node| matches!(&node.value, Value::Text(path) if path == file))
        .map(|node| node.span.clone())
}

/// A value's place; for a section, its header.
fn find(root: &Node, path: &[&str]) -> Option<Span> {
    let mut node = root;
    let mut span = None;
    for key in path {
        let entry = node.get(key)?;
        node = &entry.node;
        span = Some(match entry.node.entries().is_empty() {
            true => entry.node.span.clone(),
            false => entry.key_span.clone(),
        });
    }
    span
}

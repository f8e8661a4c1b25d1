//! The place in the file that a field of the spec comes from.
use super::{diagnostics::Span, document::Node};

/// The most specific place that stands in the file: the target's own key, the neutral one, then their
/// sections, the target, the service.
pub(crate) fn place(root: &Node, target: Option<&str>, field: Option<&str>) -> Span {
    let path: Vec<&str> = field.map(|field| field.split('.').collect()).unwrap_or_default();
    let path = match path.as_slice() {
        ["image"] => vec!["image", "ref"],
        _ => path,
    };
    let target = target.map(|target| vec!["targets", target]);
    for length in (1..=path.len()).rev() {
        let part = &path[..length];
        let in_target = target.as_ref().map(|target| [target.as_slice(), part].concat());
        let found = in_target.and_then(|path| find(root, &path)).or_else(|| find(root, part));
        if let Some(span) = found {
            return span;
        }
    }
    target.and_then(|target| find(root, &target)).or_else(|| find(root, &["service", "name"])).unwrap_or(0..0)
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

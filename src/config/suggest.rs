//! What the writer of an unknown key may have meant.
use serde_json::Value as Json;

use super::{
    diagnostics::Problem,
    document::Entry,
    job,
    read::{Read, section_name},
    schema::File,
};

/// Reports a key that its section does not have: the section it belongs to, the nearest key, or what there is.
pub(crate) fn unknown_key(entry: &Entry, known: &[&str], path: &[String]) -> Problem {
    let problem = Problem::new(&entry.key_span, format!("unknown key `{}`", entry.key));
    if let Some(instead) = job::instead(&entry.key, path) {
        return problem.label(instead);
    }
    if let Some(place) = belongs_to(&entry.key, path) {
        return problem.label(place);
    }
    if let Some(near) = nearest(&entry.key, known.iter().copied()) {
        return problem.label(format!("did you mean `{near}`?"));
    }
    let list = quoted(known);
    if path.is_empty() {
        problem.hint(format!("the sections are {list}"))
    } else {
        problem.hint(format!("the keys of {} are {list}", section_name(path)))
    }
}

/// The known word that is most like `word`, if one is at all.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (word.chars().count() / 3).max(1);
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= bound && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// For messages: "`a`, `b`".
pub(crate) fn quoted<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    words.join(", ")
}

/// A section of the schema.
struct Section {
    path: Vec<String>,
    keys: Vec<String>,
    sections: Vec<String>,
}

/// Where the key stands in the schema: among the target's sections when it stands in one, else the neutral ones.
fn belongs_to(key: &str, path: &[String]) -> Option<String> {
    let target = match path {
        [first, name, ..] if first == "targets" => Some(name.as_str()),
        _ => None,
    };
    let mut sections = Vec::new();
    collect(&File::schema(), &[], target.unwrap_or("NAME"), &mut sections);
    sections.retain(|section| section.path != path && section.keys.iter().any(|known| known == key));
    let rank = |section: &Section| {
        let in_target = section.path.first().is_some_and(|first| first == "targets");
        let namesake = !path.is_empty() && section.path.last() == path.last();
        (in_target != target.is_some(), !namesake, section.path.len())
    };
    let best = sections.iter().map(rank).min()?;
    sections.retain(|section| rank(section) == best);
    if let [section] = sections.as_slice()
        && section.sections.iter().any(|known| known == key)
    {
        let below = [section.path.as_slice(), &[key.to_owned()]].concat();
        let name = section_name(&below);
        return Some(format!("`{key}` is a section of its own: {name}"));
    }
    let names: Vec<_> = sections.iter().map(|section| section_name(&section.path)).collect();
    Some(format!("`{key}` belongs to {}", names.join(" or ")))
}

fn collect(schema: &Json, path: &[String], target: &str, sections: &mut Vec<Section>) {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return;
    };
    let is_section = |schema: &Json| schema.get("type").is_some_and(|kind| kind == "object");
    sections.push(Section {
        path: path.to_vec(),
        keys: properties.keys().cloned().collect(),
        sections: properties.iter().filter(|(_, schema)| is_section(schema)).map(|(key, _)| key.clone()).collect(),
    });
    for (key, schema) in properties {
        let below = [path, std::slice::from_ref(key)].concat();
        collect(schema, &below, target, sections);
        if let Some(each) = schema.get("additionalProperties") {
            let name = if path.is_empty() && key == "targets" { target } else { "NAME" };
            let below = [below.as_slice(), &[name.to_owned()]].concat();
            collect(each, &below, target, sections);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &str, path: &[&str]) -> Option<String> {
        let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        belongs_to(key, &path)
    }

    #[test]
    fn finds_the_nearest_key() {
        let known = ["name", "port", "public", "command", "args", "exact"];
        for (word, near) in [
            ("prot", Some("port")),
            ("ports", Some("port")),
            ("pubic", Some("public")),
            ("comand", Some("command")),
            ("secrets", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), near, "{word}");
        }
    }

    #[test]
    fn finds_the_section() {
        let own = "is a section of its own:";
        for (key, path, expected) in [
            ("memory", &["service"][..], "belongs to [resources]"),
            ("port", &[], "belongs to [service]"),
            ("name", &[], "belongs to [image] or [job] or [service]"),
            ("env", &["service"], &format!("{own} [env]")),
            ("base", &["image"], "belongs to [image.build]"),
            ("build", &["service"], &format!("{own} [image.build]")),
            ("project", &["service"], "belongs to [targets.NAME]"),
            ("memory", &["targets", "prod"], "belongs to [targets.prod.resources]"),
            ("labels", &["targets", "prod", "service"], &format!("{own} [targets.prod.labels]")),
            ("name", &["targets", "prod", "service"], "belongs to [service]"),
            ("mount", &["env"], "belongs to [secrets.NAME] or [volumes.NAME]"),
            ("version", &["targets", "prod"], "belongs to [targets.prod.secrets.NAME]"),
        ] {
            let expected = format!("`{key}` {expected}");
            assert_eq!(place(key, path), Some(expected), "{key} in {path:?}");
        }
        assert_eq!(place("gpu", &[]), None);
    }
}

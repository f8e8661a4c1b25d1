//! Which container waits for which: <https://cloud.google.com/run/docs/deploying#sidecars>
use serde_json::Value;

/// Why the dependencies cannot be heeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tangle {
    /// Container and place in its list.
    Unknown { container: usize, entry: usize },
    /// The names of containers that wait for each other; the first is the last.
    Cycle(Vec<String>),
}

/// For each container the ones that it waits for.
pub(crate) fn dependencies(containers: &[Value]) -> Result<Vec<Vec<usize>>, Tangle> {
    let mut all = Vec::with_capacity(containers.len());
    for (container, value) in containers.iter().enumerate() {
        let mut own = Vec::new();
        for (entry, name) in value["dependsOn"].as_array().into_iter().flatten().enumerate() {
            let found = containers.iter().position(|other| name.is_string() && other["name"] == *name);
            own.push(found.ok_or(Tangle::Unknown { container, entry })?);
        }
        all.push(own);
    }
    match cycle(&all) {
        None => Ok(all),
        Some(cycle) => {
            let name = |&index: &usize| containers[index]["name"].as_str().unwrap_or_default().to_owned();
            Err(Tangle::Cycle(cycle.iter().map(name).collect()))
        }
    }
}

/// Takes away what waits for nothing that is left; what stays waits for itself.
fn cycle(all: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut left: Vec<usize> = (0..all.len()).collect();
    loop {
        let before = left.len();
        let stay: Vec<usize> =
            left.iter().copied().filter(|&index| all[index].iter().any(|other| left.contains(other))).collect();
        left = stay;
        if left.is_empty() {
            return None;
        }
        if left.len() == before {
            break;
        }
    }
    let mut path = vec![left[0]];
    loop {
        let last = path[path.len() - 1];
        let next = all[last].iter().copied().find(|other| left.contains(other))?;
        if let Some(start) = path.iter().position(|&index| index == next) {
            path.push(next);
            return Some(path.split_off(start));
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(pairs: &[(&str, &[&str])]) -> Result<Vec<Vec<usize>>, Tangle> {
        let containers: Vec<Value> =
            pairs.iter().map(|(name, others)| json!({ "name": name, "dependsOn": others })).collect();
        dependencies(&containers)
    }

    #[test]
    fn each_waits_for_those_that_it_names() {
        let found = of(&[("front", &["api", "cache"]), ("api", &["cache"]), ("cache", &[])]);
        assert_eq!(found, Ok(vec![vec![1, 2], vec![2], vec![]]));
        assert_eq!(dependencies(&[json!({})]), Ok(vec![vec![]]));
    }

    #[test]
    fn what_cannot_be_waited_for_is_told() {
        assert_eq!(of(&[("a", &["b", "c"]), ("b", &[])]), Err(Tangle::Unknown { container: 0, entry: 1 }));
        let names = |names: &[&str]| Tangle::Cycle(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(of(&[("a", &["a"])]), Err(names(&["a", "a"])));
        assert_eq!(of(&[("front", &["a"]), ("a", &["b"]), ("b", &["a"]), ("c", &[])]), Err(names(&["a", "b", "a"])));
    }
}

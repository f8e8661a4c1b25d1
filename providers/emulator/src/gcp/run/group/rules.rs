//! What Cloud Run refuses in the containers and volumes of one template, beside what is wrong with one container alone.
//! Google's texts for most of it are not public; where they are, they are these.
use serde_json::Value;

use super::order::{Tangle, dependencies};
use crate::gcp::{run::rules::invalid, status::Status};

/// A DNS label: <https://www.rfc-editor.org/rfc/rfc1123>
const NAME_LENGTH: usize = 63;
/// <https://cloud.google.com/run/docs/configuring/services/secrets#disallowed_paths_and_limitations>
const SYSTEM_FOLDERS: [&str; 3] = ["/dev", "/proc", "/sys"];
const MODES: std::ops::RangeInclusive<i64> = 0..=0o777;

/// `path` is that of the template.
pub(crate) fn check(path: &str, template: &Value) -> Result<(), Status> {
    let empty = Vec::new();
    let containers = template["containers"].as_array().unwrap_or(&empty);
    let volumes = template["volumes"].as_array().unwrap_or(&empty);
    names(&format!("{path}.containers"), "container", containers, false)?;
    names(&format!("{path}.volumes"), "volume", volumes, true)?;
    for (index, volume) in volumes.iter().enumerate() {
        volume_of(&format!("{path}.volumes[{index}]"), volume)?;
    }
    for (index, container) in containers.iter().enumerate() {
        mounts(&format!("{path}.containers[{index}].volume_mounts"), container, volumes)?;
    }
    let name = |index: usize| containers[index]["name"].as_str().unwrap_or_default();
    match dependencies(containers) {
        Ok(_) => Ok(()),
        Err(Tangle::Unknown { container, entry }) => {
            let wanted = containers[container]["dependsOn"][entry].as_str().unwrap_or_default();
            let path = format!("{path}.containers[{container}].depends_on[{entry}]");
            Err(invalid(
                &path,
                &format!("Container '{}' depends on '{wanted}', which is no container here.", name(container)),
            ))
        }
        Err(Tangle::Cycle(cycle)) => {
            let text = format!("Containers must not depend on each other in a circle: {}.", cycle.join(" -> "));
            Err(invalid(&format!("{path}.containers"), &text))
        }
    }
}

fn names(path: &str, what: &str, all: &[Value], required: bool) -> Result<(), Status> {
    let mut seen: Vec<&str> = Vec::new();
    for (index, value) in all.iter().enumerate() {
        let given = value.get("name").and_then(Value::as_str);
        let Some(name) = given.or(required.then_some("")) else { continue };
        if !is_name(name) {
            let text = format!(
                "Invalid {what} name '{name}'. Must conform to RFC 1123: only lowercase letters, digits, hyphens, and periods are allowed, must begin and end with a letter or digit, and be less than 64 characters"
            );
            return Err(invalid(&format!("{path}[{index}].name"), &text));
        }
        if seen.contains(&name) {
            return Err(invalid(&format!("{path}[{index}].name"), &format!("Duplicate {what} name: {name}.")));
        }
        seen.push(name);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    name.len() <= NAME_LENGTH
        && bytes.first().copied().is_some_and(inner)
        && bytes.last().copied().is_some_and(inner)
        && bytes.iter().all(|&byte| inner(byte) || matches!(byte, b'-' | b'.'))
}

fn volume_of(path: &str, volume: &Value) -> Result<(), Status> {
    let Some(secret) = volume.get("secret") else { return Ok(()) };
    if secret["secret"].as_str().is_none_or(str::is_empty) {
        return Err(invalid(&format!("{path}.secret.secret"), "required field not present."));
    }
    let in_range = |path: String, mode: &Value| {
        let fits = mode.as_i64().is_none_or(|mode| MODES.contains(&mode));
        if fits { Ok(()) } else { Err(invalid(&path, "must be between 0 and 511 (0777 in octal).")) }
    };
    in_range(format!("{path}.secret.default_mode"), &secret["defaultMode"])?;
    let mut seen: Vec<&str> = Vec::new();
    for (index, item) in secret["items"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.secret.items[{index}]");
        in_range(format!("{path}.mode"), &item["mode"])?;
        if item["version"].as_str().is_none_or(str::is_empty) {
            return Err(invalid(&format!("{path}.version"), "required field not present."));
        }
        let file = item["path"].as_str().unwrap_or_default();
        if !is_relative(file) || seen.contains(&file) {
            let text = format!("'{file}' must be a relative path without '..', and no other item's.");
            return Err(invalid(&format!("{path}.path"), &text));
        }
        if let Some(other) = seen.iter().find(|other| is_below(file, other) || is_below(other, file)) {
            let text = format!("'{file}' and '{other}' cannot both be files: one is a folder of the other.");
            return Err(invalid(&format!("{path}.path"), &text));
        }
        seen.push(file);
    }
    Ok(())
}

fn is_relative(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|name| !matches!(name, "" | "." | "..") && name.len() <= 255)
}

/// Both without a `/` at the end.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn mounts(path: &str, container: &Value, volumes: &[Value]) -> Result<(), Status> {
    let mut seen: Vec<&str> = Vec::new();
    for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        let name = mount["name"].as_str().unwrap_or_default();
        let Some(volume) = volumes.iter().find(|volume| volume["name"] == *name) else {
            return Err(invalid(&format!("{path}.name"), &format!("Volume '{name}' is not among the volumes.")));
        };
        let inside = mount["subPath"].as_str().unwrap_or_default();
        if volume.get("secret").is_some() && !inside.is_empty() {
            return Err(invalid(&format!("{path}.sub_path"), "is not supported for secret volumes."));
        }
        let folder = mount["mountPath"].as_str().unwrap_or_default();
        // Cloud SQL has its own.
        if folder.is_empty() && volume.get("cloudSqlInstance").is_some() {
            continue;
        }
        let rest = folder.strip_prefix('/').map(|rest| rest.trim_end_matches('/'));
        if !rest.is_some_and(is_relative) || folder.contains(':') {
            let text = format!("'{folder}' must be an absolute path other than '/', without '..' and ':'.");
            return Err(invalid(&format!("{path}.mount_path"), &text));
        }
        let folder = folder.trim_end_matches('/');
        if let Some(system) = SYSTEM_FOLDERS.iter().find(|system| folder == **system || is_below(folder, system)) {
            let text = format!("'{folder}' must not be '{system}' or below it.");
            return Err(invalid(&format!("{path}.mount_path"), &text));
        }
        if seen.contains(&folder) {
            return Err(invalid(&format!("{path}.mount_path"), &format!("'{folder}' is mounted more than once.")));
        }
        if let Some(other) = seen.iter().find(|other| is_below(folder, other) || is_below(other, folder)) {
            let text = format!("'{folder}' and '{other}' are both mounted, and one is below the other.");
            return Err(invalid(&format!("{path}.mount_path"), &text));
        }
        seen.push(folder);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(template: &Value) -> Option<String> {
        check("template", template).err().map(|status| status.message)
    }

    #[test]
    fn names_are_labels_and_each_ones_own() {
        let named = |names: &[&str]| {
            let containers: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
            refusal(&json!({ "containers": containers }))
        };
        assert_eq!(named(&["front", "side-1"]), None);
        assert_eq!(refusal(&json!({ "containers": [{}, {}] })), None, "the system names them");
        assert_eq!(named(&["a", "a"]).as_deref(), Some("template.containers[1].name: Duplicate container name: a."));
        assert_eq!(
            named(&["a", ""]).as_deref(),
            Some(
                "template.containers[1].name: Invalid container name ''. Must conform to RFC 1123: only lowercase letters, digits, hyphens, and periods are allowed, must begin and end with a letter or digit, and be less than 64 characters"
            )
        );
        assert!(named(&["A"]).is_some() && named(&["-a"]).is_some() && named(&[&"a".repeat(64)]).is_some());
    }

    #[test]
    fn dependencies_lead_somewhere() {
        let of = |front: &[&str], side: &[&str]| {
            let containers = json!([{ "name": "front", "dependsOn": front }, { "name": "side", "dependsOn": side }]);
            refusal(&json!({ "containers": containers }))
        };
        assert_eq!(of(&["side"], &[]), None);
        assert_eq!(
            of(&["cache"], &[]).as_deref(),
            Some(
                "template.containers[0].depends_on[0]: Container 'front' depends on 'cache', which is no container here."
            )
        );
        assert_eq!(
            of(&["side"], &["front"]).as_deref(),
            Some("template.containers: Containers must not depend on each other in a circle: front -> side -> front.")
        );
    }

    #[test]
    fn mounts_are_of_volumes_and_paths() {
        let of = |path: &str, item: &str, mode: i64| {
            refusal(&json!({
                "containers": [{ "volumeMounts": [{ "name": "keys", "mountPath": path }] }],
                "volumes": [{ "name": "keys", "secret": { "secret": "key", "items": [{ "version": "1", "path": item, "mode": mode }] } }],
            }))
        };
        assert_eq!(of("/etc/keys", "a/key.pem", 0o400), None);
        assert_eq!(of("/process/", "a", 0o400), None);
        for (path, item, mode, field) in [
            ("/", "a", 0, "template.containers[0].volume_mounts[0].mount_path"),
            ("etc", "a", 0, "template.containers[0].volume_mounts[0].mount_path"),
            ("/a:b", "a", 0, "template.containers[0].volume_mounts[0].mount_path"),
            ("/a/../b", "a", 0, "template.containers[0].volume_mounts[0].mount_path"),
            ("/proc", "a", 0, "template.containers[0].volume_mounts[0].mount_path"),
            ("/dev/shm/", "a", 0, "template.containers[0].volume_mounts[0].mount_path"),
            ("/sys/fs", "a", 0, "template.containers[0].volume_mounts[0].mount_path"),
            ("/a", "../a", 0, "template.volumes[0].secret.items[0].path"),
            ("/a", "/a", 0, "template.volumes[0].secret.items[0].path"),
            ("/a", "", 0, "template.volumes[0].secret.items[0].path"),
            ("/a", "a", 512, "template.volumes[0].secret.items[0].mode"),
        ] {
            let refused = of(path, item, mode).unwrap_or_default();
            assert!(refused.starts_with(&format!("{field}: ")), "{path} {item} {mode}: {refused}");
        }
        let other = json!({ "containers": [{ "volumeMounts": [{ "name": "x", "mountPath": "/x" }] }] });
        assert_eq!(
            refusal(&other).as_deref(),
            Some("template.containers[0].volume_mounts[0].name: Volume 'x' is not among the volumes.")
        );
        let twice = json!([{ "name": "v", "mountPath": "/x" }, { "name": "v", "mountPath": "/x/" }]);
        let other = json!({ "containers": [{ "volumeMounts": twice }], "volumes": [{ "name": "v", "emptyDir": {} }] });
        assert!(refusal(&other).is_some_and(|text| text.contains("is mounted more than once")));
    }

    #[test]
    fn nothing_is_mounted_or_put_below_another() {
        let mounted = |paths: &[&str]| {
            let mounts: Vec<Value> = paths.iter().map(|path| json!({ "name": "v", "mountPath": path })).collect();
            let containers = json!([{ "volumeMounts": mounts }]);
            refusal(&json!({ "containers": containers, "volumes": [{ "name": "v", "emptyDir": {} }] }))
        };
        assert_eq!(mounted(&["/a", "/ab", "/b/a/"]), None);
        assert_eq!(
            mounted(&["/a///////", "/a/b"]).as_deref(),
            Some(
                "template.containers[0].volume_mounts[1].mount_path: '/a/b' and '/a' are both mounted, and one is below the other."
            )
        );
        assert!(mounted(&["/a/b/c", "/x", "/a"]).is_some());
        let items = |paths: &[&str]| {
            let items: Vec<Value> = paths.iter().map(|path| json!({ "version": "1", "path": path })).collect();
            refusal(&json!({ "volumes": [{ "name": "v", "secret": { "secret": "key", "items": items } }] }))
        };
        assert_eq!(items(&["f", "fg", "g/f"]), None);
        assert_eq!(
            items(&["f", "f/g"]).as_deref(),
            Some(
                "template.volumes[0].secret.items[1].path: 'f/g' and 'f' cannot both be files: one is a folder of the other."
            )
        );
        assert!(items(&["a/b/c", "a"]).is_some());
    }
}

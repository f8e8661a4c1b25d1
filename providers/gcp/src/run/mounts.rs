//! Secrets as files: a volume for each folder, and its mount in the container.
//! <https://cloud.google.com/run/docs/configuring/services/secrets#mounting-secrets>
use std::collections::BTreeMap;

use carrack_core::{Error, ErrorKind, Result, secret::LATEST, spec::SecretRef};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{secret_names::Own, wire::short_name};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Volume {
    name: String,
    secret: Option<Source>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    secret: String,
    items: Vec<Item>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    path: String,
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Mount {
    name: String,
    mount_path: String,
    sub_path: String,
}

impl Mount {
    /// The volume's name and the folder, where all of the volume is shown.
    pub(super) fn whole(&self) -> Option<(&str, &str)> {
        self.sub_path.is_empty().then_some((&*self.name, &*self.mount_path))
    }
}

/// The files that these mounts show, by their absolute paths.
pub(super) fn files(mounts: &[Mount], volumes: &[Volume], own: &Own<'_>) -> BTreeMap<String, SecretRef> {
    let mut files = BTreeMap::new();
    for mount in mounts.iter().filter(|mount| mount.sub_path.is_empty()) {
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        let Some(source) = volume.and_then(|volume| volume.secret.as_ref()) else { continue };
        let name = own.shortest(&source.secret);
        let folder = mount.mount_path.trim_end_matches('/');
        let mut put = |path: &str, version: &str| {
            let version = if version.is_empty() { LATEST } else { version };
            files.insert(format!("{folder}/{path}"), SecretRef { name: name.to_owned(), version: version.to_owned() });
        };
        // Without items there is one file, which is called as the secret is.
        if source.items.is_empty() {
            put(short_name(&source.secret), LATEST);
        }
        source.items.iter().for_each(|item| put(&item.path, &item.version));
    }
    files
}

/// Whether a folder that shows several files would have to show two secrets, while `file` changes from one to another.
pub(super) fn in_the_way(
    file: &str,
    live: &BTreeMap<String, SecretRef>,
    wanted: &BTreeMap<String, SecretRef>,
    own: &Own<'_>,
) -> bool {
    let changes = match (live.get(file), wanted.get(file)) {
        (Some(live), Some(wanted)) => live.name != own.shortest(&wanted.name),
        _ => false,
    };
    let folder = |file: &str| file.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    changes && live.keys().chain(wanted.keys()).any(|other| other != file && folder(other) == folder(file))
}

/// `template` with this file of its container `container` as it is wanted, or without it.
pub(super) fn set(
    template: &mut Value,
    container: usize,
    file: &str,
    wanted: Option<&SecretRef>,
    own: &Own<'_>,
) -> Result<()> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    match (wanted, mounted_at(template, container, folder)) {
        (Some(secret), Some(mount)) => show(template, container, mount, name, secret, own),
        (Some(secret), None) => {
            let volume = free_name(template, folder);
            let item = json!({ "path": name, "version": secret.version });
            list(template, "volumes")
                .push(json!({ "name": volume, "secret": { "secret": secret.name, "items": [item] } }));
            list(&mut template["containers"][container], "volumeMounts")
                .push(json!({ "name": volume, "mountPath": folder }));
            Ok(())
        }
        (None, Some(mount)) => {
            hide(template, container, mount, name);
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// Which of the container's mounts is in this folder.
fn mounted_at(template: &Value, container: usize, folder: &str) -> Option<usize> {
    let at = |mount: &Value| mount["mountPath"].as_str().is_some_and(|path| path.trim_end_matches('/') == folder);
    template["containers"][container]["volumeMounts"].as_array()?.iter().position(at)
}

fn show(
    template: &mut Value,
    container: usize,
    mount: usize,
    file: &str,
    wanted: &SecretRef,
    own: &Own<'_>,
) -> Result<()> {
    let folder = template["containers"][container]["volumeMounts"][mount]["mountPath"].clone();
    let Some(volume) = unshared(template, container, mount) else {
        let text =
            format!("refusing to mount secret `{}`: the folder {folder} already shows something else", wanted.name);
        return Err(Error::new(ErrorKind::Conflict, text).hint("name a file in another folder in carrack.toml"));
    };
    let source = &mut template["volumes"][volume]["secret"];
    let same = own.shortest(source["secret"].as_str().unwrap_or_default()) == own.shortest(&wanted.name);
    let mut items = items(source);
    if !same {
        // A volume is of one secret: https://cloud.google.com/run/docs/reference/rest/v2/Volume#secretvolumesource
        if let Some(other) = items.iter().find(|item| item["path"] != file) {
            let text = format!(
                "refusing to mount secret `{}`: the folder {folder} already shows {} of secret {}",
                wanted.name, other["path"], source["secret"]
            );
            return Err(Error::new(ErrorKind::Conflict, text).hint("name a file in another folder in carrack.toml"));
        }
        source["secret"] = json!(wanted.name);
    }
    match items.iter_mut().find(|item| item["path"] == file) {
        Some(item) => item["version"] = json!(wanted.version),
        None => items.push(json!({ "path": file, "version": wanted.version })),
    }
    source["items"] = Value::Array(items);
    Ok(())
}

fn hide(template: &mut Value, container: usize, mount: usize, file: &str) {
    let Some(volume) = volume_of(template, container, mount) else { return };
    let items = items(&template["volumes"][volume]["secret"]);
    let rest: Vec<Value> = items.into_iter().filter(|item| item["path"] != file).collect();
    if rest.is_empty() {
        let alone = users(template, &template["volumes"][volume]["name"]) == 1;
        remove(&mut template["containers"][container], "volumeMounts", mount);
        if alone {
            remove(template, "volumes", volume);
        }
    } else if let Some(volume) = unshared(template, container, mount) {
        template["volumes"][volume]["secret"]["items"] = Value::Array(rest);
    }
}

/// Without any file that this container shows.
pub(super) fn hide_all(template: &mut Value, container: usize) {
    let count = template["containers"][container]["volumeMounts"].as_array().map_or(0, Vec::len);
    for mount in (0..count).rev() {
        let Some(volume) = volume_of(template, container, mount) else { continue };
        let alone = users(template, &template["volumes"][volume]["name"]) == 1;
        remove(&mut template["containers"][container], "volumeMounts", mount);
        if alone {
            remove(template, "volumes", volume);
        }
    }
}

/// The files of a secret volume, one by one.
fn items(source: &Value) -> Vec<Value> {
    let items = source["items"].as_array().cloned().unwrap_or_default();
    if !items.is_empty() {
        return items;
    }
    match source["secret"].as_str() {
        Some(secret) => vec![json!({ "path": short_name(secret), "version": LATEST })],
        None => Vec::new(),
    }
}

/// The secret volume that is mounted there.
fn volume_of(template: &Value, container: usize, mount: usize) -> Option<usize> {
    let mount = &template["containers"][container]["volumeMounts"][mount];
    let inside = mount["subPath"].as_str().is_some_and(|path| !path.is_empty());
    let is_it = |volume: &Value| volume["name"] == mount["name"] && volume["secret"].is_object() && !inside;
    template["volumes"].as_array()?.iter().position(is_it)
}

/// The same, as this mount's own: one that others show too is copied, since they stay as they are.
fn unshared(template: &mut Value, container: usize, mount: usize) -> Option<usize> {
    let volume = volume_of(template, container, mount)?;
    let mut copy = template["volumes"][volume].clone();
    if users(template, &copy["name"]) <= 1 {
        return Some(volume);
    }
    let shown = &template["containers"][container]["volumeMounts"][mount];
    let name = free_name(template, shown["mountPath"].as_str().unwrap_or_default());
    copy["name"] = json!(name);
    template["containers"][container]["volumeMounts"][mount]["name"] = json!(name);
    let volumes = list(template, "volumes");
    volumes.push(copy);
    Some(volumes.len() - 1)
}

/// How many mounts of all containers show this volume.
fn users(template: &Value, volume: &Value) -> usize {
    let containers = template["containers"].as_array().into_iter().flatten();
    let mounts = containers.flat_map(|container| container["volumeMounts"].as_array().into_iter().flatten());
    mounts.filter(|mount| mount["name"] == *volume).count()
}

/// The longest that is kept of a folder's path in a volume's name, which has 63 characters at most:
/// <https://cloud.google.com/run/docs/reference/rest/v2/Volume>
const READABLE: usize = 40;

/// The same folder always gives the same name, unless another volume has it.
fn free_name(template: &Value, folder: &str) -> String {
    let readable: String =
        folder.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(READABLE).collect();
    let hash: String = Sha256::digest(folder).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let first = format!("secret-{}-{hash}", readable.trim_matches('-'));
    let taken =
        |name: &String| template["volumes"].as_array().into_iter().flatten().any(|volume| volume["name"] == **name);
    let others = (2..).map(|number: u32| format!("{first}-{number}"));
    std::iter::once(first.clone()).chain(others).find(|name| !taken(name)).unwrap_or(first)
}

fn list<'a>(parent: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    super::edit::array(parent, key)
}

fn remove(parent: &mut Value, key: &str, index: usize) {
    let list = list(parent, key);
    list.remove(index);
    if list.is_empty()
        && let Some(map) = parent.as_object_mut()
    {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, version: &str) -> SecretRef {
        SecretRef { name: name.to_owned(), version: version.to_owned() }
    }

    fn shown(template: &Value) -> Vec<(String, String)> {
        let volumes: Vec<Volume> = serde_json::from_value(template["volumes"].clone()).unwrap_or_default();
        let mounts = template["containers"][0]["volumeMounts"].clone();
        let mounts: Vec<Mount> = serde_json::from_value(mounts).unwrap_or_default();
        let line = |(path, secret): (String, SecretRef)| (path, format!("{} {}", secret.name, secret.version));
        files(&mounts, &volumes, &Own::default()).into_iter().map(line).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(path, secret)| ((*path).to_owned(), (*secret).to_owned())).collect()
    }

    fn with(mut template: Value, file: &str, wanted: Option<SecretRef>) -> Value {
        set(&mut template, 0, file, wanted.as_ref(), &Own::default()).expect("nothing is in its way");
        template
    }

    #[test]
    fn a_file_is_a_volume_and_a_mount_and_goes_without_a_trace() {
        let empty = json!({ "containers": [{}] });
        let one = with(empty.clone(), "/etc/tls/key.pem", Some(secret("tls-key", "3")));
        assert_eq!(
            one,
            json!({
                "containers": [{ "volumeMounts": [{ "name": "secret-etc-tls-e26f0c8a", "mountPath": "/etc/tls" }] }],
                "volumes": [{ "name": "secret-etc-tls-e26f0c8a",
                    "secret": { "secret": "tls-key", "items": [{ "path": "key.pem", "version": "3" }] } }],
            })
        );
        assert_eq!(with(one.clone(), "/etc/tls/key.pem", None), empty);
        let other = with(one, "/etc/tls/key.pem", Some(secret("other", "1")));
        assert_eq!(shown(&other), pairs(&[("/etc/tls/key.pem", "other 1")]));
    }

    #[test]
    fn a_live_volume_is_found_by_its_folder_and_keeps_what_is_its_own() {
        let live = json!({
            "containers": [{ "volumeMounts": [{ "name": "theirs", "mountPath": "/etc/tls/" }] }],
            "volumes": [{ "name": "theirs", "secret": {
                "secret": "tls-key", "defaultMode": 256,
                "items": [{ "path": "other.pem", "version": "1" }, { "path": "key.pem", "version": "1", "mode": 288 }],
            } }],
        });
        let after = with(live, "/etc/tls/key.pem", Some(secret("tls-key", "2")));
        assert_eq!(
            after["volumes"],
            json!([{ "name": "theirs", "secret": {
                "secret": "tls-key", "defaultMode": 256,
                "items": [{ "path": "other.pem", "version": "1" }, { "path": "key.pem", "version": "2", "mode": 288 }],
            } }])
        );
        let after = with(after, "/etc/tls/key.pem", None);
        assert_eq!(shown(&after), pairs(&[("/etc/tls/other.pem", "tls-key 1")]));
    }

    #[test]
    fn a_volume_that_another_container_shows_stays_as_it_is() {
        let mounts = json!([{ "name": "both", "mountPath": "/keys" }]);
        let live = json!({
            "containers": [{ "volumeMounts": mounts }, { "volumeMounts": mounts }],
            "volumes": [{ "name": "both", "secret": { "secret": "key", "items": [{ "path": "a", "version": "1" }] } }],
        });
        let gone = with(live.clone(), "/keys/a", None);
        assert_eq!((&gone["volumes"], &gone["containers"][1]), (&live["volumes"], &live["containers"][1]));
        assert_eq!(shown(&gone), []);
        let changed = with(live.clone(), "/keys/a", Some(secret("key", "2")));
        assert_eq!((&changed["volumes"][0], &changed["containers"][1]), (&live["volumes"][0], &live["containers"][1]));
        assert_eq!(shown(&changed), pairs(&[("/keys/a", "key 2")]));
    }

    #[test]
    fn a_whole_secret_is_a_file_of_its_name() {
        let live = json!({
            "containers": [{ "volumeMounts": [{ "name": "v", "mountPath": "/keys" }] }],
            "volumes": [{ "name": "v", "secret": { "secret": "projects/1/secrets/key" } }],
        });
        assert_eq!(shown(&live), pairs(&[("/keys/key", "projects/1/secrets/key latest")]));
        let more = with(live, "/keys/old", Some(secret("projects/1/secrets/key", "1")));
        let key = "projects/1/secrets/key";
        assert_eq!(shown(&more), pairs(&[("/keys/key", &format!("{key} latest")), ("/keys/old", &format!("{key} 1"))]));
    }

    #[test]
    fn what_is_there_already_is_not_hidden() {
        let mounts = json!([{ "name": "v", "mountPath": "/data" }]);
        let refused = |volume: Value| {
            let mut template = json!({ "containers": [{ "volumeMounts": mounts }], "volumes": [volume] });
            let before = template.clone();
            let error = set(&mut template, 0, "/data/key", Some(&secret("key", "1")), &Own::default())
                .expect_err("something is there");
            assert_eq!((error.kind(), &template), (ErrorKind::Conflict, &before));
            error.message().to_owned()
        };
        assert_eq!(
            refused(json!({ "name": "v", "emptyDir": {} })),
            "refusing to mount secret `key`: the folder \"/data\" already shows something else"
        );
        assert_eq!(
            refused(
                json!({ "name": "v", "secret": { "secret": "theirs", "items": [{ "path": "a", "version": "1" }] } })
            ),
            "refusing to mount secret `key`: the folder \"/data\" already shows \"a\" of secret \"theirs\""
        );
    }

    #[test]
    fn a_name_that_another_volume_has_is_not_taken() {
        let name = free_name(&json!({}), "/Etc/a_b");
        assert!(name.starts_with("secret-etc-a-b-"), "{name}");
        assert_eq!(free_name(&json!({ "volumes": [{ "name": name }] }), "/Etc/a_b"), format!("{name}-2"));
        let long = free_name(&json!({}), &format!("/{}", "ä/".repeat(99)));
        assert!(long.len() <= 63 && long.ends_with(|c: char| c.is_ascii_alphanumeric()), "{long}");
    }
}

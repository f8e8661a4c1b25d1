//! Volumes that are no secrets: memory, buckets and NFS, and where containers mount them.
//! <https://cloud.google.com/run/docs/reference/rest/v2/Volume>
use std::collections::BTreeMap;

use carrack_core::{
    Error, ErrorKind, Result,
    spec::{Mebibytes, Volume},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{edit::array, mounts::Mount, wire::parse_memory};

/// The kinds; a live volume of ours has one of them, others stay as they are.
const KINDS: [&str; 3] = ["emptyDir", "gcs", "nfs"];

/// What a live volume is made of.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Source {
    name: String,
    empty_dir: Option<EmptyDir>,
    gcs: Option<Bucket>,
    nfs: Option<Nfs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EmptyDir {
    medium: String,
    size_limit: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bucket {
    bucket: String,
    read_only: bool,
    mount_options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Nfs {
    server: String,
    path: String,
    read_only: bool,
}

impl Source {
    /// In neutral words; `None` for other kinds.
    pub(super) fn neutral(&self) -> Option<(String, Volume)> {
        let volume = match (&self.empty_dir, &self.gcs, &self.nfs) {
            // "When none, the default will currently be backed by memory":
            // https://cloud.google.com/run/docs/reference/rest/v2/Volume#emptydirvolumesource
            (Some(folder), None, None) if matches!(&*folder.medium, "" | "MEMORY" | "MEDIUM_UNSPECIFIED") => {
                Volume::Memory { size: folder.size_limit.as_deref().and_then(parse_memory) }
            }
            (None, Some(bucket), None) => Volume::Bucket {
                name: bucket.bucket.clone(),
                read_only: bucket.read_only,
                options: bucket.mount_options.clone(),
            },
            (None, None, Some(nfs)) => {
                Volume::Nfs { server: nfs.server.clone(), path: nfs.path.clone(), read_only: nfs.read_only }
            }
            _ => return None,
        };
        Some((self.name.clone(), volume))
    }
}

/// Where a container mounts these volumes, by their names: the first whole mount of each.
pub(super) fn mounted(mounts: &[Mount], volumes: &BTreeMap<String, Volume>) -> BTreeMap<String, String> {
    let mut paths = BTreeMap::new();
    for (name, path) in mounts.iter().filter_map(Mount::whole).filter(|(name, _)| volumes.contains_key(*name)) {
        paths.entry(name.to_owned()).or_insert_with(|| path.to_owned());
    }
    paths
}

/// `template` with the volume `name` as it is wanted, or without it.
pub(super) fn set(template: &mut Value, name: &str, wanted: Option<&Volume>) -> Result<()> {
    let place = array(template, "volumes").iter().position(|volume| volume["name"] == name);
    let Some(volume) = wanted else {
        if let Some(index) = place {
            take(template, "volumes", index);
        }
        tidy(template, "volumes");
        return Ok(());
    };
    let volumes = array(template, "volumes");
    let index = place.unwrap_or(volumes.len());
    if place.is_none() {
        volumes.push(json!({ "name": name }));
    }
    let live = &mut volumes[index];
    let known = KINDS.iter().any(|kind| live[*kind].is_object());
    if place.is_some() && !known {
        let text = format!("refusing to change volume `{name}`: what is live under this name is of another kind");
        return Err(Error::new(ErrorKind::Conflict, text)
            .at_field(format!("volumes.{name}"))
            .hint("call the volume in carrack.toml something else"));
    }
    let (kind, fields) = wire(volume);
    if let Some(map) = live.as_object_mut() {
        map.retain(|key, _| key == kind || !KINDS.contains(&key.as_str()));
        let source = map.entry(kind).or_insert_with(|| json!({}));
        for (key, value) in fields {
            match (value, source.as_object_mut()) {
                (Some(value), Some(source)) => drop(source.insert(key.to_owned(), value)),
                (None, Some(source)) => drop(source.remove(key)),
                (_, None) => {}
            }
        }
    }
    Ok(())
}

fn wire(volume: &Volume) -> (&'static str, Vec<(&'static str, Option<Value>)>) {
    let yes = |on: &bool| on.then_some(json!(true));
    match volume {
        Volume::Memory { size } => (
            "emptyDir",
            vec![
                ("medium", Some(json!("MEMORY"))),
                ("sizeLimit", size.map(|Mebibytes(size)| json!(format!("{size}Mi")))),
            ],
        ),
        Volume::Bucket { name, read_only, options } => (
            "gcs",
            vec![
                ("bucket", Some(json!(name))),
                ("readOnly", yes(read_only)),
                ("mountOptions", (!options.is_empty()).then(|| json!(options))),
            ],
        ),
        Volume::Nfs { server, path, read_only } => {
            ("nfs", vec![("server", Some(json!(server))), ("path", Some(json!(path))), ("readOnly", yes(read_only))])
        }
    }
}

/// The container's mount of the volume `name` at `path`, or none.
pub(super) fn mount(container: &mut Value, name: &str, path: Option<&String>) {
    let mounts = array(container, "volumeMounts");
    let whole = |mount: &Value| mount["subPath"].as_str().unwrap_or_default().is_empty();
    let place = mounts.iter().position(|mount| mount["name"] == name && whole(mount));
    match (place, path) {
        (Some(index), Some(path)) => mounts[index]["mountPath"] = json!(path),
        (None, Some(path)) => mounts.push(json!({ "name": name, "mountPath": path })),
        (Some(index), None) => take(container, "volumeMounts", index),
        (None, None) => {}
    }
    tidy(container, "volumeMounts");
}

fn take(parent: &mut Value, key: &str, index: usize) {
    array(parent, key).remove(index);
}

/// An empty list is none.
fn tidy(parent: &mut Value, key: &str) {
    if parent[key].as_array().is_some_and(Vec::is_empty)
        && let Some(map) = parent.as_object_mut()
    {
        map.remove(key);
    }
}

/// What the edit would leave behind broken: a mount without its volume, or two in one place. The cloud refuses it, and
/// its text would not say whose fault it is.
pub(super) fn check(before: &Value, after: &Value) -> Result<()> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let volumes = list(&after["volumes"]);
    for container in list(&after["containers"]) {
        let mounts = list(&container["volumeMounts"]);
        let shown =
            container["name"].as_str().map_or("the main container".to_owned(), |name| format!("container `{name}`"));
        let old = list(&before["containers"]).into_iter().find(|old| old["name"] == container["name"]);
        let old = old.map(|old| old["volumeMounts"].clone()).unwrap_or_default();
        for (index, mount) in mounts.iter().enumerate() {
            let name = mount["name"].as_str().unwrap_or_default();
            let there = |volumes: &Value| list(volumes).iter().any(|volume| volume["name"] == name);
            if !volumes.iter().any(|volume| volume["name"] == name) && there(&before["volumes"]) {
                let text = format!("refusing to remove volume `{name}`: {shown}, which is not ours, mounts it");
                return Err(Error::new(ErrorKind::Conflict, text)
                    .at_field(format!("volumes.{name}"))
                    .hint(format!("keep [volumes.{name}] in carrack.toml, without `mount`")));
            }
            let folder =
                |mount: &Value| mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/').to_owned();
            let path = folder(mount);
            let clash = mounts.iter().take(index).find(|other| folder(other) == path && !path.is_empty());
            if let Some(other) = clash
                && old != container["volumeMounts"]
            {
                let text =
                    format!("refusing to mount {} and {} both at {path} in {shown}", other["name"], mount["name"]);
                return Err(Error::new(ErrorKind::Conflict, text).hint("use another folder in carrack.toml"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(size: u32) -> Volume {
        Volume::Memory { size: Some(Mebibytes(size)) }
    }

    fn read(volume: &Value) -> Option<(String, Volume)> {
        Source::deserialize(volume).expect("a volume").neutral()
    }

    #[test]
    fn each_kind_is_written_as_it_is_read_and_goes_without_a_trace() {
        let bucket = Volume::Bucket { name: "b".into(), read_only: true, options: vec!["implicit-dirs".into()] };
        let nfs = Volume::Nfs { server: "10.0.0.2".into(), path: "/share".into(), read_only: false };
        for volume in [memory(64), Volume::Memory { size: None }, bucket, nfs] {
            let mut template = json!({});
            set(&mut template, "cache", Some(&volume)).expect("a new one");
            assert_eq!(read(&template["volumes"][0]), Some(("cache".to_owned(), volume)));
            set(&mut template, "cache", None).expect("it goes");
            assert_eq!(template, json!({}));
        }
        assert_eq!(read(&json!({ "name": "disk", "emptyDir": { "medium": "DISK" } })), None);
        assert_eq!(read(&json!({ "name": "db", "cloudSqlInstance": {} })), None);
    }

    #[test]
    fn a_volume_changes_its_kind_in_its_place_and_keeps_what_is_unknown() {
        let mut template = json!({ "volumes": [
            { "name": "cache", "emptyDir": { "medium": "MEMORY", "new": 1 }, "note": "x" },
            { "name": "other", "gcs": { "bucket": "b" } },
        ] });
        set(&mut template, "cache", Some(&memory(64))).expect("memory stays memory");
        let kept = json!({ "medium": "MEMORY", "sizeLimit": "64Mi", "new": 1 });
        assert_eq!(template["volumes"][0], json!({ "name": "cache", "emptyDir": kept, "note": "x" }));
        let bucket = Volume::Bucket { name: "b".into(), read_only: false, options: Vec::new() };
        set(&mut template, "cache", Some(&bucket)).expect("it becomes a bucket");
        assert_eq!(template["volumes"][0], json!({ "name": "cache", "gcs": { "bucket": "b" }, "note": "x" }));
        assert_eq!(template["volumes"][1]["name"], "other");
    }

    #[test]
    fn a_secret_of_the_same_name_is_not_made_a_volume_of() {
        let mut template = json!({ "volumes": [{ "name": "cache", "secret": { "secret": "s" } }] });
        let before = template.clone();
        let error = set(&mut template, "cache", Some(&memory(1))).expect_err("it is somebody's");
        assert_eq!((error.kind(), template), (ErrorKind::Conflict, before));
    }

    #[test]
    fn what_would_be_left_broken_is_refused() {
        let live = json!({
            "containers": [{}, { "name": "theirs", "volumeMounts": [{ "name": "cache", "mountPath": "/c" }] }],
            "volumes": [{ "name": "cache", "emptyDir": {} }],
        });
        let mut after = live.clone();
        set(&mut after, "cache", None).expect("the list is changed");
        let error = check(&live, &after).expect_err("a sidecar mounts it");
        assert_eq!(
            error.message(),
            "refusing to remove volume `cache`: container `theirs`, which is not ours, mounts it"
        );
        let mut after = live.clone();
        mount(&mut after["containers"][1], "more", Some(&"/c/".to_owned()));
        let error = check(&live, &after).expect_err("two in one place");
        assert_eq!(error.message(), "refusing to mount \"cache\" and \"more\" both at /c in container `theirs`");
        // What was broken before is not ours to judge.
        assert!(check(&after, &after).is_ok());
    }
}

//! What is mounted where: secrets as files, folders in memory, and folders of this machine in the place of what is shared
//! over a network.
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    secrets::{File, Reader},
    shares::Shares,
};
use crate::{
    gcp::run::template::parse_memory,
    runtime::{Content, FOLDER_MOUNTS, Hidden, Lend, Mount, MountedFile},
};

/// Where Cloud SQL's sockets are, whatever the mount says:
/// <https://cloud.google.com/sql/docs/postgres/connect-run#connect-unix-socket>
const SOCKETS: &str = "/cloudsql";

/// A kind of volume that the local cloud does not have, in the words of a refusal.
pub(crate) fn unsupported(template: &Value) -> Option<String> {
    for volume in template["volumes"].as_array().into_iter().flatten() {
        let what = if volume.get("secret").is_some() {
            continue;
        } else if let Some(folder) = volume.get("emptyDir") {
            // Without a medium it is in memory.
            match folder["medium"].as_str() {
                Some("DISK") => "a folder on disk",
                _ => continue,
            }
        } else if ["cloudSqlInstance", "gcs", "nfs"].iter().any(|kind| volume.get(*kind).is_some()) {
            continue;
        } else {
            "of a kind that it does not know"
        };
        return Some(format!(
            "The local cloud mounts secrets, folders in memory, buckets, shares and sockets: volume {} is {what}.",
            volume["name"]
        ));
    }
    let folders: usize = lends(template, usize::MAX).iter().map(|lend| lend.copies).sum();
    if folders > FOLDER_MOUNTS {
        return Some(format!(
            "The local cloud mounts folders in memory that several mounts show {FOLDER_MOUNTS} times in one instance: this would be {folders}."
        ));
    }
    let containers = template["containers"].as_array().into_iter().flatten();
    let mut mounts = containers.flat_map(|container| container["volumeMounts"].as_array().into_iter().flatten());
    mounts.find(|mount| mount["subPath"].as_str().is_some_and(|path| !path.is_empty())).map(|mount| {
        format!(
            "The local cloud mounts whole volumes: the mount of {} has a path in it, {}.",
            mount["name"], mount["subPath"]
        )
    })
}

/// What one container mounts.
pub(super) fn mounts(
    template: &Value,
    container: &Value,
    reader: Reader<'_>,
    shares: &Shares,
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let mut volumes = template["volumes"].as_array().into_iter().flatten().enumerate();
        let Some((index, volume)) = volumes.find(|(_, volume)| volume["name"] == mount["name"]) else { continue };
        let path = mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/');
        if volume.get("cloudSqlInstance").is_some() {
            for (instance, source) in shares.sockets(volume)? {
                let path = format!("{SOCKETS}/{instance}");
                mounts.push(Mount { path, content: Content::Kept { source, read_only: false } });
            }
            continue;
        }
        let content = if volume.get("secret").is_some() {
            let files = reader.files(index, volume)?;
            Content::Files(files.into_iter().map(mounted).collect())
        } else if let Some((source, read_only)) = shares.folder(volume)? {
            Content::Kept { source, read_only }
        } else {
            let name = volume["name"].as_str().unwrap_or_default().to_owned();
            Content::Folder { name, size: size(template, volume) }
        };
        mounts.push(Mount { path: path.to_owned(), content });
    }
    Ok(mounts)
}

fn mounted(File { path, mode, bytes }: File) -> MountedFile {
    MountedFile { path, mode, bytes: Hidden(Zeroizing::new(bytes.expose().to_vec())) }
}

/// The folders that more than one mount shows, made by the container `first`.
pub(super) fn lends(template: &Value, first: usize) -> Vec<Lend> {
    let mut lends = Vec::new();
    for volume in template["volumes"].as_array().into_iter().flatten() {
        if volume.get("emptyDir").is_none() {
            continue;
        }
        let count = |container: &Value| {
            let mounts = container["volumeMounts"].as_array().into_iter().flatten();
            mounts.filter(|mount| mount["name"] == volume["name"]).count()
        };
        let counts: Vec<usize> = template["containers"].as_array().into_iter().flatten().map(count).collect();
        let all: usize = counts.iter().sum();
        if all > 1 {
            let copies = all - counts.get(first).copied().unwrap_or_default();
            let name = volume["name"].as_str().unwrap_or_default().to_owned();
            lends.push(Lend { name, size: size(template, volume), copies });
        }
    }
    lends
}

/// At most what all containers have of memory.
/// <https://cloud.google.com/run/docs/configuring/services/in-memory-volume-mounts>
fn size(template: &Value, volume: &Value) -> Option<u64> {
    let given = volume["emptyDir"]["sizeLimit"].as_str().and_then(parse_memory);
    let limit = crate::gcp::run::template::memory_bytes(template);
    match (given, limit) {
        (Some(given), Some(limit)) => Some(given.min(limit)),
        (given, limit) => given.or(limit),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_kinds_are_refused_by_name() {
        let refused = |volume: Value| unsupported(&json!({ "volumes": [volume] }));
        assert_eq!(refused(json!({ "name": "a", "secret": { "secret": "s" } })), None);
        assert_eq!(refused(json!({ "name": "a", "emptyDir": {} })), None);
        assert_eq!(refused(json!({ "name": "a", "emptyDir": { "medium": "MEMORY" } })), None);
        assert_eq!(refused(json!({ "name": "a", "gcs": { "bucket": "b" } })), None);
        assert_eq!(
            refused(json!({ "name": "a", "emptyDir": { "medium": "DISK" } })).as_deref(),
            Some(
                "The local cloud mounts secrets, folders in memory, buckets, shares and sockets: volume \"a\" is a folder on disk."
            )
        );
        let mounted =
            json!({ "containers": [{ "volumeMounts": [{ "name": "a", "mountPath": "/a", "subPath": "b" }] }] });
        assert!(unsupported(&mounted).is_some());
    }

    #[test]
    fn too_many_mounts_are_refused_by_number() {
        let with = |each: usize| {
            let mounts: Vec<Value> =
                (0..each).map(|number| json!({ "name": "all", "mountPath": format!("/m{number}") })).collect();
            let containers = vec![json!({ "volumeMounts": mounts }); 10];
            unsupported(&json!({ "containers": containers, "volumes": [{ "name": "all", "emptyDir": {} }] }))
        };
        assert_eq!(with(25), None);
        assert_eq!(
            with(26).as_deref(),
            Some(
                "The local cloud mounts folders in memory that several mounts show 250 times in one instance: this would be 260."
            )
        );
    }

    #[test]
    fn a_folder_is_lent_when_several_mounts_show_it() {
        let limits = |memory: &str| json!({ "limits": { "memory": memory } });
        let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path });
        let template = json!({
            "containers": [
                { "volumeMounts": [mount("all", "/a"), mount("own", "/b")], "resources": limits("512Mi") },
                { "volumeMounts": [mount("all", "/a"), mount("all", "/b")], "resources": limits("512Mi") },
            ],
            "volumes": [
                { "name": "all", "emptyDir": { "sizeLimit": "128Mi" } },
                { "name": "own", "emptyDir": { "sizeLimit": "8Gi" } },
            ],
        });
        assert_eq!(lends(&template, 0), [Lend { name: "all".to_owned(), size: Some(128 << 20), copies: 2 }]);
        assert_eq!(lends(&template, 1)[0].copies, 1);
        assert_eq!(size(&template, &template["volumes"][1]), Some(1 << 30));
    }
}

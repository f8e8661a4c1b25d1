//! Folders of this machine in the place of what the cloud reaches over its network: buckets, NFS shares, and the
//! sockets of databases. They are made when they are first mounted, and nothing removes them.
use std::{
    fs::{DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Path>);

impl Shares {
    pub(crate) fn at(folder: &Path) -> Self {
        Self(folder.into())
    }

    /// The folder of a bucket or an NFS share, and whether it is read only; none for other volumes.
    pub(super) fn folder(&self, volume: &Value) -> Result<Option<(PathBuf, bool)>, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (place, options) = if let Some(bucket) = volume.get("gcs") {
            (format!("buckets/{}", text(&bucket["bucket"])), bucket)
        } else if let Some(nfs) = volume.get("nfs") {
            (format!("nfs/{}/{}", text(&nfs["server"]), text(&nfs["path"]).trim_start_matches('/')), nfs)
        } else {
            return Ok(None);
        };
        Ok(Some((self.made(&place)?, options["readOnly"] == true)))
    }

    /// By each instance's name the folder that its socket is in.
    pub(super) fn sockets(&self, volume: &Value) -> Result<Vec<(String, PathBuf)>, String> {
        let instances = volume["cloudSqlInstance"]["instances"].as_array().into_iter().flatten();
        let one = |name: &Value| {
            let name = name.as_str().unwrap_or_default().to_owned();
            let folder = self.made(&format!("cloudsql/{name}"))?;
            Ok((name, folder))
        };
        instances.map(one).collect()
    }

    /// Anybody may write there, whoever the program runs as.
    fn made(&self, place: &str) -> Result<PathBuf, String> {
        let failed = |error: io::Error| format!("The local cloud cannot make the folder '{place}': {error}");
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(place).components().all(inside) {
            return Err(failed(io::Error::other("a name must not lead out of it")));
        }
        let folder = self.0.join(place);
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o755).create(&folder).map_err(failed)?;
            std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).map_err(failed)?;
        }
        Ok(folder)
    }
}

/// What is said of them where an instance starts.
pub(crate) fn told(template: &Value) -> Option<&'static str> {
    let mut volumes = template["volumes"].as_array().into_iter().flatten();
    let kept = |volume: &Value| ["gcs", "nfs", "cloudSqlInstance"].iter().any(|kind| volume.get(*kind).is_some());
    volumes.any(kept).then_some(
        "Buckets, NFS shares and Cloud SQL's sockets are folders of this machine, below `shares` in the local cloud's folder.",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_share_has_its_own_folder_and_none_leads_out() {
        let root = tempfile::tempdir().unwrap();
        let shares = Shares::at(root.path());
        let bucket = json!({ "gcs": { "bucket": "photos", "readOnly": true } });
        assert_eq!(shares.folder(&bucket), Ok(Some((root.path().join("buckets/photos"), true))));
        let nfs = json!({ "nfs": { "server": "10.0.0.2", "path": "/export/a" } });
        assert_eq!(shares.folder(&nfs), Ok(Some((root.path().join("nfs/10.0.0.2/export/a"), false))));
        assert!(root.path().join("nfs/10.0.0.2/export/a").is_dir());
        assert_eq!(shares.folder(&json!({ "emptyDir": {} })), Ok(None));
        for path in ["/../../etc", "/a/../../.."] {
            assert!(shares.folder(&json!({ "nfs": { "server": "s", "path": path } })).is_err(), "{path}");
        }
        let sql = json!({ "cloudSqlInstance": { "instances": ["p:r:i"] } });
        assert_eq!(shares.sockets(&sql).unwrap()[0].1, root.path().join("cloudsql/p:r:i"));
    }
}

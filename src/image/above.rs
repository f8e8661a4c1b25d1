//! Our files above a base: in its folders, which stay as they are.
//!
//! A store may keep each layer in a folder of its own and lay them over one another. There a folder is what the
//! topmost layer with anything in it says, and a real folder hides a link of that name below:
//! <https://docs.kernel.org/filesystems/overlayfs.html#merged-directories>. So a file is written to where the base's
//! links lead, and each folder above it has an entry that says what the base's own says.
use std::path::{Path, PathBuf};

use carrack_core::{Error, Result};

use super::{
    base::BaseImage,
    listing::{Folder, Kind, Listing},
    spec::{BuildSpec, FILES, invalid, twice},
    tree::{LayerPlan, Node, Tree, add_parents},
};

impl Tree {
    /// Whether the base's folders must be known. Never a question of what lies on this disk: the same files make the
    /// same image everywhere.
    pub(crate) fn needs_folders(&self, spec: &BuildSpec, base: &BaseImage) -> bool {
        let mut nodes = self.layers.iter().flat_map(|layer| layer.nodes.values());
        nodes.any(|node| matches!(node, Node::Directory(_))) || missing_directory(spec, base).is_some()
    }

    /// The same files, in the folders of this base.
    pub(crate) fn above(self, spec: &BuildSpec, base: &BaseImage, listing: &Listing) -> Result<Self> {
        let mut tree = Self::default();
        for layer in self.layers {
            tree.add(layer.above(listing)?)?;
        }
        if let Some(directory) = missing_directory(spec, base) {
            let user = spec.user.as_deref().or(base.configuration.user());
            tree.add_directory(directory, Folder::of_user(user), Some(listing))?;
        }
        tree.make_executable(spec, Some(listing));
        Ok(tree)
    }
}

/// A working folder that the base's own does not bring along.
fn missing_directory<'a>(spec: &'a BuildSpec, base: &BaseImage) -> Option<&'a str> {
    let directory = spec.working_dir.as_deref()?;
    let own = Path::new(base.configuration.working_dir().unwrap_or("/"));
    (!own.starts_with(directory)).then_some(directory)
}

impl LayerPlan {
    pub(crate) fn above(self, base: &Listing) -> Result<Self> {
        let mut placed = Self { title: self.title, ..Self::default() };
        for (path, node) in self.nodes {
            let real = real(base, &path, &node).ok_or_else(|| circle(&path))?;
            let both_folders = |there: &Node| matches!((there, &node), (Node::Directory(_), Node::Directory(_)));
            if placed.nodes.get(&real).is_some_and(|there| !both_folders(there)) {
                return Err(twice(&format!("/{}", real.display())));
            }
            add_parents(&mut placed.nodes, &real);
            if !real.as_os_str().is_empty() {
                placed.nodes.insert(real, node);
            }
        }
        for (path, node) in &mut placed.nodes {
            if let (Node::Directory(folder), Some(Kind::Directory(own))) = (node, base.get(path)) {
                *folder = *own;
            }
        }
        Ok(placed)
    }
}

/// A file or a link takes the place of what has its name; a folder is gone into.
fn real(base: &Listing, path: &Path, node: &Node) -> Option<PathBuf> {
    match (node, path.parent(), path.file_name()) {
        (Node::File { .. } | Node::Link { .. }, Some(parent), Some(name)) => Some(base.real(parent)?.join(name)),
        _ => base.real(path),
    }
}

fn circle(path: &Path) -> Error {
    invalid(FILES, format!("`/{}` leads through links of the base that are a circle", path.display()))
        .hint("copy to another folder")
}

impl Folder {
    /// One that is made for whom the program runs as. By name it is not known who that is.
    pub(crate) fn of_user(user: Option<&str>) -> Self {
        let (user, group) = user.map_or(("", ""), |user| user.split_once(':').unwrap_or((user, "")));
        match user.parse::<u32>() {
            Ok(user) => {
                Self { uid: user.into(), gid: group.parse::<u32>().unwrap_or_default().into(), ..Self::default() }
            }
            Err(_) => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use carrack_core::spec::ImageRef;

    use super::*;
    use crate::image::{
        listing::tests::listing,
        spec::{Base, tests::spec},
    };

    fn debian() -> Listing {
        listing(&[&[
            ("bin", Some("usr/bin")),
            ("usr/bin/sh", None),
            ("tmp/", None),
            ("home/node/", None),
            ("a", Some("b")),
            ("b", Some("a")),
        ]])
    }

    fn base(config: serde_json::Value) -> BaseImage {
        let configuration = serde_json::json!({ "config": config, "rootfs": { "type": "layers", "diff_ids": [] } });
        BaseImage {
            name: "base.example/a:1".into(),
            digest: "sha256:0".into(),
            top: "sha256:0".into(),
            layers: Vec::new(),
            configuration: serde_json::from_value(configuration).expect("a configuration"),
        }
    }

    fn case(files: &[(&str, &str)]) -> (tempfile::TempDir, BuildSpec) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("app"), "program").expect("write");
        fs::create_dir_all(folder.path().join("site/tmp")).expect("folders");
        fs::create_dir_all(folder.path().join("site/bin")).expect("folders");
        fs::write(folder.path().join("site/bin/tool"), "tool").expect("write");
        let mut spec = spec(folder.path(), files);
        spec.base = Base::Image(ImageRef("base.example/a:1".into()));
        (folder, spec)
    }

    /// What each layer has: the path, and of a folder the mode and the owner.
    fn entries(spec: &BuildSpec, base: &BaseImage) -> Result<Vec<Vec<String>>> {
        let tree = Tree::read(spec)?.above(spec, base, &debian())?;
        let line = |(path, node): (&PathBuf, &Node)| match node {
            Node::Directory(Folder { mode, uid, gid }) => format!("{}/ {mode:o} {uid}:{gid}", path.display()),
            _ => path.display().to_string(),
        };
        Ok(tree.layers.iter().map(|layer| layer.nodes.iter().map(line).collect()).collect())
    }

    #[test]
    fn links_and_folders_of_the_base_stay_what_they_are() {
        let (_folder, spec) = case(&[("app", "/bin/app"), ("app", "/home/node/new/app"), ("site", "/")]);
        assert_eq!(
            entries(&spec, &base(serde_json::json!({}))).expect("entries"),
            [
                vec!["usr/ 755 0:0", "usr/bin/ 755 0:0", "usr/bin/app"],
                vec!["home/ 755 0:0", "home/node/ 755 1000:1000", "home/node/new/ 755 0:0", "home/node/new/app"],
                vec!["tmp/ 1777 0:0", "usr/ 755 0:0", "usr/bin/ 755 0:0", "usr/bin/tool"],
            ]
        );
    }

    #[test]
    fn a_program_by_either_name_is_made_executable() {
        for program in ["/bin/app", "/usr/bin/app"] {
            let (_folder, mut spec) = case(&[("app", "/bin/app")]);
            spec.entrypoint = vec![program.into()];
            let tree = Tree::read(&spec).expect("tree").above(&spec, &base(serde_json::json!({})), &debian());
            let node = tree.expect("above").layers[0].nodes[Path::new("usr/bin/app")].clone();
            assert!(matches!(node, Node::File { executable: true, .. }), "{program}: {node:?}");
        }
    }

    #[test]
    fn two_ways_to_the_same_place_and_a_circle_are_refused() {
        let refused = |files: &[(&str, &str)]| {
            let (_folder, spec) = case(files);
            entries(&spec, &base(serde_json::json!({}))).expect_err("refused").message().to_owned()
        };
        assert_eq!(refused(&[("app", "/bin/app"), ("app", "/usr/bin/app")]), "two entries make `/usr/bin/app`");
        assert_eq!(refused(&[("app", "/a/app")]), "`/a` leads through links of the base that are a circle");
    }

    #[test]
    fn a_working_folder_is_made_only_where_the_base_has_none_and_for_its_user() {
        let made = |directory: &str, user: Option<&str>, config: serde_json::Value| {
            let (_folder, mut spec) = case(&[("app", "/app")]);
            (spec.working_dir, spec.user) = (Some(directory.into()), user.map(str::to_owned));
            let base = base(config);
            let layers = entries(&spec, &base).expect("entries");
            let needs = Tree::read(&spec).expect("tree").needs_folders(&spec, &base);
            assert!(needs || layers.len() == 1, "{directory} needs nothing and makes something");
            (needs, layers.get(1).cloned().unwrap_or_default().join(" "))
        };
        let none = String::new();
        assert_eq!(made("/home/node", Some("node"), serde_json::json!({})), (true, none.clone()));
        assert_eq!(made("/bin", None, serde_json::json!({})), (true, none.clone()));
        for own in ["/srv/in", "/srv/in/", "/srv/in/deep"] {
            assert_eq!(made("/srv/in", None, serde_json::json!({ "WorkingDir": own })), (false, none.clone()));
        }
        assert_eq!(made("/", None, serde_json::json!({})), (false, none));
        let new = |user, config| made("/home/node/in", user, config).1;
        let above = "home/ 755 0:0 home/node/ 755 1000:1000 home/node/in/ 755";
        assert_eq!(new(Some("7:8"), serde_json::json!({ "User": "9" })), format!("{above} 7:8"));
        assert_eq!(new(None, serde_json::json!({ "User": "9" })), format!("{above} 9:0"));
        assert_eq!(new(None, serde_json::json!({ "User": "node", "WorkingDir": "/home" })), format!("{above} 0:0"));
    }
}

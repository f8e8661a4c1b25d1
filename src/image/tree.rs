//! The files to copy, as the entries of each layer.
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{self, Metadata},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use carrack_core::Result;
use walkdir::WalkDir;

use super::{
    listing::{Folder, Kind, Listing},
    missing::unreadable,
    spec::{Base, BuildSpec, FILES, FileCopy, check_name, image_path, invalid, twice},
};

/// Links followed before they are taken for a circle; Linux's own limit: <https://man7.org/linux/man-pages/man7/path_resolution.7.html>.
pub(crate) const MAX_LINKS: usize = 40;

/// Nobody copies it, and every image has it.
const ROOT: Node = Node::Directory(Folder { mode: 0o755, uid: 0, gid: 0 });

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory(Folder),
    File { source: PathBuf, size: u64, executable: bool },
    Link { target: PathBuf },
}

/// The entries of one layer. Paths have no `/` in front; a folder sorts before what it holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerPlan {
    /// For the image's history.
    pub(crate) title: String,
    pub(crate) nodes: BTreeMap<PathBuf, Node>,
}

/// What is at a path, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Own(&'a Node),
    Below(Kind),
}

/// Everything that will be in the image above its base.
///
/// One layer for each entry of `files`: when only the program changes, the large folder beside it keeps its
/// digest and is neither compressed nor pushed again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    pub(crate) layers: Vec<LayerPlan>,
    all: BTreeMap<PathBuf, Node>,
}

impl Tree {
    /// Looks at every file that is to be copied. Where they lie above a base is [`Self::above`]'s.
    pub(crate) fn read(spec: &BuildSpec) -> Result<Self> {
        let mut tree = Self::default();
        for file in &spec.files {
            let layer = read_entry(spec, file)?;
            tree.add(layer)?;
        }
        if let (Base::Scratch, Some(directory)) = (&spec.base, &spec.working_dir) {
            tree.add_directory(directory, Folder::of_user(spec.user.as_deref()), None)?;
        }
        tree.make_executable(spec, None);
        Ok(tree)
    }

    pub(crate) fn add(&mut self, layer: LayerPlan) -> Result<()> {
        for (path, node) in &layer.nodes {
            match self.all.entry(path.clone()) {
                Entry::Vacant(place) => {
                    place.insert(node.clone());
                }
                Entry::Occupied(there) => {
                    if !matches!((there.get(), node), (Node::Directory(_), Node::Directory(_))) {
                        return Err(twice(&format!("/{}", path.display())));
                    }
                }
            }
        }
        self.layers.push(layer);
        Ok(())
    }

    /// A folder that neither the files nor the base have.
    pub(crate) fn add_directory(&mut self, directory: &str, folder: Folder, base: Option<&Listing>) -> Result<()> {
        let path: PathBuf = image_path(directory)?.iter().collect();
        if self.resolve_above(Path::new(directory), base).is_some() {
            return Ok(());
        }
        let mut layer = LayerPlan { title: format!("folder /{}", path.display()), ..LayerPlan::default() };
        add_parents(&mut layer.nodes, &path);
        layer.nodes.insert(path, Node::Directory(folder));
        self.add(match base {
            Some(base) => layer.above(base)?,
            None => layer,
        })
    }

    /// The program is made executable, whatever its mode was here.
    pub(crate) fn make_executable(&mut self, spec: &BuildSpec, base: Option<&Listing>) {
        let program = spec.program().and_then(|program| self.resolve_above(Path::new(program), base));
        let Some((path, Place::Own(Node::File { .. }))) = program else {
            return;
        };
        let maps = self.layers.iter_mut().map(|layer| &mut layer.nodes).chain([&mut self.all]);
        for nodes in maps {
            if let Some(Node::File { executable, .. }) = nodes.get_mut(&path) {
                *executable = true;
            }
        }
    }

    /// What an absolute path leads to, through links, with what the base has below our files; `None` when it leads
    /// nowhere.
    pub(crate) fn resolve_above(&self, path: &Path, base: Option<&Listing>) -> Option<(PathBuf, Place<'_>)> {
        let look = |path: &Path| {
            let below = || base?.get(path).cloned().map(Place::Below);
            self.all.get(path).map(Place::Own).or_else(below)
        };
        let mut left = PathBuf::from(path);
        for _ in 0..MAX_LINKS {
            let mut done = PathBuf::new();
            let mut parts = left.components();
            let target = loop {
                let Some(part) = parts.next() else {
                    if done.as_os_str().is_empty() {
                        return Some((done, Place::Own(&ROOT)));
                    }
                    return look(&done).map(|place| (done, place));
                };
                match part {
                    Component::RootDir => done.clear(),
                    Component::CurDir | Component::Prefix(_) => {}
                    Component::ParentDir => {
                        done.pop();
                    }
                    Component::Normal(name) => {
                        done.push(name);
                        if let Place::Own(Node::Link { target }) | Place::Below(Kind::Link(target)) = &look(&done)? {
                            done.pop();
                            break done.join(target);
                        }
                    }
                }
            };
            left = Path::new("/").join(target).join(parts.as_path());
        }
        None
    }

    /// The names of all programs that could be meant, for a hint.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.all.iter().filter(|(_, node)| matches!(node, Node::File { .. })).map(|(path, _)| path.as_path())
    }
}

fn read_entry(spec: &BuildSpec, file: &FileCopy) -> Result<LayerPlan> {
    let metadata = match fs::metadata(&file.from) {
        Ok(metadata) => metadata,
        Err(error) => return Err(unreadable(spec, &file.from, error)),
    };
    let mut layer = LayerPlan { title: format!("copy to {}", file.to), ..LayerPlan::default() };
    let mut place: PathBuf = image_path(&file.to).map_err(|error| error.at_field(FILES))?.iter().collect();
    let into_folder = file.to.ends_with('/');
    if metadata.is_dir() {
        if !into_folder {
            let shown = spec.shown(&file.from);
            return Err(invalid(FILES, format!("`{shown}` is a folder"))
                .hint(format!("write `to = \"{}/\"` to copy what it holds", file.to)));
        }
        if !place.as_os_str().is_empty() {
            layer.nodes.insert(place.clone(), Node::Directory(Folder::default()));
        }
        read_folder(spec, &file.from, &place, &mut layer.nodes)?;
    } else {
        if into_folder && let Some(name) = file.from.file_name() {
            place.push(name);
        }
        let node = read_file(spec, &file.from, &metadata)?;
        layer.nodes.insert(place.clone(), node);
    }
    add_parents(&mut layer.nodes, &place);
    Ok(layer)
}

fn read_folder(spec: &BuildSpec, from: &Path, place: &Path, nodes: &mut BTreeMap<PathBuf, Node>) -> Result<()> {
    // `min_depth`: the folder itself may be a link, which is followed; links inside stay links.
    for entry in WalkDir::new(from).min_depth(1).follow_root_links(true) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(from).to_owned();
            unreadable(spec, &path, error.into())
        })?;
        let path = entry.path();
        let name = path.strip_prefix(from).unwrap_or(path);
        check_name(&entry.file_name().to_string_lossy(), &spec.shown(path)).map_err(|error| error.at_field(FILES))?;
        let node = if entry.file_type().is_dir() {
            Node::Directory(Folder::default())
        } else if entry.file_type().is_symlink() {
            Node::Link { target: fs::read_link(path).map_err(|error| unreadable(spec, path, error))? }
        } else {
            let metadata = entry.metadata().map_err(|error| unreadable(spec, path, error.into()))?;
            read_file(spec, path, &metadata)?
        };
        nodes.insert(place.join(name), node);
    }
    Ok(())
}

fn read_file(spec: &BuildSpec, path: &Path, metadata: &Metadata) -> Result<Node> {
    if !metadata.is_file() {
        let shown = spec.shown(path);
        return Err(invalid(FILES, format!("`{shown}` is neither a file, a folder nor a link"))
            .hint("remove it from what is copied"));
    }
    Ok(Node::File {
        source: path.to_owned(),
        size: metadata.len(),
        executable: metadata.permissions().mode() & 0o111 != 0,
    })
}

/// Without an entry of its own, whoever unpacks the layer chooses a folder's mode.
pub(crate) fn add_parents(nodes: &mut BTreeMap<PathBuf, Node>, path: &Path) {
    for parent in path.ancestors().skip(1) {
        if !parent.as_os_str().is_empty() {
            nodes.entry(parent.to_owned()).or_insert(Node::Directory(Folder::default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use carrack_core::ErrorKind;

    use super::*;
    use crate::image::spec::tests::spec;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::write(root.join("hello"), "program").expect("write");
        fs::create_dir_all(root.join("site/css")).expect("folders");
        fs::write(root.join("site/index.html"), "<p>").expect("write");
        fs::write(root.join("site/css/a.css"), "a{}").expect("write");
        symlink("index.html", root.join("site/home")).expect("link");
        folder
    }

    fn names(layer: &LayerPlan) -> Vec<String> {
        layer.nodes.keys().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn each_entry_is_a_layer_with_its_parent_folders() {
        let folder = folder();
        let spec = spec(folder.path(), &[("site", "/srv/www/"), ("hello", "/app"), ("hello", "/bin/")]);
        let tree = Tree::read(&spec).expect("tree");
        assert_eq!(
            tree.layers.iter().map(names).collect::<Vec<_>>(),
            [
                vec!["srv", "srv/www", "srv/www/css", "srv/www/css/a.css", "srv/www/home", "srv/www/index.html"],
                vec!["app"],
                vec!["bin", "bin/hello"],
            ]
        );
        let (path, _) = tree.resolve_above(Path::new("/srv/www/home"), None).expect("a link");
        assert_eq!(path, Path::new("srv/www/index.html"));
    }

    #[test]
    fn the_program_becomes_executable_and_nothing_else() {
        let folder = folder();
        let spec = spec(folder.path(), &[("hello", "/app"), ("site", "/")]);
        let tree = Tree::read(&spec).expect("tree");
        let executable = |layer: usize, path: &str| match &tree.layers[layer].nodes[Path::new(path)] {
            Node::File { executable, .. } => *executable,
            other => panic!("{other:?}"),
        };
        assert!(executable(0, "app"));
        assert!(!executable(1, "index.html"));
    }

    #[test]
    fn a_working_folder_that_nothing_makes_is_made() {
        let folder = folder();
        let mut spec = spec(folder.path(), &[("hello", "/app"), ("site", "/srv/")]);
        spec.working_dir = Some("/srv/css".into());
        assert_eq!(Tree::read(&spec).expect("tree").layers.len(), 2);
        spec.working_dir = Some("/data/in".into());
        let tree = Tree::read(&spec).expect("tree");
        assert_eq!(names(&tree.layers[2]), ["data", "data/in"]);
    }

    #[test]
    fn what_cannot_be_copied_is_refused_with_the_field() {
        let folder = folder();
        let refused = |files: &[(&str, &str)]| {
            let error = Tree::read(&spec(folder.path(), files)).expect_err("refused");
            assert_eq!((error.kind(), error.field()), (ErrorKind::ConfigInvalid, Some(FILES)));
            (error.message().to_owned(), error.hints().join("; "))
        };
        assert_eq!(refused(&[("helo", "/app")]), ("`helo` does not exist".into(), "did you mean `hello`?".into()));
        assert_eq!(
            refused(&[("site", "/srv")]),
            ("`site` is a folder".into(), "write `to = \"/srv/\"` to copy what it holds".into())
        );
        assert_eq!(refused(&[("site", "/"), ("hello", "/home")]).0, "two entries make `/home`");
        assert_eq!(refused(&[("hello", "/a"), ("site", "/a/")]).0, "two entries make `/a`");
        let socket = folder.path().join("site/socket");
        let _listener = std::os::unix::net::UnixListener::bind(socket).expect("socket");
        assert_eq!(refused(&[("site", "/")]).0, "`site/socket` is neither a file, a folder nor a link");
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        symlink("b", folder.path().join("a")).expect("link");
        symlink("/x/../a", folder.path().join("b")).expect("link");
        fs::create_dir(folder.path().join("x")).expect("folder");
        symlink("../../x", folder.path().join("x/up")).expect("link");
        let tree = Tree::read(&spec(folder.path(), &[(".", "/")])).expect("tree");
        assert_eq!(tree.resolve_above(Path::new("/a"), None), None);
        assert_eq!(tree.resolve_above(Path::new("/x/up/up/nothing"), None), None);
        let (path, _) = tree.resolve_above(Path::new("/x/up/up"), None).expect("stays in the root");
        assert_eq!(path, Path::new("x"));
    }
}

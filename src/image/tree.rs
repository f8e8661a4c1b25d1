//! The files to copy, as the entries of each layer.
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::{self, Metadata},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use carrack_core::Result;
use walkdir::WalkDir;

use super::{
    listing::{Kind, Listing},
    missing::unreadable,
    spec::{Base, BuildSpec, FILES, FileCopy, check_name, image_path, invalid, twice},
};

/// Links followed before they are taken for a circle; Linux's own limit: <https://man7.org/linux/man-pages/man7/path_resolution.7.html>.
const MAX_LINKS: usize = 40;

/// Folders that stand in every base worth the name, some with a mode of their own.
/// <https://refspecs.linuxfoundation.org/FHS_3.0/fhs/index.html>
const EVERY_BASE_HAS: [&str; 18] = [
    "bin",
    "dev",
    "etc",
    "home",
    "home/nonroot",
    "lib",
    "lib64",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
];

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
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
    /// Looks at every file that is to be copied.
    pub(crate) fn read(spec: &BuildSpec) -> Result<Self> {
        let mut tree = Self::default();
        for file in &spec.files {
            let layer = read_entry(spec, file)?;
            tree.add(layer)?;
        }
        if let Some(directory) = &spec.working_dir {
            tree.add_directory(spec, directory)?;
        }
        if let Some(program) = spec.program() {
            tree.make_executable(program);
        }
        if spec.base != Base::Scratch {
            tree.layers.iter_mut().for_each(leave_folders);
        }
        Ok(tree)
    }

    fn add(&mut self, layer: LayerPlan) -> Result<()> {
        for (path, node) in &layer.nodes {
            match self.all.entry(path.clone()) {
                Entry::Vacant(place) => {
                    place.insert(node.clone());
                }
                Entry::Occupied(there) => {
                    if (there.get(), node) != (&Node::Directory, &Node::Directory) {
                        return Err(twice(&format!("/{}", path.display())));
                    }
                }
            }
        }
        self.layers.push(layer);
        Ok(())
    }

    fn add_directory(&mut self, spec: &BuildSpec, directory: &str) -> Result<()> {
        let parts = image_path(directory)?;
        let path: PathBuf = parts.iter().collect();
        if spec.base != Base::Scratch && EVERY_BASE_HAS.iter().any(|known| path == Path::new(known)) {
            return Ok(());
        }
        if parts.is_empty() || self.resolve(Path::new(directory)).is_some() {
            return Ok(());
        }
        let mut layer = LayerPlan { title: format!("folder /{}", path.display()), ..LayerPlan::default() };
        layer.nodes.insert(path.clone(), Node::Directory);
        add_parents(&mut layer.nodes, &path);
        self.add(layer)
    }

    /// The program is made executable, whatever its mode was here.
    fn make_executable(&mut self, program: &str) {
        let Some((path, Node::File { .. })) = self.resolve(Path::new(program)) else {
            return;
        };
        let maps = self.layers.iter_mut().map(|layer| &mut layer.nodes).chain([&mut self.all]);
        for nodes in maps {
            if let Some(Node::File { executable, .. }) = nodes.get_mut(&path) {
                *executable = true;
            }
        }
    }

    /// What an absolute path leads to, through links; `None` when it leads nowhere.
    pub(crate) fn resolve(&self, path: &Path) -> Option<(PathBuf, &Node)> {
        match self.resolve_above(path, None)? {
            (path, Place::Own(node)) => Some((path, node)),
            (_, Place::Below(_)) => None,
        }
    }

    /// The same in the image as a whole, with what the base has below our files.
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
                        return Some((done, Place::Own(&Node::Directory)));
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
            layer.nodes.insert(place.clone(), Node::Directory);
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
            Node::Directory
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

/// Above a base, a folder that holds something has no entry of its own: the base may have it with another mode or
/// owner, or as a link, and an entry would replace that. Where it has none, whoever unpacks the layer makes it.
fn leave_folders(layer: &mut LayerPlan) {
    let parents: BTreeSet<PathBuf> =
        layer.nodes.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
    layer.nodes.retain(|path, node| *node != Node::Directory || !parents.contains(path));
}

/// Without an entry of its own, whoever unpacks the layer chooses a folder's mode.
fn add_parents(nodes: &mut BTreeMap<PathBuf, Node>, path: &Path) {
    for parent in path.ancestors().skip(1) {
        if !parent.as_os_str().is_empty() {
            nodes.entry(parent.to_owned()).or_insert(Node::Directory);
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
        let (path, _) = tree.resolve(Path::new("/srv/www/home")).expect("a link");
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
        assert_eq!(tree.resolve(Path::new("/a")), None);
        assert_eq!(tree.resolve(Path::new("/x/up/up/nothing")), None);
        let (path, _) = tree.resolve(Path::new("/x/up/up")).expect("stays in the root");
        assert_eq!(path, Path::new("x"));
    }
}

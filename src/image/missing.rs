//! Files that are not there, and which ones may have been meant.
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use carrack_core::Error;

use super::spec::{BuildSpec, FILES, invalid};

/// Why a file to copy cannot be read, and which one may have been meant.
pub(crate) fn unreadable(spec: &BuildSpec, path: &Path, error: io::Error) -> Error {
    let shown = spec.shown(path);
    if error.kind() != io::ErrorKind::NotFound {
        return invalid(FILES, format!("`{shown}` cannot be read: {error}")).with_source(error);
    }
    let mut result = invalid(FILES, format!("`{shown}` does not exist"));
    if let Some(near) = near_on_disk(path) {
        result = result.hint(format!("did you mean `{}`?", spec.shown(&near)));
    }
    if let Some(run) = &spec.run {
        result = result
            .hint(format!("`{run}` ended well and did not make it; look at where it writes"))
            .hint("with Cargo, an explicit `--target` and the variable CARGO_TARGET_DIR both move the program");
    }
    result
}

/// The most similar name in the deepest folder of `path` that exists.
pub(crate) fn near_on_disk(path: &Path) -> Option<PathBuf> {
    let missing = path.ancestors().find(|path| path.parent().is_some_and(Path::is_dir))?;
    let wanted = missing.file_name()?.to_string_lossy();
    let parent = missing.parent()?;
    let names =
        fs::read_dir(parent).ok()?.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    nearest(&wanted, names).map(|name| parent.join(name))
}

/// The candidate that `wanted` is most likely a slip for.
pub(crate) fn nearest(wanted: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|name| (strsim::normalized_damerau_levenshtein(wanted, &name), name))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, first), (b, second)| a.total_cmp(b).then_with(|| second.cmp(first)))
        .map(|(_, name)| name)
}

/// The last part of a path in the image, as text.
pub(crate) fn last_part(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

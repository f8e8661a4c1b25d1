//! Loading: all that can be wrong in a file is found here, except what only one target's deploy needs.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use carrack_core::{Error, spec::ServiceName};

use super::{
    diagnostics::{Diagnostics, Problem},
    document::{self, Node},
    locate,
    read::{Context, Read},
    resolve::{self, Resolved},
    schema::{self, File},
    suggest::{nearest, quoted},
};

/// One file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is; files of the build are relative to its folder.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// A file without errors.
#[derive(Debug)]
pub struct Loaded {
    path: PathBuf,
    text: Arc<str>,
    directory: PathBuf,
    root: Node,
    file: File,
    name: ServiceName,
    unset: BTreeMap<String, Vec<Problem>>,
}

/// Reads a file and reports everything that is wrong in it. A variable that only one target needs may be
/// unset until that target is resolved.
pub fn load(source: Source, environment: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Diagnostics> {
    let Source { path, text } = source;
    let text: Arc<str> = text.into();
    let document = document::parse(&text, environment).map_err(|problem| located(vec![problem], &path, &text))?;
    let mut context = Context::default();
    let file = File::read(&document.root, &mut context);
    let mut problems = document.problems;
    problems.extend(context.problems);
    let name = file.as_ref().and_then(File::name).cloned();
    match file.zip(name) {
        Some((file, name)) if problems.is_empty() => {
            let (directory, unset) = (directory(&path), document.unset);
            Ok(Loaded { directory, path, text, root: document.root, file, name, unset })
        }
        _ => Err(located(problems, &path, &text)),
    }
}

/// The file's folder, absolute; as it was given where the working directory is gone.
fn directory(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn located(mut problems: Vec<Problem>, path: &Path, text: &Arc<str>) -> Diagnostics {
    problems.sort_by_key(|problem| problem.span.start);
    let locate = |problem: Problem| problem.locate(path.to_owned(), text);
    Diagnostics(problems.into_iter().map(locate).collect())
}

impl Loaded {
    /// The service's name, or the job's.
    pub fn service_name(&self) -> &ServiceName {
        &self.name
    }

    /// Whether the file is of a job.
    pub fn is_job(&self) -> bool {
        self.file.job.is_some()
    }

    /// In the file's order.
    pub fn target_names(&self) -> Vec<&str> {
        let targets = self.root.get("targets");
        let entries = targets.iter().flat_map(|entry| entry.node.entries());
        entries.map(|entry| entry.key.as_str()).collect()
    }

    /// What the file says for a target; `None` = the neutral part alone.
    pub fn resolve(&self, target: Option<&str>) -> Result<Resolved, Diagnostics> {
        let target = match target {
            Some(name) => Some((name, self.target(name)?)),
            None => None,
        };
        Ok(resolve::resolve(&self.file, &self.name, target, &self.directory))
    }

    fn target(&self, name: &str) -> Result<&schema::Target, Diagnostics> {
        if let Some(problems) = self.unset.get(name) {
            return Err(located(problems.clone(), &self.path, &self.text));
        }
        let targets = self.file.targets.as_ref();
        if let Some(target) = targets.and_then(|targets| targets.value.map.get(name)) {
            return Ok(&target.value);
        }
        let names = self.target_names();
        let span = locate::place(&self.root, None, Some("targets"));
        let problem = Problem::new(&span, format!("there is no target `{name}`"));
        Err(located(
            vec![match nearest(name, names.iter().copied()) {
                _ if names.is_empty() => {
                    problem.hint(format!("add [targets.{name}], or use `--local` without a target"))
                }
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint(format!("the targets are {}", quoted(&names))),
            }],
            &self.path,
            &self.text,
        ))
    }

    /// An error about a field, at the place in the file that set it: the target's override where there is one.
    pub fn locate(&self, target: Option<&str>, error: &Error) -> Diagnostics {
        let span = locate::place(&self.root, target, error.field());
        let problem = Problem::new(&span, error.to_string())
            .kind(error.kind())
            .hints(error.hints().iter().cloned())
            .cause(error.why().map(|cause| cause.code));
        located(vec![problem], &self.path, &self.text)
    }
}

//! Looks at processes and files again and again, for what is there only for a moment.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::needles::Needles;

/// What was seen, and where a marked value was.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) looks: usize,
    /// By process: the command line and the environment, each with what was found.
    pub(super) processes: BTreeMap<(u32, String), String>,
    /// Files that were there at some time.
    pub(super) files: BTreeSet<PathBuf>,
    pub(super) leaks: BTreeSet<String>,
}

pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    /// Every process that has `folder` in its environment, and small files below `folders`.
    pub(super) fn begin(needles: Arc<Needles>, folder: PathBuf, folders: Vec<PathBuf>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            while !until.load(Ordering::Relaxed) {
                seen.looks += 1;
                processes(&needles, &folder, &mut seen);
                for folder in &folders {
                    files(&needles, folder, &mut seen);
                }
                thread::sleep(Duration::from_millis(3));
            }
            seen
        });
        Self { stop, thread }
    }

    pub(super) fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Ours and their children are those with our folder in the environment; what runs in a container has its own.
fn processes(needles: &Needles, folder: &Path, seen: &mut Seen) {
    let mark = folder.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let environment = read("environ");
        if !environment.windows(mark.len()).any(|window| window == mark) {
            continue;
        }
        let line = read("cmdline");
        let shown = String::from_utf8_lossy(&line).replace('\0', " ");
        for (what, text) in [("command line", &line), ("environment", &environment)] {
            for needle in needles.found_in(text) {
                seen.leaks.insert(format!("{what} of `{shown}`: {needle}"));
            }
        }
        seen.processes.insert((pid, started(&entry.path())), shown);
    }
}

/// Numbers of processes are given again.
fn started(process: &Path) -> String {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or_default().to_owned()
}

fn files(needles: &Needles, folder: &Path, seen: &mut Seen) {
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
        if !entry.metadata().is_ok_and(|data| data.len() < 1 << 20) {
            continue;
        }
        let Ok(text) = fs::read(entry.path()) else { continue };
        for needle in needles.found_in(&text) {
            seen.leaks.insert(format!("file `{}`: {needle}", entry.path().display()));
        }
        seen.files.insert(entry.into_path());
    }
}

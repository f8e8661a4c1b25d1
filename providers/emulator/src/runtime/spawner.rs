//! The one thread that starts launchers. A launcher asks the kernel to be killed when its parent ends, and for the
//! kernel the parent is the thread that started it: a thread of a pool would end too early.
//! <https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html>
use std::{
    io,
    sync::mpsc::{Sender, channel},
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

struct Job {
    command: Command,
    handle: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Lives as long as the runtime that owns it.
#[derive(Debug)]
pub(super) struct Spawner {
    jobs: Sender<Job>,
}

impl Spawner {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for Job { mut command, handle, answer } in queue {
                let _inside = handle.enter();
                // Whoever asked may have given up: then the child's socket closes and it ends.
                let _ = answer.send(command.spawn());
            }
        })?;
        Ok(Self { jobs })
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, child) = oneshot::channel();
        let job = Job { command, handle: Handle::current(), answer };
        self.jobs.send(job).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts containers has ended")
}

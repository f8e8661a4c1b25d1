//! An instance that runs, to its end.
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    health::Check,
    plan::{Ends, Wanted},
};
use crate::{
    gcp::{
        logging::{Logs, Source},
        run::system_log::SystemLog,
    },
    router::backend::GRACE,
    runtime::{Exit, Instance},
};

/// For what a container wrote before its end.
const LAST_LINES: Duration = Duration::from_secs(1);
/// For the others when one has ended by itself: requests wait for another instance meanwhile.
const HURRY: Duration = Duration::from_secs(1);

/// One container of an instance.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) index: usize,
    pub(super) instance: Arc<dyn Instance>,
    /// Ends with its last line.
    pub(super) lines: JoinHandle<()>,
    /// In bytes.
    pub(super) memory: Option<u64>,
    pub(super) source: Source,
}

/// All containers of one instance. To the router it is one: connections are to the main container, it has ended when
/// nothing of it runs any more, and it is stopped as a whole.
#[derive(Debug)]
pub(crate) struct Group {
    main: Arc<dyn Instance>,
    all: Vec<Arc<dyn Instance>>,
    signs: Signs,
    exit: watch::Receiver<Option<Exit>>,
    unready: watch::Receiver<usize>,
    /// One that nobody knows any more must not run on.
    _abandoned: DropGuard,
}

/// What the group and its attendant tell each other.
#[derive(Clone, Debug, Default)]
struct Signs {
    /// Somebody wants its end.
    stopping: Arc<AtomicBool>,
    /// It ends by itself.
    ending: Arc<AtomicBool>,
}

impl Group {
    pub(super) fn start(members: Vec<Member>, wanted: &Wanted, logs: Arc<Logs>, checks: Vec<Check>) -> Arc<Self> {
        let all: Vec<_> = members.iter().map(|member| member.instance.clone()).collect();
        let main = members.iter().find(|member| member.index == wanted.main).or(members.first());
        let main = main.map_or_else(|| all[0].clone(), |member| member.instance.clone());
        let (sender, exit) = watch::channel(None);
        let abandoned = CancellationToken::new();
        let signs = Signs::default();
        let attended =
            Attended { members, main: wanted.main, ends: wanted.ends, logs, signs: signs.clone(), exit: sender };
        let gone = abandoned.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = gone.cancelled() => {}
                () = attended.attend() => {}
            }
        });
        let (ready, unready) = watch::channel(checks.iter().filter(|check| check.holds_back()).count());
        let group = Arc::new(Self { main, all, signs, exit, unready, _abandoned: abandoned.drop_guard() });
        checks.into_iter().for_each(|check| check.watch(&group, &ready));
        group
    }

    /// How many of its containers want no requests now.
    pub(crate) fn unready(&self) -> watch::Receiver<usize> {
        self.unready.clone()
    }
}

struct Attended {
    members: Vec<Member>,
    main: usize,
    ends: Ends,
    logs: Arc<Logs>,
    signs: Signs,
    exit: watch::Sender<Option<Exit>>,
}

impl Attended {
    /// Stays with an instance to its end, tells the log of each container that ends by itself, and takes the others
    /// along when the instance ends with it.
    async fn attend(mut self) {
        let end = |member: &Member| {
            let (index, instance) = (member.index, member.instance.clone());
            async move { (index, instance.exited().await) }
        };
        let mut ends: FuturesUnordered<_> = self.members.iter().map(end).collect();
        let mut told: Option<Exit> = None;
        while let Some((index, exit)) = ends.next().await {
            let is_main = index == self.main;
            let by_itself = !self.signs.stopping.load(Ordering::Acquire) && !self.signs.ending.load(Ordering::Acquire);
            if by_itself {
                if is_main || self.ends == Ends::WithAny {
                    self.signs.ending.store(true, Ordering::Release);
                }
                self.tell(index, exit).await;
            }
            if is_main || told.is_none() && self.ends == Ends::WithAny {
                told = Some(exit);
            }
            if by_itself && self.signs.ending.load(Ordering::Acquire) {
                // It is its end that counts.
                told = Some(exit);
                let grace = if self.ends == Ends::WithAny { HURRY } else { GRACE };
                let others = self.members.iter().filter(|member| member.index != index);
                join_all(others.map(|member| member.instance.stop(grace))).await;
                break;
            }
        }
        // Nobody may be left to hear it.
        let _ = self.exit.send(Some(told.unwrap_or(Exit::KILLED)));
    }

    async fn tell(&mut self, index: usize, exit: Exit) {
        if let Some(member) = self.members.iter_mut().find(|member| member.index == index) {
            // What it wrote comes before what is said of its end.
            wait_for_lines(&mut member.lines).await;
            SystemLog { logs: &self.logs, source: &member.source }.ended(exit, member.memory);
        }
    }
}

pub(super) async fn wait_for_lines(lines: &mut JoinHandle<()>) {
    if !lines.is_finished() {
        let _ = timeout(LAST_LINES, lines).await;
    }
}

#[async_trait]
impl Instance for Group {
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        if self.signs.ending.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the instance ends"));
        }
        self.main.connect(port).await
    }

    async fn exited(&self) -> Exit {
        Exit::told(&self.exit).await
    }

    async fn stop(&self, grace: Duration) -> Exit {
        self.signs.stopping.store(true, Ordering::Release);
        join_all(self.all.iter().map(|instance| instance.stop(grace))).await;
        self.exited().await
    }
}

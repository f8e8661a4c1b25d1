//! What happens, as it happens: one stream for people, machines and CI.
use std::{sync::Arc, time::Duration};

use serde::{Serialize, Serializer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    pace::Pace,
    plan::{Outcome, Plan, ResourceRef, StepId, Verb},
    receipt::Stamp,
    rollout::Watched,
    spec::RevisionId,
};

/// What every operation is handed: where to report, when to stop, what to stamp.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Where events go.
    pub events: EventSink,
    /// Set when the user interrupts.
    pub cancel: CancellationToken,
    /// When to give up.
    pub deadline: Option<tokio::time::Instant>,
    /// What receipts are stamped with.
    pub stamp: Stamp,
    /// How much may be sent at once, and to whom nothing for a while.
    pub pace: Pace,
}

impl Ctx {
    /// A context whose events go nowhere, for tests.
    pub fn silent() -> Self {
        Self {
            events: EventSink { sender: None, about: None },
            cancel: CancellationToken::new(),
            deadline: None,
            stamp: Stamp::default(),
            pace: Pace::default(),
        }
    }
}

/// The sending end of the event stream.
#[derive(Clone, Debug)]
pub struct EventSink {
    sender: Option<mpsc::UnboundedSender<Message>>,
    about: Option<Arc<str>>,
}

impl EventSink {
    /// A sink and the stream behind it.
    pub fn channel() -> (Self, Events) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender: Some(sender), about: None }, Events(receiver))
    }

    /// The same stream, whose events from here are about one service of several.
    pub fn about(&self, service: &str) -> Self {
        Self { sender: self.sender.clone(), about: Some(service.into()) }
    }

    /// Reports; a consumer that is gone is no error.
    pub fn emit(&self, event: Event) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(Message::Event(self.about.clone(), Box::new(event)));
        }
    }

    /// Waits until the consumer has seen every event so far: before a question is asked.
    pub async fn flushed(&self) {
        let (done, seen) = oneshot::channel();
        if let Some(sender) = &self.sender
            && sender.send(Message::Flush(done)).is_ok()
        {
            let _ = seen.await;
        }
    }
}

#[derive(Debug)]
enum Message {
    /// What happened, and about which service of several.
    Event(Option<Arc<str>>, Box<Event>),
    /// Somebody waits until all before this is seen.
    Flush(oneshot::Sender<()>),
}

/// The receiving end of the event stream.
#[derive(Debug)]
pub struct Events(mpsc::UnboundedReceiver<Message>);

impl Events {
    /// The next event; `None` when every sink is gone.
    pub async fn recv(&mut self) -> Option<Event> {
        Some(self.next().await?.1)
    }

    /// The next event, with the service of several that it is about; `None` when every sink is gone.
    pub async fn next(&mut self) -> Option<(Option<Arc<str>>, Event)> {
        loop {
            match self.0.recv().await? {
                Message::Event(about, event) => return Some((about, *event)),
                Message::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<Event> {
        match self.0.try_recv().ok()? {
            Message::Event(_, event) => Some(*event),
            Message::Flush(_) => None,
        }
    }
}

/// The part of a command that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Making the image.
    Build,
    /// Sending it to the registry.
    Push,
    /// Applying the plan.
    Apply,
    /// Asking the service itself.
    Verify,
    /// Running a job.
    Run,
}

/// One thing that happened. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A phase begins.
    PhaseStarted {
        /// Which.
        phase: Phase,
        /// On what.
        message: String,
    },
    /// A phase goes on.
    PhaseProgress {
        /// Which.
        phase: Phase,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A phase ended well.
    PhaseFinished {
        /// Which.
        phase: Phase,
        /// What came of it.
        message: String,
        /// How long it took.
        #[serde(rename = "elapsed_ms", serialize_with = "millis")]
        elapsed: Duration,
    },
    /// A line of a build's output.
    Output {
        /// Whose.
        phase: Phase,
        /// The line.
        line: String,
    },
    /// What will be done.
    Planned {
        /// The whole plan.
        plan: Box<Plan>,
    },
    /// A step begins.
    StepStarted {
        /// Which.
        step: StepId,
        /// What is done.
        verb: Verb,
        /// To what.
        resource: ResourceRef,
    },
    /// A step goes on.
    StepProgress {
        /// Which.
        step: StepId,
        /// The cloud's words.
        message: String,
    },
    /// A step ended well.
    StepFinished {
        /// Which.
        step: StepId,
        /// What came of it.
        outcome: Outcome,
        /// How long it took.
        #[serde(rename = "elapsed_ms", serialize_with = "millis")]
        elapsed: Duration,
    },
    /// A step failed; the report says why.
    StepFailed {
        /// Which.
        step: StepId,
        /// In a sentence.
        message: String,
    },
    /// A new revision has this share of the traffic from now on.
    RolloutStep {
        /// Which revision.
        revision: RevisionId,
        /// Its share.
        percent: u8,
        /// How long it is watched.
        #[serde(rename = "wait_ms", serialize_with = "millis")]
        wait: Duration,
    },
    /// It was watched to the end, and is well.
    RolloutWatched {
        /// Which revision.
        revision: RevisionId,
        /// What came of it.
        watched: Watched,
    },
    /// It failed, and its traffic is back with those that had it.
    RolloutReturned {
        /// Which revision.
        revision: RevisionId,
        /// The share that it had.
        percent: u8,
        /// Why.
        message: String,
    },
    /// A request is sent again.
    Retrying {
        /// Which request.
        request: String,
        /// The attempt to come.
        attempt: u32,
        /// After this wait.
        #[serde(rename = "after_ms", serialize_with = "millis")]
        after: Duration,
        /// Why the last one failed.
        reason: String,
    },
    /// Something that a user should know, and that stops nothing.
    Warning {
        /// In a sentence.
        message: String,
    },
    /// Something that a user may want to know.
    Note {
        /// In a sentence.
        message: String,
    },
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

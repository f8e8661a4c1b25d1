//! Whether a new revision is well: it is asked, and what it answered to others is counted.
use std::{collections::BTreeMap, time::Duration};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    plan::ResourceRef,
    poll::{bounded, pause_between},
    provider::Provider,
    rollout::{Answers, FEWEST, MOST_FAILURES, Rollout, Watched, share_of},
    spec::{RevisionId, ServiceName},
};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::ops::verify::{Probe, Question, ask};

/// A URL that is new may take a while to be known, and so may the first instance.
const AT_FIRST: Duration = Duration::from_secs(20);
/// One that answered is given this long to answer rightly again.
const LATER: Duration = Duration::from_secs(5);
/// Between two looks.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15);

/// One revision under watch.
pub(super) struct Watch<'a> {
    pub(super) cx: &'a Ctx,
    pub(super) provider: &'a dyn Provider,
    pub(super) name: &'a ServiceName,
    pub(super) new: &'a RevisionId,
    pub(super) rollout: &'a Rollout,
    pub(super) public: bool,
    pub(super) opened: bool,
    /// Where it alone answers, and where the service does.
    pub(super) tag: Option<String>,
    pub(super) service: Option<String>,
    /// Requests are counted from here on.
    pub(super) since: Timestamp,
    /// What all revisions answered; `None` where that cannot be read.
    pub(super) counted: Option<BTreeMap<RevisionId, Answers>>,
    /// Why it cannot be read was said.
    pub(super) told: bool,
    /// It cannot be asked, which was said.
    pub(super) silent: bool,
}

impl Watch<'_> {
    /// Before it has any traffic.
    pub(super) async fn first(&mut self) -> Result<()> {
        self.silent = self.ask(self.tag.as_deref(), AT_FIRST, false).await?.is_none();
        Ok(())
    }

    /// Once all traffic is its own: as everybody asks it.
    pub(super) async fn last(&self) -> Result<Option<Probe>> {
        self.ask(self.service.as_deref(), AT_FIRST, false).await
    }

    /// For as long as a step is watched, and once at least.
    pub(super) async fn through(&mut self, percent: u8) -> Result<Watched> {
        let end = Instant::now() + self.rollout.wait;
        let between = (self.rollout.wait / 6).clamp(SHORTEST, LONGEST);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            bounded(self.cx, "the rollout", pause_between(self.cx, between.min(left))).await??;
            self.look().await?;
            if Instant::now() >= end {
                break;
            }
        }
        let answers = self.counted.as_ref().map(|counted| counted.get(self.new).copied().unwrap_or_default());
        let requests = self.counted.as_ref().map(|counted| counted.values().map(|one| one.requests).sum());
        Ok(Watched { percent, answers, requests })
    }

    async fn look(&mut self) -> Result<()> {
        if !self.silent {
            self.ask(self.tag.as_deref(), LATER, true).await?;
        }
        self.count().await?;
        let own = self.counted.as_ref().and_then(|counted| counted.get(self.new)).copied().unwrap_or_default();
        if own.are_bad() {
            let text = format!(
                "{} of {} requests that it got failed with a status of 500 or more, and {MOST_FAILURES} % of {FEWEST} or more are too many",
                own.failed, own.requests
            );
            return Err(Error::new(ErrorKind::Unhealthy, text).on(ResourceRef::new("revision", self.new.0.clone())));
        }
        Ok(())
    }

    /// Who may not read the log, or cannot at the moment, is told so once: the revision is asked all the same.
    pub(super) async fn count(&mut self) -> Result<()> {
        match self.provider.answers(self.cx, self.name, self.since).await {
            Ok(counted) => self.counted = Some(counted),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(_) if self.told => {}
            Err(error) => {
                self.told = true;
                let message = format!("requests that fail are not counted, the log cannot be read: {error}");
                self.cx.events.emit(Event::Note { message });
            }
        }
        Ok(())
    }

    /// For people: the part of all requests that it got.
    pub(super) fn got(&self) -> Option<String> {
        let counted = self.counted.as_ref()?;
        let share = share_of(counted, self.new)?;
        let own = counted.get(self.new).map_or(0, |own| own.requests);
        let all: u64 = counted.values().map(|one| one.requests).sum();
        Some(format!("it got {own} of {all} requests ({share:.1} %)"))
    }

    async fn ask(&self, url: Option<&str>, patience: Duration, quiet: bool) -> Result<Option<Probe>> {
        let Some(url) = url else { return Ok(None) };
        let audience = self.service.as_deref().unwrap_or(url);
        let right = self.rollout.verify.as_ref();
        let (public, opened) = (self.public, self.opened);
        ask(self.cx, self.provider, &Question { url, audience, public, opened, right, patience, quiet }).await
    }
}

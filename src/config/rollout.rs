//! `[rollout]`: how the traffic goes over to a new revision.
use std::time::Duration;

use carrack_core::rollout::{Rollout as Resolved, Verify as ResolvedVerify};

use super::{
    diagnostics::Problem,
    numbers::{Percent, Status},
    read::{At, Context, Table, section},
    schema::{File, Target},
    units::show_duration,
    values::HttpPath,
};

const DEFAULT_STEPS: [u8; 2] = [10, 50];
const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// A rollout is one run of a command.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

section! {
    /// `[rollout]`
    Rollout checked_by rules {
        /// Percent of the traffic, rising; 100 comes by itself after the last one. Default: `[10, 50]`.
        steps: optional Vec<At<Percent>>,
        /// How long each step is watched. Default: 1m.
        wait: optional Duration,
        /// What the new revision is asked before each step. Default: `/`, which has to answer below 500.
        verify: optional Verify,
    }
}

section! {
    /// `verify`
    Verify {
        /// The path that is asked.
        http: required HttpPath,
        /// The HTTP status that is right. Default: any from 200 to 399.
        status: optional Status,
    }
}

/// Steps rise, and no wait is longer than a day.
fn rules(rollout: &Rollout, _: &Table<'_>, context: &mut Context) {
    let mut last = 0;
    for step in rollout.steps.iter().flat_map(|steps| &steps.value) {
        let percent = step.value.0;
        if percent <= last {
            let problem = Problem::new(&step.span, format!("step {percent} does not come after step {last}"));
            context.report(problem.label("each step is more than the one before"));
        }
        last = last.max(percent);
    }
    if let Some(wait) = rollout.wait.as_ref().filter(|wait| wait.value > LONGEST_WAIT) {
        let message = format!("`wait` cannot be {}", show_duration(wait.value));
        context.report(Problem::new(&wait.span, message).label("use 24h or less"));
    }
}

/// The target's keys over those of the file; `None` when neither has the section.
pub(super) fn resolve(file: &File, over: Option<&Target>) -> Option<Resolved> {
    let sections = [over.and_then(|over| over.rollout.as_ref()), file.rollout.as_ref()];
    let sections: Vec<&Rollout> = sections.into_iter().flatten().map(|at| &at.value).collect();
    if sections.is_empty() {
        return None;
    }
    let steps = sections.iter().find_map(|section| section.steps.as_ref());
    let wait = sections.iter().find_map(|section| section.wait.as_ref());
    let verify = sections.iter().find_map(|section| section.verify.as_ref());
    Some(Resolved {
        steps: steps
            .map_or_else(|| DEFAULT_STEPS.to_vec(), |steps| steps.value.iter().map(|step| step.value.0).collect()),
        wait: wait.map_or(DEFAULT_WAIT, |wait| wait.value),
        verify: verify.map(|verify| ResolvedVerify {
            path: verify.value.http.value.0.clone(),
            status: verify.value.status.as_ref().map(|status| status.value.0),
        }),
    })
}

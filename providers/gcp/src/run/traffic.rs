//! Traffic of a service, read and written target by target: what a change does not name stays as it is written.
//! <https://cloud.google.com/run/docs/reference/rest/v2/TrafficTarget>
use carrack_core::{
    Error, ErrorKind, Result,
    observed::{ObservedService, TrafficTarget},
    plan::{ResourceRef, Step, TrafficChange, Verb},
    spec::{RevisionId, ServiceName, ServiceRef},
    traffic::{changed, diff, tag_for_new},
};
use serde_json::{Value, json};

use super::{plan::Action, wire};

pub(super) const LATEST: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
const REVISION: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";

/// A tag and the service's name are one label of a URL: Google refuses more than so many characters, and says so in
/// <https://github.com/firebase/firebase-tools/issues/6137>.
const TAG_AND_SERVICE: usize = 46;

/// What was asked for, with the URLs that tags have. Without any entry everything goes to the newest revision.
pub(super) fn targets(service: &wire::Service) -> Vec<TrafficTarget> {
    let url = |tag: &str| {
        let status = service.traffic_statuses.iter().find(|status| status.tag == tag)?;
        (!status.uri.is_empty()).then(|| status.uri.clone())
    };
    let target = |traffic: &wire::Traffic| TrafficTarget {
        latest: traffic.r#type != REVISION,
        revision: (traffic.r#type == REVISION).then(|| RevisionId(wire::short_name(&traffic.revision).to_owned())),
        percent: traffic.percent,
        tag: (!traffic.tag.is_empty()).then(|| traffic.tag.clone()),
        url: if traffic.tag.is_empty() { None } else { url(&traffic.tag) },
    };
    match service.traffic.is_empty() {
        true => vec![TrafficTarget::latest(100)],
        false => service.traffic.iter().map(target).collect(),
    }
}

/// `live` as `wanted` has it. An entry that is there already keeps what else it says.
pub(super) fn written(live: &Value, wanted: &[TrafficTarget]) -> Value {
    let entries = live.as_array().map(Vec::as_slice).unwrap_or_default();
    let whom = |entry: &Value, target: &TrafficTarget| match &target.revision {
        Some(revision) => {
            entry["type"] == REVISION && wire::short_name(entry["revision"].as_str().unwrap_or_default()) == revision.0
        }
        None => entry["type"] != REVISION,
    };
    let entry = |target: &TrafficTarget| {
        let same = entries.iter().find(|entry| match &target.tag {
            Some(tag) => entry["tag"] == json!(tag),
            None => entry.get("tag").is_none() && whom(entry, target),
        });
        let mut entry = same.cloned().unwrap_or_else(|| json!({}));
        let Some(fields) = entry.as_object_mut() else { return entry };
        fields.insert("type".into(), json!(if target.revision.is_some() { REVISION } else { LATEST }));
        let optional = [
            ("revision", target.revision.as_ref().map(|revision| json!(revision.0))),
            ("percent", (target.percent > 0).then(|| json!(target.percent))),
            ("tag", target.tag.as_ref().map(|tag| json!(tag))),
        ];
        for (name, value) in optional {
            match value {
                Some(value) => fields.insert(name.into(), value),
                None => fields.remove(name),
            };
        }
        entry
    };
    wanted.iter().map(entry).collect()
}

/// What was asked of a service that is there.
pub(super) fn plan_change(
    target: &ServiceRef,
    change: &TrafficChange,
    live: Option<&ObservedService>,
) -> Result<Vec<Step>> {
    for (tag, _) in change.tags.iter().filter(|(_, who)| who.is_some()) {
        check_tag(tag, &target.name)?;
    }
    let Some(live) = live else {
        let text = format!("service `{}` does not exist in {}/{}", target.name, target.scope, target.region);
        return Err(Error::new(ErrorKind::NotFound, text).hint("run `carrack deploy`"));
    };
    let wanted = changed(&live.targets, change)?;
    Ok(route(1, target, Some(live), &live.targets, wanted, None)?.into_iter().collect())
}

/// One write of the traffic alone: no template, so that no revision is made. `tag` is for the newest revision, whatever
/// that is by then. No step where nothing differs.
pub(super) fn route(
    id: u16,
    target: &ServiceRef,
    live: Option<&ObservedService>,
    before: &[TrafficTarget],
    wanted: Vec<TrafficTarget>,
    tag: Option<&str>,
) -> Result<Option<Step>> {
    let mut changes = diff(before, &wanted);
    changes.extend(tag.map(|tag| tag_for_new(before, tag)));
    if changes.is_empty() {
        return Ok(None);
    }
    let live = live.map_or(&Value::Null, |live| &live.raw["service"]["traffic"]);
    let action = Action::Route { traffic: written(live, &wanted), tag: tag.map(str::to_owned) };
    let mut step = Step::new(id, Verb::Route, ResourceRef::new("traffic", target.name.as_str()), &action)?;
    step.changes = changes;
    Ok(Some(step))
}

/// `traffic` with the tag at a revision.
pub(super) fn with_tag(traffic: Value, tag: &str, revision: &str) -> Value {
    let entries = traffic.as_array().cloned().unwrap_or_default();
    // An entry that has a share as well keeps it.
    let mut kept: Vec<Value> = entries
        .into_iter()
        .filter_map(|mut entry| {
            if entry["tag"] != tag {
                return Some(entry);
            }
            entry.as_object_mut()?.remove("tag");
            (entry["percent"].as_u64().unwrap_or(0) > 0).then_some(entry)
        })
        .collect();
    kept.push(json!({ "type": REVISION, "revision": revision, "tag": tag }));
    kept.into()
}

/// Names of tags are parts of host names: <https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration#tags>
pub(super) fn check_tag(tag: &str, service: &ServiceName) -> Result<()> {
    let valid = tag.starts_with(|first: char| first.is_ascii_lowercase())
        && !tag.ends_with('-')
        && tag.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !valid {
        return Err(Error::new(ErrorKind::Usage, format!("`{tag}` is no name for a tag"))
            .hint("use a-z, 0-9 and `-`, with a letter first and no `-` at the end"));
    }
    let length = tag.len() + service.as_str().len();
    if length > TAG_AND_SERVICE {
        let text = format!("tag `{tag}` and service name `{service}` have {length} characters together");
        let room = TAG_AND_SERVICE.saturating_sub(service.as_str().len());
        return Err(Error::new(ErrorKind::Usage, format!("{text}, {TAG_AND_SERVICE} are the most"))
            .hint(format!("use a tag of {room} characters at the most")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(traffic: Value) -> Vec<TrafficTarget> {
        targets(&wire::read(&json!({ "traffic": traffic })).expect("a service"))
    }

    #[test]
    fn what_a_change_does_not_name_stays_as_it_is_written() {
        let live = json!([
            { "type": REVISION, "revision": "s-1", "percent": 100, "tag": "stable", "ofTomorrow": 1 },
            { "type": REVISION, "revision": "s-1", "tag": "blue", "ofTomorrow": 2 },
            { "type": LATEST, "tag": "next" },
        ]);
        let change = TrafficChange {
            shares: vec![
                carrack_core::plan::Share { who: carrack_core::plan::Who::Latest, percent: 5 },
                carrack_core::plan::Share { who: carrack_core::plan::Who::Tag("blue".into()), percent: 95 },
            ],
            tags: Default::default(),
        };
        let wanted = changed(&read(live.clone()), &change).expect("it is good");
        let after = written(&live, &wanted);
        assert_eq!(
            after,
            json!([
                { "type": LATEST, "percent": 5 },
                { "type": REVISION, "revision": "s-1", "percent": 95 },
                { "type": REVISION, "revision": "s-1", "tag": "stable", "ofTomorrow": 1 },
                { "type": REVISION, "revision": "s-1", "tag": "blue", "ofTomorrow": 2 },
                { "type": LATEST, "tag": "next" },
            ])
        );
        assert_eq!(read(after), wanted);
    }

    #[test]
    fn a_tag_moves_and_leaves_its_share_behind() {
        let live = json!([{ "type": LATEST, "percent": 100, "tag": "new" }]);
        assert_eq!(
            with_tag(live, "new", "s-2"),
            json!([
                { "type": LATEST, "percent": 100 },
                { "type": REVISION, "revision": "s-2", "tag": "new" },
            ])
        );
    }

    #[test]
    fn without_entries_everything_goes_to_the_newest() {
        assert_eq!(read(json!([])), [TrafficTarget::latest(100)]);
    }

    #[test]
    fn names_of_tags() {
        let service = ServiceName::try_from("shop".to_owned()).expect("a name");
        for good in ["a", "pr-12", "carrack-new", &"a".repeat(42)] {
            assert!(check_tag(good, &service).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "a-", "a_b", "a.b", "ä", &"a".repeat(43)] {
            assert_eq!(check_tag(bad, &service).expect_err(bad).kind(), ErrorKind::Usage, "{bad}");
        }
    }
}

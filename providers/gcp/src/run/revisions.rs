//! The revisions of a service: what each runs, who made it and what it serves.
use carrack_core::{
    Result,
    event::Ctx,
    observed::Revision,
    receipt::distrust_copies,
    spec::{ImageRef, RevisionId, ServiceName},
};
use serde_json::{Value, json};

use super::{client, wire};
use crate::CloudRun;

/// Newest first.
pub(crate) async fn revisions(provider: &CloudRun, cx: &Ctx, name: &ServiceName) -> Result<Vec<Revision>> {
    let (service, revisions) =
        tokio::try_join!(client::get_service(provider, cx, name), client::list_revisions(provider, cx, name))?;
    service.map_or_else(|| Ok(Vec::new()), |service| listed(&service, revisions))
}

fn listed(service: &Value, revisions: Vec<Value>) -> Result<Vec<Revision>> {
    let read: wire::Service = wire::read(service)?;
    let mut list = revisions.into_iter().map(|raw| one(service, &read, raw)).collect::<Result<Vec<_>>>()?;
    list.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| b.id.cmp(&a.id)));
    distrust_copies(&mut list);
    Ok(list)
}

fn one(service: &Value, read: &wire::Service, raw: Value) -> Result<Revision> {
    let revision: wire::Revision = wire::read(&raw)?;
    let id = RevisionId(wire::short_name(&revision.name).to_owned());
    // A revision holds its settings as a template does; the rest is the service's.
    let mut with_it = service.clone();
    with_it["template"] = raw.clone();
    let spec = wire::from_wire(&json!({ "service": with_it }))?;
    let image = spec.workload.main.image.clone();
    Ok(Revision {
        percent: read.traffic_split().0.get(&id).copied().unwrap_or(0),
        tags: read.tags_of(&id),
        readiness: revision.readiness(),
        // One that cannot be read is somebody's all the same; a deploy is what refuses to go on without it.
        receipt: wire::receipt_of(&revision.annotations, image.as_ref()).ok().flatten(),
        image: image.unwrap_or(ImageRef(String::new())),
        creator: (!revision.creator.is_empty()).then_some(revision.creator),
        created: revision.create_time,
        id,
        spec,
        raw,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(at: &str, digest: &str) -> String {
        json!({ "format": 1, "config": "c", "digest": digest, "owned": ["env.A"], "at": at, "by": "me" }).to_string()
    }

    fn revision(name: &str, made: &str, digest: &str, receipt: Option<String>) -> Value {
        let annotations = receipt.map_or_else(|| json!({}), |text| json!({ wire::RECEIPT: text }));
        json!({
            "name": format!("projects/p/locations/l/services/s/revisions/{name}"), "createTime": made,
            "creator": "them@example.com", "annotations": annotations,
            "containers": [
                { "image": "proxy@sha256:0" },
                { "image": format!("i@{digest}"), "ports": [{ "containerPort": 3000 }] },
            ],
            "conditions": [{ "type": "Ready", "state": "CONDITION_SUCCEEDED" }],
        })
    }

    #[test]
    fn a_receipt_is_trusted_for_its_own_image_and_only_where_it_was_written() {
        let service = json!({
            "name": "projects/p/locations/l/services/s", "latestReadyRevision": "x/s-4",
            "traffic": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }],
            "trafficStatuses": [
                { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 90 },
                { "revision": "s-1", "percent": 10, "tag": "old", "uri": "https://old---s" },
                { "revision": "s-1", "tag": "new-url" },
            ],
        });
        let list = vec![
            revision("s-1", "2026-01-01T00:00:00Z", "sha256:1", Some(receipt("1", "sha256:1"))),
            // `gcloud run services update --set-env-vars` copies the annotation on, with the same image.
            revision("s-2", "2026-01-02T00:00:00Z", "sha256:1", Some(receipt("1", "sha256:1"))),
            revision("s-3", "2026-01-03T00:00:00Z", "sha256:2", Some(receipt("3", "sha256:1"))),
            revision("s-4", "2026-01-04T00:00:00Z", "sha256:2", Some("{\"format\":99}".to_owned())),
        ];
        let list = listed(&service, list).expect("they are read");
        let told: Vec<_> = list
            .iter()
            .map(|one| (one.id.0.as_str(), one.percent, one.deployed().is_some(), one.receipt.is_some()))
            .collect();
        assert_eq!(
            told,
            [("s-4", 90, false, false), ("s-3", 0, false, true), ("s-2", 0, false, true), ("s-1", 10, true, true)]
        );
        assert_eq!(list[3].image.0, "i@sha256:1", "the image of the container that gets the requests");
        assert_eq!((list[3].spec.port, list[3].creator.as_deref()), (Some(3000), Some("them@example.com")));
        let tags: Vec<_> = list[3].tags.iter().map(|(tag, url)| (tag.as_str(), url.as_deref())).collect();
        assert_eq!(tags, [("new-url", None), ("old", Some("https://old---s"))]);
    }
}

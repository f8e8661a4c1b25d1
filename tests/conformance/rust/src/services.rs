//! A service: create, update, traffic, policy, delete.
use google_cloud_gax::{
    error::rpc::Code,
    paginator::{ItemPaginator as _, Paginator as _},
};
use google_cloud_iam_v1::model::{Binding, Policy};
use google_cloud_lro::Poller as _;
use google_cloud_run_v2::{
    client::{Revisions, Services},
    model::{IngressTraffic, RevisionTemplate, Service, TrafficTarget, TrafficTargetAllocationType, condition::State},
};
use google_cloud_wkt::{Duration, FieldMask};

use crate::{Checked, Cloud, PARENT, Wrong, ask, last, quickly, refused, same};

pub(crate) async fn walk(cloud: &mut Cloud) -> Checked {
    let client = Services::builder()
        .with_endpoint(cloud.endpoint())
        .with_credentials(cloud.credentials()?)
        .with_polling_backoff_policy(quickly())
        .build()
        .await?;
    let revisions =
        Revisions::builder().with_endpoint(cloud.endpoint()).with_credentials(cloud.credentials()?).build().await?;
    let name = format!("{PARENT}/services/judged");
    let get = || client.get_service().set_name(&name).send();

    cloud
        .check("a service is created, and its poller ends with it", async |cloud| {
            let template = RevisionTemplate::new()
                .set_containers([cloud.container(&[("SAY", "one")])])
                .set_timeout(Duration::new(90, 0)?)
                .set_max_instance_request_concurrency(7);
            let service =
                Service::new().set_ingress(IngressTraffic::All).set_labels([("by", "rust")]).set_template(template);
            let create = client.create_service().set_parent(PARENT).set_service_id("judged").set_service(service);
            let made = create.poller().until_done().await?;
            same(made.name.as_str(), &name)?;
            same(made.terminal_condition.map(|one| one.state), Some(State::ConditionSucceeded))?;
            same((made.generation, made.observed_generation, made.reconciling), (1, 1, false))?;
            same(made.template.and_then(|template| template.timeout).map(|timeout| timeout.seconds()), Some(90))?;
            let found = get().await?;
            same((found.uid, found.etag, found.ingress), (made.uid, made.etag, IngressTraffic::All))
        })
        .await;
    cloud
        .check("a policy lets everybody call it, and then it answers", async |_| {
            let uri = get().await?.uri;
            same(ask(&uri).await?.0, 403)?;
            let policy = client.get_iam_policy().set_resource(&name).send().await?;
            let everybody = Binding::new().set_role("roles/run.invoker").set_members(["allUsers"]);
            let policy = Policy::new().set_etag(policy.etag).set_bindings([everybody]);
            let policy = client.set_iam_policy().set_resource(&name).set_policy(policy).send().await?;
            same(policy.bindings.len(), 1)?;
            let tested =
                client.test_iam_permissions().set_resource(&name).set_permissions(["run.services.get"]).send().await?;
            same(tested.permissions, vec!["run.services.get".to_owned()])?;
            let (status, text) = ask(&uri).await?;
            same((status, text.starts_with("one from judged-")), (200, true))
        })
        .await;
    cloud
        .check("a change of the template is another revision", async |_| {
            let mut found = get().await?;
            let first = found.latest_ready_revision.clone();
            let template = found.template.as_mut().ok_or("no template")?;
            template.containers[0].env[0] = template.containers[0].env[0].clone().set_value("two");
            let updated = client.update_service().set_service(found).poller().until_done().await?;
            same(updated.latest_ready_revision == first, false)?;
            same(
                ask(&updated.uri).await?.1.starts_with(&format!("two from {}", last(&updated.latest_ready_revision))),
                true,
            )
        })
        .await;
    cloud
        .check("a stale version is refused", async |_| {
            let mut stale = get().await?;
            let change = Service::new().set_name(&name).set_description("in between");
            let mask = FieldMask::default().set_paths(["description"]);
            client.update_service().set_service(change).set_update_mask(mask).poller().until_done().await?;
            stale.description = "stale".to_owned();
            let refusal = client.update_service().set_service(stale).send().await;
            refused(refusal, Code::Aborted, "was specified but current version is")
        })
        .await;
    cloud
        .check("traffic is split, and a tag has its own address", async |_| {
            let pages = client_pages(&revisions, &name).await?;
            same(pages.iter().map(Vec::len).collect::<Vec<_>>(), vec![1, 1])?;
            let first = last(&pages[1][0]).to_owned();
            let traffic = [
                TrafficTarget::new()
                    .set_type(TrafficTargetAllocationType::Revision)
                    .set_revision(&first)
                    .set_percent(100),
                TrafficTarget::new().set_type(TrafficTargetAllocationType::Latest).set_tag("next"),
            ];
            let change = Service::new().set_name(&name).set_traffic(traffic);
            let mask = FieldMask::default().set_paths(["traffic"]);
            let split = client.update_service().set_service(change).set_update_mask(mask).poller().until_done().await?;
            let shares: Vec<_> = split.traffic_statuses.iter().map(|one| (one.percent, one.tag.as_str())).collect();
            same(shares, vec![(100, ""), (0, "next")])?;
            same(ask(&split.uri).await?.1.starts_with(&format!("one from {first}")), true)?;
            same(ask(&split.traffic_statuses[1].uri).await?.1.starts_with("two from"), true)
        })
        .await;
    cloud
        .check("services are listed item by item", async |cloud| {
            let template = RevisionTemplate::new().set_containers([cloud.container(&[])]);
            let service = Service::new().set_template(template);
            let create = client.create_service().set_parent(PARENT).set_service_id("other").set_service(service);
            create.poller().until_done().await?;
            let mut listed = client.list_services().set_parent(PARENT).set_page_size(1).by_item();
            let mut names = Vec::new();
            while let Some(service) = listed.next().await {
                names.push(last(&service?.name).to_owned());
            }
            names.sort();
            same(names, vec!["judged".to_owned(), "other".to_owned()])?;
            let gone =
                client.delete_service().set_name(format!("{PARENT}/services/other")).poller().until_done().await?;
            same(last(&gone.name), "other")
        })
        .await;
    cloud
        .check("a container that ends fails its operation", async |cloud| {
            let change = Service::new()
                .set_name(&name)
                .set_template(RevisionTemplate::new().set_containers([cloud.container(&[("EXIT", "3")])]));
            let mask = FieldMask::default().set_paths(["template"]);
            let failed = client.update_service().set_service(change).set_update_mask(mask).poller().until_done().await;
            refused(failed, Code::FailedPrecondition, "failed to start and listen on the port")?;
            let found = get().await?;
            same(found.terminal_condition.map(|one| one.state), Some(State::ConditionFailed))?;
            same(ask(&found.uri).await?.0, 200)
        })
        .await;
    cloud
        .check("what is not there, is there already, or may not be done", async |cloud| {
            let missing = client.get_service().set_name(format!("{PARENT}/services/none")).send().await;
            refused(missing, Code::NotFound, "Resource 'none' of kind 'SERVICE' in region 'us-central1'")?;
            let template = RevisionTemplate::new().set_containers([cloud.container(&[])]);
            let service = Service::new().set_template(template);
            let create = client.create_service().set_parent(PARENT).set_service_id("judged").set_service(service);
            refused(create.send().await, Code::AlreadyExists, "already exists")?;
            let empty = client.create_service().set_parent(PARENT).set_service_id("empty").set_service(Service::new());
            refused(empty.send().await, Code::InvalidArgument, "")?;
            let reader = Services::builder()
                .with_endpoint(cloud.endpoint())
                .with_credentials(cloud.principal("run.services.get").await?)
                .build()
                .await?;
            same(reader.get_service().set_name(&name).send().await?.name.as_str(), &name)?;
            let delete = reader.delete_service().set_name(&name).send().await;
            refused(delete, Code::PermissionDenied, "Permission 'run.services.delete' denied on resource")
        })
        .await;
    cloud
        .check("it is deleted", async |_| {
            let gone = client.delete_service().set_name(&name).poller().until_done().await?;
            same((gone.name.as_str(), gone.delete_time.is_some()), (&*name, true))?;
            refused(get().await, Code::NotFound, "does not exist")
        })
        .await;
    Ok(())
}

/// The names of a service's revisions, page by page.
async fn client_pages(revisions: &Revisions, service: &str) -> Result<Vec<Vec<String>>, Wrong> {
    let mut pages = revisions.list_revisions().set_parent(service).set_page_size(1).by_page();
    let mut names = Vec::new();
    while let Some(page) = pages.next().await {
        names.push(page?.revisions.into_iter().map(|revision| revision.name).collect());
    }
    Ok(names)
}

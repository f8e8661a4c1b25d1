//! What every provider must hold to: plain functions over `&dyn Provider`, each on a service of its own.
use carrack_core::{
    Error, ErrorKind, Result,
    cause::Code,
    event::Ctx,
    fields::fields,
    observed::{Observed, Readiness},
    plan::{Deploy, Intent, Plan, Verb},
    provider::{LogQuery, Provider},
    run::{RunReport, run},
    secret::{NewSecret, SecretValue},
    spec::{EnvValue, ImageRef, SecretRef, ServiceName, ServiceSpec},
};
use futures_util::TryStreamExt;

use crate::{jobs::*, secrets::*, traffic::*};

/// A provider, and two images that it can run.
pub(crate) struct Backend<'a> {
    pub(crate) provider: &'a dyn Provider,
    pub(crate) images: [ImageRef; 2],
    pub(crate) name: ServiceName,
    pub(crate) cx: Ctx,
}

type Case = for<'a> fn(&'a Backend<'a>) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        pub(crate) const CASES: &[(&str, Case)] = &[$((stringify!($case), |backend| Box::pin($case(backend)))),*];
    };
}

cases![
    a_missing_service_is_no_error,
    a_plan_writes_nothing,
    a_first_deploy_without_an_image_is_refused,
    a_deploy_sets_what_the_file_names,
    a_second_deploy_is_an_empty_plan,
    one_change_is_one_change,
    an_entry_removed_from_the_file_is_removed,
    a_table_that_is_absent_is_not_managed,
    an_exact_table_removes_what_others_added,
    an_image_alone_changes_the_image_alone,
    a_stale_plan_is_a_conflict,
    a_broken_revision_leaves_the_earlier_one_serving,
    a_broken_revision_is_deployed_again,
    a_broken_revision_leaves_evidence_of_its_cause,
    services_are_listed_by_name,
    revisions_are_listed_newest_first,
    a_revision_tells_its_deploy,
    rollback_restores_the_spec,
    traffic_sums_to_100,
    traffic_goes_where_it_is_sent,
    traffic_that_cannot_be_is_refused,
    a_deploy_without_traffic_leaves_who_serves,
    a_first_deploy_without_traffic_is_refused,
    a_tag_is_the_revisions_that_it_was_made_for,
    tags_of_others_survive_a_deploy_and_ours_do_not,
    a_stale_plan_of_traffic_is_a_conflict,
    a_variable_becomes_a_secret_and_back,
    a_secret_is_a_file_and_goes_with_its_entry,
    destroy_removes_the_service,
    a_saved_plan_survives_json,
    a_secret_that_is_not_there,
    a_secret_is_made_once,
    a_value_comes_back_as_it_was_added,
    versions_are_listed_newest_first,
    a_versions_state_decides_who_reads,
    a_stale_version_is_a_conflict,
    a_grant_is_made_once_and_read_back,
    a_missing_job_is_no_error,
    a_first_job_without_an_image_is_refused,
    a_job_is_as_the_file_says_and_a_second_plan_is_empty,
    a_jobs_entry_goes_with_the_file_and_what_is_unnamed_stays,
    a_stale_plan_of_a_job_is_a_conflict,
    a_run_is_told_task_by_task,
    a_task_that_fails_leaves_its_exit_code_and_evidence,
    an_execution_that_ended_is_not_cancelled,
    the_log_of_a_job_is_of_one_execution_and_one_task,
    a_job_is_removed,
];

impl Backend<'_> {
    pub(crate) fn spec(&self, env: &[(&str, &str)]) -> Deploy {
        let mut spec = ServiceSpec { port: Some(8080), public: Some(true), ..ServiceSpec::default() };
        spec.scaling.max = Some(3);
        spec.workload.main.image = Some(self.images[0].clone());
        spec.workload.main.env =
            env.iter().map(|(name, value)| ((*name).to_owned(), EnvValue::Plain((*value).to_owned()))).collect();
        Deploy::new(spec, vec!["env".into()], Vec::new())
    }

    pub(crate) async fn observe(&self) -> Result<Observed> {
        self.provider.observe(&self.cx, &self.name).await
    }

    pub(crate) async fn plan(&self, deploy: &Deploy) -> Result<Plan> {
        self.provider.plan(&self.name, &Intent::Deploy(Box::new(deploy.clone())), &self.observe().await?)
    }

    pub(crate) async fn deploy(&self, deploy: &Deploy) -> Result<RunReport> {
        run(self.provider, &self.cx, &self.plan(deploy).await?).await
    }

    pub(crate) async fn live(&self) -> Result<carrack_core::observed::ObservedService> {
        self.observe().await?.service.ok_or_else(|| Error::new(ErrorKind::NotFound, "the service is gone"))
    }
}

pub(crate) fn paths(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().flat_map(|step| &step.changes).map(|change| change.path.as_str()).collect()
}

async fn a_missing_service_is_no_error(backend: &Backend<'_>) -> Result<()> {
    assert!(backend.observe().await?.service.is_none());
    assert!(backend.provider.revisions(&backend.cx, &backend.name).await?.is_empty());
    let plan = backend.provider.plan(&backend.name, &Intent::Destroy, &backend.observe().await?)?;
    assert!(plan.is_noop());
    Ok(())
}

async fn a_plan_writes_nothing(backend: &Backend<'_>) -> Result<()> {
    let plan = backend.plan(&backend.spec(&[])).await?;
    assert_eq!(plan.steps[0].verb, Verb::Create);
    assert!(backend.observe().await?.service.is_none());
    backend.deploy(&backend.spec(&[])).await?;
    let before = backend.observe().await?.fingerprint;
    backend.plan(&backend.spec(&[("A", "1")])).await?;
    assert_eq!(backend.observe().await?.fingerprint, before);
    Ok(())
}

async fn a_first_deploy_without_an_image_is_refused(backend: &Backend<'_>) -> Result<()> {
    let mut deploy = backend.spec(&[]);
    deploy.spec.workload.main.image = None;
    let error = backend.plan(&deploy).await.expect_err("no image");
    assert_eq!((error.kind(), error.field()), (ErrorKind::ConfigInvalid, Some("image")));
    Ok(())
}

async fn a_deploy_sets_what_the_file_names(backend: &Backend<'_>) -> Result<()> {
    let deploy = backend.spec(&[("A", "1"), ("B", "two words")]);
    let report = backend.deploy(&deploy).await?;
    assert!(report.failed.is_none() && report.not_run.is_empty());
    let live = backend.live().await?;
    let live_fields = fields(&live.spec);
    for (path, value) in fields(&deploy.spec) {
        assert_eq!(live_fields.get(&path), Some(&value), "{path}");
    }
    assert_eq!(live.readiness, Readiness::Ready);
    assert_eq!(live.latest_ready, report.revision);
    assert_eq!(live.url, report.url);
    let receipt = live.receipt.expect("a receipt");
    assert_eq!(receipt.owned, fields(&deploy.spec).into_keys().collect::<Vec<_>>());
    assert_eq!(Some(receipt.digest.as_str()), backend.images[0].digest());
    assert!(!receipt.at.is_empty());
    Ok(())
}

async fn a_second_deploy_is_an_empty_plan(backend: &Backend<'_>) -> Result<()> {
    let deploy = backend.spec(&[("A", "1")]);
    backend.deploy(&deploy).await?;
    let plan = backend.plan(&deploy).await?;
    assert!(plan.is_noop(), "{:?}", paths(&plan));
    Ok(())
}

async fn one_change_is_one_change(backend: &Backend<'_>) -> Result<()> {
    let first = backend.deploy(&backend.spec(&[("A", "1"), ("B", "1")])).await?;
    let changed = backend.spec(&[("A", "2"), ("B", "1")]);
    assert_eq!(paths(&backend.plan(&changed).await?), ["env.A"]);
    let second = backend.deploy(&changed).await?;
    assert_ne!(first.revision, second.revision);
    assert_eq!(backend.live().await?.url, first.url);
    assert!(backend.plan(&changed).await?.is_noop());
    Ok(())
}

async fn an_entry_removed_from_the_file_is_removed(backend: &Backend<'_>) -> Result<()> {
    backend.deploy(&backend.spec(&[("A", "1"), ("B", "1")])).await?;
    let without = backend.spec(&[("A", "1")]);
    let plan = backend.plan(&without).await?;
    assert_eq!(paths(&plan), ["env.B"]);
    backend.deploy(&without).await?;
    let live = backend.live().await?;
    assert_eq!(live.spec.workload.main.env.keys().collect::<Vec<_>>(), ["A"]);
    assert!(!live.receipt.expect("a receipt").owned.contains(&"env.B".to_owned()));
    Ok(())
}

async fn a_table_that_is_absent_is_not_managed(backend: &Backend<'_>) -> Result<()> {
    backend.deploy(&backend.spec(&[("A", "1")])).await?;
    let mut deploy = backend.spec(&[]);
    deploy.tables.clear();
    let plan = backend.plan(&deploy).await?;
    assert!(plan.is_noop(), "{:?}", paths(&plan));
    assert!(plan.kept.contains(&"env.A".to_owned()));
    Ok(())
}

async fn an_exact_table_removes_what_others_added(backend: &Backend<'_>) -> Result<()> {
    // Somebody else: a deploy whose receipt will not list the variable once the table is carried on by another.
    backend.deploy(&backend.spec(&[("A", "1"), ("THEIRS", "1")])).await?;
    let mut exact = backend.spec(&[("A", "1")]);
    exact.exact = vec!["env".into()];
    backend.deploy(&exact).await?;
    assert_eq!(backend.live().await?.spec.workload.main.env.keys().collect::<Vec<_>>(), ["A"]);
    Ok(())
}

async fn an_image_alone_changes_the_image_alone(backend: &Backend<'_>) -> Result<()> {
    backend.deploy(&backend.spec(&[("A", "1")])).await?;
    let before = backend.live().await?;
    let mut spec = ServiceSpec::default();
    spec.workload.main.image = Some(backend.images[1].clone());
    let deploy = Deploy::new(spec, Vec::new(), Vec::new());
    let plan = backend.plan(&deploy).await?;
    assert_eq!(paths(&plan), ["image"]);
    backend.deploy(&deploy).await?;
    let after = backend.live().await?;
    let mut expected = before.spec.clone();
    expected.workload.main.image = Some(backend.images[1].clone());
    assert_eq!(after.spec, expected);
    assert_eq!(after.receipt.expect("a receipt").owned, before.receipt.expect("a receipt").owned);
    Ok(())
}

async fn a_stale_plan_is_a_conflict(backend: &Backend<'_>) -> Result<()> {
    backend.deploy(&backend.spec(&[("A", "1")])).await?;
    let stale = backend.plan(&backend.spec(&[("A", "2")])).await?;
    backend.deploy(&backend.spec(&[("A", "3")])).await?;
    let error = run(backend.provider, &backend.cx, &stale).await.expect_err("a conflict");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let report = error.report().expect("a report");
    assert_eq!((report.done.len(), report.failed), (0, Some(stale.steps[0].id)));
    assert_eq!(backend.live().await?.spec.workload.main.env["A"], EnvValue::Plain("3".into()));
    Ok(())
}

async fn a_broken_revision_leaves_the_earlier_one_serving(backend: &Backend<'_>) -> Result<()> {
    let good = backend.deploy(&backend.spec(&[])).await?.revision;
    let error = backend.deploy(&backend.spec(&[("EXIT", "3")])).await.expect_err("it exits");
    assert_eq!(error.kind(), ErrorKind::Unhealthy, "{error}");
    let broken = error.resource().expect("the revision").clone();
    assert_eq!(broken.kind, "revision");
    let live = backend.live().await?;
    assert!(matches!(live.readiness, Readiness::Failed(_)), "{:?}", live.readiness);
    assert_eq!(live.latest_ready, good);
    assert_eq!(live.traffic.0.into_iter().collect::<Vec<_>>(), [(good.expect("a revision"), 100)]);
    let revision = Some(carrack_core::spec::RevisionId(broken.name));
    let query = LogQuery { revision, ..LogQuery::default() };
    let lines: Vec<_> = backend.provider.logs(&backend.cx, &backend.name, query).try_collect().await?;
    assert!(!lines.is_empty(), "a failed container has a last word");
    Ok(())
}

async fn a_broken_revision_is_deployed_again(backend: &Backend<'_>) -> Result<()> {
    backend.deploy(&backend.spec(&[])).await?;
    let broken = backend.spec(&[("EXIT", "3")]);
    backend.deploy(&broken).await.expect_err("it exits");
    assert!(!backend.plan(&broken).await?.is_noop(), "what is not ready is not done");
    backend.deploy(&backend.spec(&[])).await?;
    let live = backend.live().await?;
    assert_eq!(live.readiness, Readiness::Ready);
    assert_eq!(live.latest, live.latest_ready);
    assert!(backend.plan(&backend.spec(&[])).await?.is_noop());
    Ok(())
}

async fn a_broken_revision_leaves_evidence_of_its_cause(backend: &Backend<'_>) -> Result<()> {
    let error = backend.deploy(&backend.spec(&[("EXIT", "3")])).await.expect_err("it exits");
    let revision = carrack_core::spec::RevisionId(error.resource().expect("the revision").name.clone());
    let said = error.message();
    let evidence = backend.provider.evidence(&backend.cx, &backend.name, Some(&revision), said).await?;
    let cause = evidence.cause().expect("a cause");
    assert_eq!(cause.code, Code::ExitAtStart);
    assert_eq!(cause.message, "the program ended with exit code 3 before it listened on port 8080");
    assert!(!evidence.last_lines(1).is_empty());
    assert_eq!(evidence.image.as_ref(), Some(&backend.images[0]));
    Ok(())
}

async fn services_are_listed_by_name(backend: &Backend<'_>) -> Result<()> {
    let url = backend.deploy(&backend.spec(&[])).await?.url;
    let listed = backend.provider.services(&backend.cx).await?;
    let own = listed.iter().find(|service| service.name == backend.name.as_str()).expect("it is listed");
    assert_eq!((&own.url, &own.readiness, own.ours), (&url, &Readiness::Ready, true));
    assert!(listed.is_sorted_by_key(|service| &service.name));
    Ok(())
}

async fn revisions_are_listed_newest_first(backend: &Backend<'_>) -> Result<()> {
    let mut made = Vec::new();
    for value in ["1", "2"] {
        made.insert(0, backend.deploy(&backend.spec(&[("A", value)])).await?.revision.expect("a revision"));
    }
    let listed = backend.provider.revisions(&backend.cx, &backend.name).await?;
    assert_eq!(listed.iter().map(|revision| revision.id.clone()).collect::<Vec<_>>(), made);
    assert_eq!(listed.iter().map(|revision| revision.percent).collect::<Vec<_>>(), [100, 0]);
    assert!(listed.iter().all(|revision| revision.image == backend.images[0]));
    Ok(())
}

async fn a_revision_tells_its_deploy(backend: &Backend<'_>) -> Result<()> {
    let first = backend.deploy(&backend.spec(&[("A", "1")])).await?.revision;
    backend.deploy(&backend.spec(&[("A", "2")])).await?;
    let listed = backend.provider.revisions(&backend.cx, &backend.name).await?;
    let receipts: Vec<_> = listed.iter().map(|revision| revision.deployed().expect("it is trusted")).collect();
    assert_eq!(receipts.iter().map(|receipt| receipt.previous.clone()).collect::<Vec<_>>(), [first, None]);
    assert!(receipts.iter().all(|receipt| Some(receipt.digest.as_str()) == backend.images[0].digest()));
    assert!(receipts.iter().all(|receipt| receipt.owned.contains(&"env.A".to_owned())));
    let values: Vec<_> = listed.iter().map(|revision| revision.spec.workload.main.env["A"].clone()).collect();
    assert_eq!(values, ["2", "1"].map(|value| EnvValue::Plain(value.into())));
    Ok(())
}

/// A secret of this name with a value, which the service may read; by the version's number.
async fn secret(backend: &Backend<'_>, name: &str) -> Result<EnvValue> {
    let (store, cx) = (backend.provider.secrets(), &backend.cx);
    let name = format!("{}-{name}", backend.name);
    store.create(cx, &name, &NewSecret::default()).await?;
    let version = store.add(cx, &name, &SecretValue::new(b"hidden".to_vec())).await?.id;
    let account = store.reader(cx, &name, None).await?.account;
    store.grant(cx, &name, &account).await?;
    Ok(EnvValue::Secret(SecretRef { name, version }))
}

async fn a_variable_becomes_a_secret_and_back(backend: &Backend<'_>) -> Result<()> {
    backend.deploy(&backend.spec(&[("A", "1"), ("B", "1")])).await?;
    let mut secrets = backend.spec(&[("B", "1")]);
    secrets.tables.push("secrets".into());
    secrets.spec.workload.main.env.insert("A".into(), secret(backend, "a").await?);
    let plan = backend.plan(&secrets).await?;
    assert_eq!((plan.steps.len(), paths(&plan)), (1, vec!["env.A", "secrets.A"]));
    backend.deploy(&secrets).await?;
    assert!(backend.plan(&secrets).await?.is_noop());
    let live = backend.live().await?;
    assert_eq!(live.spec.workload.main.env, secrets.spec.workload.main.env);
    let owned = live.receipt.expect("a receipt").owned;
    assert!(owned.contains(&"secrets.A".into()) && !owned.contains(&"env.A".into()), "{owned:?}");
    let text = backend.spec(&[("A", "1"), ("B", "1")]);
    assert_eq!(paths(&backend.plan(&text).await?), ["env.A", "secrets.A"]);
    backend.deploy(&text).await?;
    assert_eq!(backend.live().await?.spec.workload.main.env, text.spec.workload.main.env);
    Ok(())
}

async fn a_secret_is_a_file_and_goes_with_its_entry(backend: &Backend<'_>) -> Result<()> {
    let EnvValue::Secret(key) = secret(backend, "key").await? else { unreachable!("it is one") };
    let mut deploy = backend.spec(&[("A", "1")]);
    deploy.tables.push("secrets".into());
    deploy.spec.workload.main.mounts.insert("/keys/one/key.pem".into(), key);
    backend.deploy(&deploy).await?;
    assert!(backend.plan(&deploy).await?.is_noop());
    assert_eq!(backend.live().await?.spec.workload.main.mounts, deploy.spec.workload.main.mounts);
    let mut unmanaged = backend.spec(&[("A", "1")]);
    let plan = backend.plan(&unmanaged).await?;
    assert!(plan.is_noop() && plan.kept.contains(&"secrets./keys/one/key.pem".into()), "{:?}", plan.kept);
    unmanaged.tables.push("secrets".into());
    assert_eq!(paths(&backend.plan(&unmanaged).await?), ["secrets./keys/one/key.pem"]);
    backend.deploy(&unmanaged).await?;
    assert!(backend.live().await?.spec.workload.main.mounts.is_empty());
    Ok(())
}

async fn destroy_removes_the_service(backend: &Backend<'_>) -> Result<()> {
    backend.deploy(&backend.spec(&[])).await?;
    let plan = backend.provider.plan(&backend.name, &Intent::Destroy, &backend.observe().await?)?;
    assert_eq!(plan.steps.len(), 1);
    run(backend.provider, &backend.cx, &plan).await?;
    assert!(backend.observe().await?.service.is_none());
    Ok(())
}

async fn a_saved_plan_survives_json(backend: &Backend<'_>) -> Result<()> {
    let plan = backend.plan(&backend.spec(&[("A", "1")])).await?;
    let text = serde_json::to_string(&plan).expect("json");
    let read: Plan = serde_json::from_str(&text).expect("a plan");
    assert!(read.same_steps(&plan));
    // What is sent is made again from the intent, so that no value but a shown one is ever in a file.
    let again = backend.provider.plan(&backend.name, &read.intent, &backend.observe().await?)?;
    assert!(again.same_steps(&read));
    run(backend.provider, &backend.cx, &again).await?;
    assert!(backend.plan(&backend.spec(&[("A", "1")])).await?.is_noop());
    Ok(())
}

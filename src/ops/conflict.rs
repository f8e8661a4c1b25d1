//! Somebody else deploys the same service in the middle of ours.
use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use carrack_core::{
    ErrorKind, Result,
    capability::Capabilities,
    event::{Ctx, Event, EventSink},
    evidence::Evidence,
    job::Jobs,
    memory::Memory,
    observed::{Fingerprint, Observed, Revision, ServiceSummary},
    permission::{Held, Need, PermissionTable},
    plan::{self, Intent, Plan, Step},
    provider::{BoxStream, Invocation, LogLine, LogQuery, Provider, Registry},
    rollout::Answers,
    run::run,
    secret::SecretStore,
    spec::{EnvValue, ImageRef, ProviderId, RevisionId, ServiceName, ServiceRef, ServiceSpec},
};
use carrack_http::{Client, ClientOptions};
use jiff::Timestamp;

use super::{
    Outcome,
    deploy::{Image, Request, deploy},
    deploy_secrets::Options,
};
use crate::image::Way;

/// Memory, where others deploy just before each of our writes, as often as there are deploys of theirs.
#[derive(Debug, Default)]
struct Contested {
    memory: Memory,
    theirs: Mutex<Vec<plan::Deploy>>,
}

#[async_trait]
impl Provider for Contested {
    async fn apply(&self, cx: &Ctx, plan: &Plan, step: &Step, at: &Fingerprint) -> Result<plan::Outcome> {
        let theirs = self.theirs.lock().expect("no test holds it").pop();
        if let Some(theirs) = theirs {
            deployed(&self.memory, cx, theirs).await?;
        }
        self.memory.apply(cx, plan, step, at).await
    }

    fn id(&self) -> ProviderId {
        self.memory.id()
    }
    fn capabilities(&self) -> &Capabilities {
        self.memory.capabilities()
    }
    fn service_ref(&self, service: &ServiceName) -> ServiceRef {
        self.memory.service_ref(service)
    }
    async fn observe(&self, cx: &Ctx, service: &ServiceName) -> Result<Observed> {
        self.memory.observe(cx, service).await
    }
    async fn services(&self, cx: &Ctx) -> Result<Vec<ServiceSummary>> {
        self.memory.services(cx).await
    }
    async fn answers(
        &self,
        cx: &Ctx,
        service: &ServiceName,
        since: Timestamp,
    ) -> Result<BTreeMap<RevisionId, Answers>> {
        self.memory.answers(cx, service, since).await
    }
    async fn revisions(&self, cx: &Ctx, service: &ServiceName) -> Result<Vec<Revision>> {
        self.memory.revisions(cx, service).await
    }
    fn logs<'a>(&'a self, cx: &'a Ctx, service: &'a ServiceName, query: LogQuery) -> BoxStream<'a, Result<LogLine>> {
        self.memory.logs(cx, service, query)
    }
    async fn evidence(
        &self,
        cx: &Ctx,
        service: &ServiceName,
        revision: Option<&RevisionId>,
        said: &str,
    ) -> Result<Evidence> {
        self.memory.evidence(cx, service, revision, said).await
    }
    fn plan(&self, service: &ServiceName, intent: &Intent, observed: &Observed) -> Result<Plan> {
        self.memory.plan(service, intent, observed)
    }
    async fn invocation(&self, cx: &Ctx, url: &str) -> Result<Invocation> {
        self.memory.invocation(cx, url).await
    }
    fn registry(&self) -> &dyn Registry {
        self.memory.registry()
    }
    fn secrets(&self) -> &dyn SecretStore {
        self.memory.secrets()
    }
    fn jobs(&self) -> &dyn Jobs {
        self.memory.jobs()
    }
    fn permissions(&self) -> &dyn PermissionTable {
        self.memory.permissions()
    }
    async fn held(&self, cx: &Ctx, needs: &[Need]) -> Result<Vec<Held>> {
        self.memory.held(cx, needs).await
    }
    fn member(&self) -> Option<String> {
        self.memory.member()
    }
}

fn name() -> ServiceName {
    ServiceName::try_from("shop".to_owned()).expect("a name")
}

fn asking(env: &[(&str, &str)]) -> plan::Deploy {
    let mut spec = ServiceSpec::default();
    spec.workload.main.image = Some(ImageRef(format!("memory/app@sha256:{}", "a".repeat(64))));
    spec.workload.main.env =
        env.iter().map(|(name, value)| ((*name).to_owned(), EnvValue::Plain((*value).to_owned()))).collect();
    plan::Deploy::new(spec, vec!["env".into()], Vec::new())
}

async fn deployed(memory: &Memory, cx: &Ctx, asked: plan::Deploy) -> Result<()> {
    let observed = memory.observe(cx, &name()).await?;
    let plan = memory.plan(&name(), &Intent::Deploy(Box::new(asked)), &observed)?;
    run(memory, cx, &plan).await.map(drop)
}

/// Our deploy of `A=2` over a live `A=1`, while others deploy `theirs`, the last one first.
async fn contested(theirs: Vec<plan::Deploy>) -> (Result<super::Report>, Contested, Vec<Event>) {
    let (sink, mut events) = EventSink::channel();
    let cx = Ctx { events: sink, ..Ctx::silent() };
    let provider = Contested { theirs: Mutex::new(theirs), ..Contested::default() };
    deployed(&provider.memory, &cx, asking(&[("A", "1")])).await.expect("the first deploy");
    let http = Client::new(ClientOptions::default()).expect("a client");
    let way = Way { http, auth: None };
    let mut ours = asking(&[("A", "2")]);
    ours.spec.workload.main.image = None;
    let request = Request {
        provider: &provider,
        ways: &way,
        name: name(),
        deploy: ours,
        job: None,
        image: Image::Keep,
        chosen: false,
        secrets: Options::default(),
    };
    let result = deploy(&cx, &request).await;
    drop(cx);
    let mut seen = Vec::new();
    while let Some(event) = events.try_recv() {
        seen.push(event);
    }
    (result, provider, seen)
}

async fn live(provider: &Contested) -> Vec<(String, EnvValue)> {
    let observed = provider.observe(&Ctx::silent(), &name()).await.expect("it is observed");
    observed.service.expect("it is there").spec.workload.main.env.into_iter().collect()
}

fn plain(pairs: &[(&str, &str)]) -> Vec<(String, EnvValue)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), EnvValue::Plain((*value).to_owned()))).collect()
}

fn plans(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Planned { .. })).count()
}

#[tokio::test]
async fn the_same_plan_is_applied() {
    // Theirs touches another field: what is left to do is the same.
    let mut theirs = asking(&[]);
    theirs.tables.clear();
    theirs.spec.scaling.max = Some(9);
    let (result, provider, events) = contested(vec![theirs]).await;
    assert_eq!(result.expect("it converges").result, Outcome::Deployed);
    assert_eq!(live(&provider).await, plain(&[("A", "2")]));
    assert_eq!(plans(&events), 1, "the plan that was shown is the one that was applied");
}

#[tokio::test]
async fn another_plan_is_shown_and_not_applied() {
    let (result, provider, events) = contested(vec![asking(&[("A", "3")])]).await;
    let error = result.expect_err("it is another plan now");
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Conflict, 31));
    let report = error.report().expect("a report");
    assert!(report.done.is_empty(), "{report:?}");
    assert_eq!(live(&provider).await, plain(&[("A", "3")]), "theirs stays");
    assert_eq!(plans(&events), 2, "ours, and what would be done now");
}

#[tokio::test]
async fn what_others_did_already_is_not_done_again() {
    let (result, provider, _) = contested(vec![asking(&[("A", "2")])]).await;
    result.expect("there is nothing left to do");
    let revisions = provider.revisions(&Ctx::silent(), &name()).await.expect("they are listed");
    assert_eq!(revisions.len(), 2, "the first, and theirs");
}

#[tokio::test]
async fn somebody_who_never_stops_is_a_conflict() {
    let theirs = (0..9).map(|max| {
        let mut theirs = asking(&[]);
        theirs.tables.clear();
        theirs.spec.scaling.max = Some(max + 1);
        theirs
    });
    let (result, provider, _) = contested(theirs.collect()).await;
    assert_eq!(result.expect_err("it gives up").kind(), ErrorKind::Conflict);
    assert_eq!(live(&provider).await, plain(&[("A", "1")]));
}

//! One local cloud, its client with short waits, and the flows that are walked.
use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use carrack::{
    image::{Base, BuildSpec, DockerConfig, FileCopy, Platform, Recipe},
    ops::{
        Report,
        deploy::{Image, Request as DeployRequest, deploy},
        deploy_secrets::Options,
        destroy,
        registries::Registries,
        rollback, traffic,
    },
    registry::{LOCAL_PROJECT, LOCAL_REGION},
};
use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    observed::{Observed, ObservedService, Readiness},
    plan::{Deploy, NewTraffic},
    provider::Provider,
    retry::RetryPolicy,
    rollout::Rollout,
    run::RunReport,
    spec::{EnvValue, ImageRef, ServiceName, ServiceSpec},
};
use carrack_gcp::CloudRun;
use carrack_http::{Client, ClientOptions, Endpoint, Identity, Request, Token, TokenCache, TokenSource};
use reqwest::{
    Method,
    header::{HeaderValue, USER_AGENT},
};
use serde_json::{Value, json};

use crate::support::{LocalCloud, app};

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// A first deploy: repository, push, service, public access.
    First,
    /// A variable is another one.
    Change,
    /// Nothing is new.
    Same,
    /// A variable is another one, and another client sent the traffic to the revision that is there.
    Traffic,
    /// A variable is another one, in a revision that gets a tag and no traffic.
    Tagged,
    /// A part of the traffic goes back to the first of two revisions, which gets a tag too.
    Route,
    /// A variable is another one, and the traffic goes over in steps.
    Rollout,
    /// All traffic goes back to the first of two revisions.
    Rollback,
    /// Its settings are made a new one.
    Restore,
    Destroy,
}

pub(crate) const FLOWS: [Flow; 10] = [
    Flow::First,
    Flow::Change,
    Flow::Same,
    Flow::Traffic,
    Flow::Tagged,
    Flow::Route,
    Flow::Rollout,
    Flow::Rollback,
    Flow::Restore,
    Flow::Destroy,
];

/// The tag of [`Flow::Tagged`] and [`Flow::Route`].
pub(crate) const TAG: &str = "next";

impl Flow {
    /// Whether a variable is another one in the end.
    pub(crate) const fn changes(self) -> bool {
        matches!(self, Self::Change | Self::Traffic | Self::Tagged | Self::Route | Self::Rollout | Self::Rollback)
    }

    /// Whether it begins with two revisions.
    pub(crate) const fn goes_back(self) -> bool {
        matches!(self, Self::Route | Self::Rollback | Self::Restore)
    }
}

/// Whoever holds it may do all, and gets another when it ends.
#[derive(Debug)]
struct Renewable {
    console: String,
    token: String,
}

impl Renewable {
    async fn new_token(&self) -> Result<Token> {
        let answer =
            call(&self.console, &self.token, Method::POST, "/principals", Some(json!({ "email": "me@example.com" })));
        Ok(Token::new(answer.await?["token"].as_str().unwrap_or_default(), None))
    }
}

#[async_trait]
impl TokenSource for Renewable {
    async fn fetch(&self, _cx: &Ctx) -> Result<Token> {
        self.new_token().await
    }
    async fn renew(&self, _cx: &Ctx) -> Result<Option<Token>> {
        self.new_token().await.map(Some)
    }
    async fn id_token(&self, _cx: &Ctx, _audience: &str) -> Result<Token> {
        self.new_token().await
    }
    async fn identity(&self, _cx: &Ctx) -> Result<Identity> {
        Ok(Identity::default())
    }
    fn principal(&self) -> Option<&str> {
        Some("me@example.com")
    }
    fn remedy(&self) -> &str {
        "make another principal"
    }
}

/// A call of another client, and of the console.
async fn call(address: &str, token: &str, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
    let http = Client::new(ClientOptions::default())?;
    let token = carrack_gcp::auth::given(token, None);
    // Not by Carrack's own name: what others send is judged otherwise.
    let name = HeaderValue::from_static("another-client/1.0");
    let mut request = Request::new(method, format!("{address}{path}")).bearer(&token).header(USER_AGENT, name);
    if let Some(body) = body {
        request = request.json(&body)?;
    }
    let response = http.send(&Ctx::silent(), request).await?;
    if response.body.is_empty() { Ok(Value::Null) } else { response.json() }
}

/// One client of the cloud, with its kind of token.
struct OneClient {
    provider: Arc<dyn Provider>,
    registries: Registries,
}

/// A place to run cells in, one after the other.
pub(crate) struct Bench<'a> {
    cloud: &'a LocalCloud,
    fixed: OneClient,
    renewable: OneClient,
    cx: Ctx,
    image: ImageRef,
}

/// One service, and the repository of its image.
pub(crate) struct Cell {
    pub(crate) name: ServiceName,
    pub(crate) repository: String,
    /// Or is the image there already?
    pub(crate) built: bool,
    /// The revision that served before the command, once it is known.
    pub(crate) first: OnceLock<String>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(cloud: &'a LocalCloud) -> Result<Self> {
        let (endpoint, console, token) = cloud.parts();
        let retry = RetryPolicy {
            attempts: 2,
            first: Duration::from_millis(2),
            max: Duration::from_millis(10),
            budget: Duration::from_secs(5),
        };
        let patience = Some(Duration::from_millis(1000));
        let http = Client::new(ClientOptions { endpoint: Some(Endpoint::parse(endpoint)?), retry, patience })?;
        let client = |tokens: TokenCache| {
            let provider: Arc<dyn Provider> =
                Arc::new(CloudRun::new(LOCAL_PROJECT, LOCAL_REGION, http.clone(), tokens));
            let registries = Registries::new(Arc::clone(&provider), http.clone(), DockerConfig::default());
            OneClient { provider, registries }
        };
        let renewable = Renewable { console: console.to_owned(), token: token.to_owned() };
        Ok(Self {
            fixed: client(carrack_gcp::auth::given(token, None)),
            renewable: client(TokenCache::new(Arc::new(renewable))),
            image: cloud.push_app("app"),
            cloud,
            cx: Ctx::silent(),
        })
    }

    pub(crate) async fn console(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let (_, console, token) = self.cloud.parts();
        call(console, token, method, path, body).await
    }

    pub(crate) fn provider(&self) -> &dyn Provider {
        &*self.fixed.provider
    }

    fn spec(flow: Flow) -> Deploy {
        let mut spec = ServiceSpec { port: Some(8080), public: Some(true), ..ServiceSpec::default() };
        let say = if flow.changes() { "two" } else { "one" };
        spec.workload.main.env = [("SAY".to_owned(), EnvValue::Plain(say.into()))].into();
        let mut deploy = Deploy::new(spec, vec!["env".into()], Vec::new());
        if flow == Flow::Tagged {
            (deploy.traffic, deploy.tag) = (NewTraffic::None, Some(TAG.to_owned()));
        }
        if flow == Flow::Rollout {
            deploy.rollout = Some(Rollout { steps: vec![50], wait: Duration::from_millis(50), verify: None });
        }
        deploy
    }

    async fn deploy(&self, cell: &Cell, flow: Flow, renewable: bool) -> Result<Report> {
        let client = if renewable { &self.renewable } else { &self.fixed };
        let image = if cell.built { self.built(cell)? } else { Image::Ref(self.image.clone()) };
        let request = DeployRequest {
            provider: &*client.provider,
            ways: &client.registries,
            name: cell.name.clone(),
            deploy: Self::spec(flow),
            job: None,
            image,
            chosen: flow != Flow::Rollout,
            secrets: Options::default(),
        };
        deploy(&self.cx, &request).await
    }

    /// A layer that the cloud has, and one that it has not.
    fn built(&self, cell: &Cell) -> Result<Image> {
        let own = self.cloud.dir().join("own");
        std::fs::write(&own, cell.name.as_str())
            .map_err(|e| Error::new(ErrorKind::Internal, "writing a file failed").with_source(e))?;
        let copy = |from: &Path, to: &str| FileCopy { from: from.to_owned(), to: to.into() };
        let spec = BuildSpec {
            name: "app".into(),
            run: None,
            base: Base::Scratch,
            files: vec![copy(app(), "/app"), copy(&own, "/own")],
            entrypoint: vec!["/app".into()],
            cmd: Vec::new(),
            env: Default::default(),
            working_dir: None,
            user: None,
            platform: Platform::host(),
            directory: self.cloud.dir().to_owned(),
            source_date_epoch: None,
        };
        Ok(Image::Build {
            recipe: Recipe::Files(Box::new(spec)),
            layout: self.cloud.dir().join("layout"),
            repository: cell.repository.clone(),
            images: Arc::default(),
        })
    }

    /// The command that the faults meet.
    pub(crate) async fn run(&self, cell: &Cell, flow: Flow, renewable: bool) -> Result<RunReport> {
        if matches!(flow, Flow::Rollback | Flow::Restore) {
            return Box::pin(self.roll_back(cell, flow, renewable)).await;
        }
        if !matches!(flow, Flow::Destroy | Flow::Route) {
            return Ok(Box::pin(self.deploy(cell, flow, renewable)).await?.run.unwrap_or_default());
        }
        let client = if renewable { &self.renewable } else { &self.fixed };
        if flow == Flow::Route {
            let first = cell.first.get().cloned().unwrap_or_default();
            let wanted = traffic::Wanted {
                shares: vec![(first.clone(), 30), (traffic::LATEST.to_owned(), 70)],
                set: vec![(TAG.to_owned(), first)],
                remove: Vec::new(),
            };
            let prepared = Box::pin(traffic::prepare(&self.cx, &*client.provider, &cell.name, &wanted)).await?;
            return Ok(Box::pin(traffic::apply(&self.cx, &*client.provider, prepared)).await?.run.unwrap_or_default());
        }
        let plan = destroy::prepare(&self.cx, &*client.provider, &cell.name).await?;
        Ok(destroy::apply(&self.cx, &*client.provider, &plan).await?.run.unwrap_or_default())
    }

    async fn roll_back(&self, cell: &Cell, flow: Flow, renewable: bool) -> Result<RunReport> {
        let client = if renewable { &self.renewable } else { &self.fixed };
        let request = rollback::Request {
            provider: &*client.provider,
            ways: &client.registries,
            name: cell.name.clone(),
            to: None,
            config: flow == Flow::Restore,
            flags: String::new(),
        };
        let prepared = rollback::prepare(&self.cx, &request).await?;
        Ok(rollback::apply(&self.cx, &request, prepared).await?.run.unwrap_or_default())
    }

    /// What is there before it.
    pub(crate) async fn prepare(&self, cell: &Cell, flow: Flow) -> Result<()> {
        if flow == Flow::First {
            return Ok(());
        }
        let report = Box::pin(self.deploy(cell, Flow::First, false)).await?;
        cell.first.get_or_init(|| report.revision.as_ref().map(|first| first.0.clone()).unwrap_or_default());
        if flow.goes_back() {
            Box::pin(self.deploy(cell, Flow::Change, false)).await?;
        }
        if flow == Flow::Traffic {
            let revision = report.revision.map(|revision| revision.0);
            let pinned =
                json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "percent": 100 }]);
            let path = format!(
                "/v2/projects/{LOCAL_PROJECT}/locations/{LOCAL_REGION}/services/{}?updateMask=traffic",
                cell.name
            );
            let (google, _, token) = self.cloud.parts();
            call(google, token, Method::PATCH, &path, Some(json!({ "traffic": pinned }))).await?;
            while matches!(self.live(cell).await?.map(|live| live.readiness), Some(Readiness::Progressing(_))) {}
        }
        Ok(())
    }

    pub(crate) async fn observe(&self, cell: &Cell) -> Result<Observed> {
        self.provider().observe(&self.cx, &cell.name).await
    }

    pub(crate) async fn live(&self, cell: &Cell) -> Result<Option<ObservedService>> {
        Ok(self.observe(cell).await?.service)
    }

    /// Every revision of it: its name, and whether it is ready.
    pub(crate) async fn revisions(&self, cell: &Cell) -> Result<Vec<(String, bool)>> {
        let list = self.provider().revisions(&self.cx, &cell.name).await?;
        Ok(list.into_iter().map(|one| (one.id.0, one.readiness == Readiness::Ready)).collect())
    }

    pub(crate) async fn services(&self, cell: &Cell) -> Result<usize> {
        let list = self.provider().services(&self.cx).await?;
        Ok(list.iter().filter(|service| service.name == cell.name.as_str()).count())
    }

    /// What the service itself answers.
    pub(crate) async fn ask(&self, url: &str) -> Result<String, Error> {
        let http = Client::new(ClientOptions::default())?;
        let answer = http.send(&self.cx, Request::new(Method::GET, url)).await?;
        Ok(String::from_utf8_lossy(&answer.body).trim().to_owned())
    }

    /// Lets go of it; nobody waits for its end.
    pub(crate) async fn forget(&self, cell: &Cell) -> Result<()> {
        let path = format!("/v2/projects/{LOCAL_PROJECT}/locations/{LOCAL_REGION}/services/{}", cell.name);
        let (google, _, token) = self.cloud.parts();
        let _ = call(google, token, Method::DELETE, &path, None).await;
        Ok(())
    }
}

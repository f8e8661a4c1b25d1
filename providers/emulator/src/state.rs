//! Everything that the local cloud holds, and what it is made of.
use std::{fmt, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::Router;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Addresses,
    credentials::Credentials,
    faults::Faults,
    gcp::{
        access::RegistryAccess,
        artifact_registry::Repositories,
        face::Face,
        iam::{Authority, Grants, ServiceAccounts},
        logging::Logs,
        operations::Operations,
        project::Projects,
        run::{self, group::Shares},
        schema::Documents,
        secret_manager::Secrets,
    },
    iam::Iam,
    image::{Image, ImageError},
    record::Recorder,
    registry::{Registry, StoredImage},
    registry_access::Access,
    requests::Requests,
    runtime::{Runtime, RuntimeKind},
    server::activity::Activity,
};

/// Where images are: the registry, or a test's stand-in.
#[async_trait]
pub(crate) trait Images: fmt::Debug + Send + Sync {
    /// `name` = `HOST/PROJECT/REPO/IMAGE`, `reference` = a tag or a digest.
    async fn image(&self, name: &str, reference: &str) -> Result<Image, ImageError>;
    /// `/v2/…`; `prefix` is the cloud's host name when the request came by one.
    fn routes(&self, access: Arc<dyn Access>, prefix: Option<String>) -> Router;
    async fn clear(&self) -> io::Result<()>;
    /// Everything that was pushed.
    fn list(&self) -> Vec<StoredImage>;
    /// `reference` is a tag, which goes alone, or a digest, which goes with its tags.
    fn remove(&self, name: &str, reference: &str);
}

#[async_trait]
impl Images for Registry {
    async fn image(&self, name: &str, reference: &str) -> Result<Image, ImageError> {
        Registry::image(self, name, reference).await
    }

    fn routes(&self, access: Arc<dyn Access>, prefix: Option<String>) -> Router {
        Registry::routes(self, access, prefix)
    }

    async fn clear(&self) -> io::Result<()> {
        Registry::clear(self).await
    }

    fn list(&self) -> Vec<StoredImage> {
        self.images()
    }

    fn remove(&self, name: &str, reference: &str) {
        Registry::remove(self, name, reference);
    }
}

/// What a cloud is put together from.
#[derive(Debug)]
pub(crate) struct Ingredients {
    pub(crate) images: Arc<dyn Images>,
    /// Or why there is none.
    pub(crate) runtime: Result<Arc<dyn Runtime>, Arc<str>>,
    /// The default principal's.
    pub(crate) token: String,
    /// Of every call.
    pub(crate) latency: Duration,
    /// Where what is shared over a network is kept.
    pub(crate) shares: Shares,
    /// How long an instance without a request stays.
    pub(crate) instance_idle: Duration,
    pub(crate) recorder: Option<Recorder>,
}

#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) iam: Arc<Iam>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) requests: Requests,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) faults: Faults,
    pub(crate) activity: Activity,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) runtime: Result<RuntimeKind, Arc<str>>,
    pub(crate) containers: Option<Arc<dyn Runtime>>,
    pub(crate) google: Face,
    pub(crate) access: Arc<RegistryAccess>,
    pub(crate) addresses: Addresses,
    pub(crate) started: Instant,
    /// Somebody asked for the end.
    pub(crate) stop: CancellationToken,
}

impl Cloud {
    pub(crate) fn new(ingredients: Ingredients, addresses: Addresses) -> serde_json::Result<Self> {
        let Ingredients { images, runtime, token, latency, shares, instance_idle, recorder } = ingredients;
        let iam = Arc::new(Iam::new(token));
        let grants = Arc::new(Grants::default());
        let accounts = Arc::new(ServiceAccounts::new(grants.clone()));
        let credentials = Arc::new(Credentials::new(iam.clone(), accounts.clone()));
        let activity = Activity::new();
        let logs = Arc::new(Logs::default());
        let projects = Arc::new(Projects::default());
        let repositories = Arc::new(Repositories::default());
        let secrets = Arc::new(Secrets::new(grants.clone()));
        let parts = run::Parts {
            iam: iam.clone(),
            grants: grants.clone(),
            credentials: credentials.clone(),
            logs: logs.clone(),
            images: images.clone(),
            runtime: runtime.clone(),
            activity: activity.clone(),
            operations: Arc::new(Operations::default()),
            projects: projects.clone(),
            repositories: repositories.clone(),
            secrets: secrets.clone(),
            shares,
            instance_idle,
        };
        let access = RegistryAccess {
            iam: iam.clone(),
            grants: grants.clone(),
            accounts: accounts.clone(),
            projects: projects.clone(),
            repositories: repositories.clone(),
        };
        let (jobs, run) = (Arc::new(run::Jobs::new(parts.clone())), Arc::new(run::Store::new(parts)));
        let authority = Authority {
            grants: grants.clone(),
            accounts: accounts.clone(),
            run: run.clone(),
            jobs: jobs.clone(),
            repositories: repositories.clone(),
            secrets: secrets.clone(),
        };
        Ok(Self {
            google: Face {
                documents: Documents::load()?,
                iam: iam.clone(),
                grants,
                accounts,
                credentials: credentials.clone(),
                authority,
                projects,
                jobs,
                run,
                repositories,
                images: images.clone(),
                secrets,
                logs,
            },
            iam,
            credentials,
            requests: Requests::default(),
            recorder,
            faults: Faults::new(latency),
            activity,
            images,
            containers: runtime.clone().ok(),
            runtime: runtime.map(|runtime| runtime.kind()),
            access: Arc::new(access),
            addresses,
            started: Instant::now(),
            stop: CancellationToken::new(),
        })
    }

    /// As freshly started: no service, job, secret, image, repository, log, principal or fault; nothing runs.
    pub(crate) async fn reset(&self) -> io::Result<()> {
        self.faults.clear(None);
        // All that takes time, until nothing was made meanwhile.
        let left = loop {
            self.google.jobs.clear().await;
            self.google.run.clear().await;
            let left = self.clear_runtime().await.map_err(io::Error::other).and(self.images.clear().await);
            if self.google.jobs.is_empty() && self.google.run.is_empty() {
                break left;
            }
            if let Err(error) = left {
                tracing::warn!(%error, "a part of a reset is done again");
            }
        };
        self.google.run.parts.operations.clear();
        self.google.repositories.clear();
        self.google.secrets.clear();
        self.google.projects.clear();
        self.google.logs.clear();
        self.google.accounts.clear();
        self.google.grants.clear();
        self.credentials.clear();
        self.iam.reset();
        left
    }

    /// What an engine keeps of the containers and images goes too.
    pub(crate) async fn clear_runtime(&self) -> Result<(), String> {
        match &self.containers {
            Some(containers) => containers.clear().await,
            None => Ok(()),
        }
    }
}

//! By which way a registry is reached: the cloud's own, any other, and both beside a local cloud.
use std::sync::Arc;

use async_trait::async_trait;
use carrack_core::{
    ErrorKind, Result,
    event::Ctx,
    provider::{Provider, RegistryAuth},
    spec::ImageRef,
};
use carrack_http::{Client, ClientOptions, endpoint::is_loopback};
use reqwest::Url;
use tokio::sync::OnceCell;

use crate::image::{DockerConfig, Way, Ways};

/// The registries that one run may speak to.
#[derive(Debug)]
pub struct Registries {
    provider: Arc<dyn Provider>,
    http: Client,
    docker: DockerConfig,
    /// To registries themselves, beside a local cloud.
    outside: OnceCell<Client>,
}

impl Registries {
    /// `http` goes to the cloud, or to the local one that stands in for it; `docker` has the credentials for the
    /// registries that are not the provider's.
    pub fn new(provider: Arc<dyn Provider>, http: Client, docker: DockerConfig) -> Self {
        Self { provider, http, docker, outside: OnceCell::new() }
    }

    /// To the registry itself, with what Docker has for it.
    async fn outside(&self, cx: &Ctx, image: &ImageRef) -> Result<Way> {
        Ok(Way { http: self.past_the_endpoint().await?, auth: self.docker.find(cx, host(image)).await? })
    }

    async fn past_the_endpoint(&self) -> Result<Client> {
        let http = match self.http.endpoint() {
            None => &self.http,
            // Made when it is needed: most deploys to a local cloud have no use for it.
            Some(_) => self.outside.get_or_try_init(async || Client::new(ClientOptions::default())).await?,
        };
        Ok(http.clone())
    }
}

#[async_trait]
impl Ways for Registries {
    /// Without a local cloud: with the cloud's credentials for its own registries, then with Docker's.
    ///
    /// Beside a local cloud what was pushed to it comes first. What it does not have comes from the registry itself,
    /// as nobody: Docker may have the user's cloud credentials for it, or a helper that fetches them.
    async fn pull(&self, cx: &Ctx, image: &ImageRef, number: usize) -> Result<Option<Way>> {
        let login = if is_local(image) { Ok(None) } else { self.provider.registry().login(cx, image).await };
        let beside = self.http.endpoint().is_some();
        let of_the_cloud = match login {
            Ok(auth) => auth,
            Err(error) if beside || error.kind() == ErrorKind::Cancelled => return Err(error),
            // A public image needs nobody's.
            Err(error) => {
                tracing::debug!(image = image.0, ?error, "the cloud gives no credentials for it");
                None
            }
        };
        match (of_the_cloud, number) {
            (Some(auth), 0) => Ok(Some(Way { http: self.http.clone(), auth: Some(auth) })),
            (Some(_), 1) if beside => Ok(Some(Way { http: self.past_the_endpoint().await?, auth: None })),
            (Some(_), 1) | (None, 0) => Ok(Some(self.outside(cx, image).await?)),
            _ => Ok(None),
        }
    }

    /// Beside a local cloud everything goes to it, but for registries on this machine.
    async fn push(&self, cx: &Ctx, image: &ImageRef) -> Result<Way> {
        let stand_in = self.http.endpoint().is_some() && !is_local(image);
        let auth: Option<RegistryAuth> = match self.provider.registry().login(cx, image).await? {
            Some(auth) => Some(auth),
            None if stand_in => None,
            None => self.docker.find(cx, host(image)).await?,
        };
        Ok(Way { http: self.http.clone(), auth })
    }
}

fn host(image: &ImageRef) -> &str {
    image.0.split('/').next().unwrap_or_default()
}

fn is_local(image: &ImageRef) -> bool {
    Url::parse(&format!("http://{}/", host(image))).is_ok_and(|url| is_loopback(&url))
}

#[cfg(test)]
mod tests {
    use carrack_core::spec::ProviderId;
    use carrack_http::Endpoint;

    use super::*;
    use crate::registry::{Access, LOCAL_PROVIDER, Place, connect};

    fn registries(access: &Access, docker: DockerConfig) -> Registries {
        let place = Place {
            provider: ProviderId(LOCAL_PROVIDER.into()),
            scope: "p".into(),
            region: "r".into(),
            federation: None,
        };
        let connection = connect(&place, access).expect("connected");
        Registries::new(connection.provider, connection.http, docker)
    }

    fn beside_a_local_cloud() -> Registries {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.json");
        let auths = r#"{"auths": {"gcr.io": {"auth": "Z29vZ2xlOg=="}, "docker.io": {"auth": "aHViOg=="}, "127.0.0.1:5": {"auth": "bWU6"}}}"#;
        std::fs::write(&file, auths).expect("write");
        let _ = folder.keep();
        let endpoint = Endpoint::parse("http://127.0.0.1:1").expect("an endpoint");
        registries(&Access::Endpoint { endpoint, token: "local".into() }, DockerConfig::at(file))
    }

    /// Who asks on each way, and whether that is the local cloud's.
    async fn ways(registries: &Registries, image: &str) -> Vec<(bool, Option<String>)> {
        let (cx, image, mut found) = (Ctx::silent(), ImageRef(image.into()), Vec::new());
        while let Some(way) = registries.pull(&cx, &image, found.len()).await.expect("a way") {
            found.push((way.http.endpoint().is_some(), way.auth.map(|auth| auth.user)));
        }
        found
    }

    #[tokio::test]
    async fn beside_a_local_cloud_it_comes_first_and_the_clouds_own_registry_after_it_as_nobody() {
        let registries = beside_a_local_cloud();
        let user = |name: &str| Some(name.to_owned());
        let local = (true, user("oauth2accesstoken"));
        // Docker has an entry for it, which may be the user's Google token.
        assert_eq!(ways(&registries, "gcr.io/distroless/static").await, [local.clone(), (false, None)]);
        assert_eq!(ways(&registries, "us-docker.pkg.dev/p/r/base:1").await, [local, (false, None)]);
        assert_eq!(ways(&registries, "docker.io/library/alpine:3").await, [(false, user("hub"))]);
        assert_eq!(ways(&registries, "127.0.0.1:5/base").await, [(false, user("me"))]);
    }

    #[tokio::test]
    async fn nobodys_credentials_go_to_a_local_cloud() {
        let registries = beside_a_local_cloud();
        let push = async |image: &str| {
            let way = registries.push(&Ctx::silent(), &ImageRef(image.into())).await.expect("a way");
            way.auth.map(|auth| auth.user)
        };
        assert_eq!(push("docker.io/me/hello").await, None);
        assert_eq!(push("gcr.io/p/hello").await.as_deref(), Some("oauth2accesstoken"));
        // It is not sent to the local cloud.
        assert_eq!(push("127.0.0.1:5/hello").await.as_deref(), Some("me"));
    }

    #[tokio::test]
    async fn with_a_cloud_dockers_credentials_come_after_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.json");
        std::fs::write(&file, r#"{"auths": {"gcr.io": {"auth": "Z29vZ2xlOg=="}}}"#).expect("write");
        let http = Client::new(ClientOptions::default()).expect("a client");
        // The provider has a token of its own, so that none of this machine's is looked for.
        let endpoint = Endpoint::parse("http://127.0.0.1:1").expect("an endpoint");
        let with_a_token = registries(&Access::Endpoint { endpoint, token: "t".into() }, DockerConfig::default());
        let registries = Registries::new(with_a_token.provider, http, DockerConfig::at(file));
        let user = |name: &str| (false, Some(name.to_owned()));
        assert_eq!(ways(&registries, "gcr.io/p/base").await, [user("oauth2accesstoken"), user("google")]);
        assert_eq!(ways(&registries, "ghcr.io/p/base").await, [(false, None)]);
    }

    #[tokio::test]
    async fn a_cloud_without_credentials_leaves_public_images_to_everybody() {
        let none = carrack_core::memory::Memory::default();
        let http = Client::new(ClientOptions::default()).expect("a client");
        let registries = Registries::new(Arc::new(none), http, DockerConfig::default());
        assert_eq!(ways(&registries, "gcr.io/distroless/static").await, [(false, None)]);
    }
}

//! By which way a registry is reached: the cloud's own, any other, and both beside a local cloud.
use std::sync::Arc;

use async_trait::async_trait;
use carrack_core::{
    ErrorKind, Result,
    event::Ctx,
    provider::{Provider, RegistryAuth},
    spec::ImageRef,
};
use carrack_http::{Client, endpoint::is_loopback};
use reqwest::Url;

use crate::image::{DockerConfig, Way, Ways};

/// The registries that one run may speak to.
#[derive(Clone, Debug)]
pub struct Registries {
    /// Knows its own registry and its credentials.
    pub provider: Arc<dyn Provider>,
    /// To the cloud, or to the local one that stands in for it.
    pub http: Client,
    /// To registries themselves, also beside a local cloud.
    pub outside: Client,
    /// What Docker knows of the others.
    pub docker: DockerConfig,
}

#[async_trait]
impl Ways for Registries {
    /// Without a local cloud: with the cloud's credentials for its own registries and Docker's for all others.
    ///
    /// Beside a local cloud what was pushed to it comes first. What it does not have comes from the registry itself,
    /// with Docker's credentials alone: nobody's cloud credentials are looked up for a local deploy.
    async fn pull(&self, cx: &Ctx, image: &ImageRef) -> Result<Vec<Way>> {
        let outside = async || {
            let auth = self.docker.find(cx, host(image)).await?;
            Ok(Way { http: self.outside.clone(), auth })
        };
        if is_local(image) {
            return Ok(vec![outside().await?]);
        }
        let login = self.provider.registry().login(cx, image).await;
        if self.http.endpoint().is_some() {
            let stand_in = login?.map(|auth| Way { http: self.http.clone(), auth: Some(auth) });
            return Ok(stand_in.into_iter().chain([outside().await?]).collect());
        }
        match login {
            Ok(Some(auth)) => Ok(vec![Way { http: self.http.clone(), auth: Some(auth) }]),
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            // A public image needs nobody's.
            other => {
                tracing::debug!(image = image.0, error = ?other.err(), "the cloud gives no credentials for it");
                Ok(vec![outside().await?])
            }
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

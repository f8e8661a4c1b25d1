//! Credentials and repositories for images: <https://cloud.google.com/artifact-registry/docs/reference/rest>.
use async_trait::async_trait;
use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    plan::ResourceRef,
    provider::{Registry, RegistryAuth},
    spec::ImageRef,
};
use carrack_http::Request;
use reqwest::Method;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    CloudRun,
    error::classify,
    operations::{self, Ended},
};

const BASE: &str = "https://artifactregistry.googleapis.com/v1";

/// The repository that images go to when the file names none.
const DEFAULT_REPOSITORY: &str = "carrack";

/// `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/…`.
struct Place<'a> {
    location: &'a str,
    project: &'a str,
    repository: &'a str,
}

fn place(image: &ImageRef) -> Option<Place<'_>> {
    let mut parts = image.repository().split('/');
    let location = parts.next()?.strip_suffix("-docker.pkg.dev")?;
    Some(Place { location, project: parts.next()?, repository: parts.next()? })
}

/// `gcr.io` names are served by Artifact Registry:
/// <https://cloud.google.com/artifact-registry/docs/transition/transition-from-gcr>.
fn is_google(image: &ImageRef) -> bool {
    let host = image.0.split('/').next().unwrap_or_default();
    host.ends_with("-docker.pkg.dev") || host == "gcr.io" || host.ends_with(".gcr.io")
}

#[async_trait]
impl Registry for CloudRun {
    fn default_repository(&self, image: &str) -> String {
        format!("{}-docker.pkg.dev/{}/{DEFAULT_REPOSITORY}/{image}", self.region, self.project)
    }

    async fn login(&self, cx: &Ctx, image: &ImageRef) -> Result<Option<RegistryAuth>> {
        if !is_google(image) {
            return Ok(None);
        }
        let token = self.token.token(cx).await?;
        // https://cloud.google.com/artifact-registry/docs/docker/authentication#token
        Ok(Some(RegistryAuth {
            user: "oauth2accesstoken".to_owned(),
            password: Zeroizing::new(token.value().to_owned()),
        }))
    }

    async fn ensure_repository(&self, cx: &Ctx, image: &ImageRef) -> Result<bool> {
        let Some(Place { location, project, repository }) = place(image) else { return Ok(false) };
        let parent = format!("{BASE}/projects/{project}/locations/{location}/repositories");
        let request = |method, url: String| Request::new(method, url).bearer(&self.token).classify(classify);
        let found = self.http.send(cx, request(Method::GET, format!("{parent}/{repository}")).accept(&[404])).await?;
        if found.status != 404 {
            return Ok(false);
        }
        let create = request(Method::POST, parent)
            .query("repositoryId", repository)
            .json(&json!({ "format": "DOCKER" }))?
            .accept(&[409]);
        let created = self.http.send(cx, create).await?;
        if created.status == 409 {
            // Somebody else made it a moment ago.
            return Ok(true);
        }
        match operations::wait(self, cx, BASE, created.json()?, ErrorKind::BuildFailed).await? {
            Ended::Done(_) => Ok(true),
            Ended::Failed { error, .. } => Err(on_repository(error, repository)),
        }
    }
}

fn on_repository(error: Error, repository: &str) -> Error {
    error.on(ResourceRef::new("repository", repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let image = ImageRef("us-central1-docker.pkg.dev/p/apps/hello@sha256:00".into());
        let found = place(&image).expect("a place");
        assert_eq!((found.location, found.project, found.repository), ("us-central1", "p", "apps"));
        assert!(place(&ImageRef("gcr.io/p/hello".into())).is_none());
        assert!(is_google(&ImageRef("eu.gcr.io/p/hello".into())));
        assert!(!is_google(&ImageRef("evilgcr.io/p/hello".into())));
    }
}

//! Credentials and repositories for images: <https://cloud.google.com/artifact-registry/docs/reference/rest>.
use std::time::Duration;

use async_trait::async_trait;
use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    plan::ResourceRef,
    poll::{Poll, PollPolicy, poll_until},
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
    operations::{self, Ended, Tells},
};

const BASE: &str = "https://artifactregistry.googleapis.com/v1";

/// The name that a token goes by: <https://cloud.google.com/artifact-registry/docs/docker/authentication#token>
const TOKEN_USER: &str = "oauth2accesstoken";

/// How long a repository that is being made is waited for.
const MAKING: Duration = Duration::from_secs(120);

/// The repository that images go to when the file names none.
const DEFAULT_REPOSITORY: &str = "carrack";

/// Hosts of Container Registry: each is one repository of a project, named as the host, in this location.
/// <https://cloud.google.com/artifact-registry/docs/transition/setup-gcr-repo>
const CONTAINER_REGISTRY: [(&str, &str); 4] =
    [("gcr.io", "us"), ("us.gcr.io", "us"), ("eu.gcr.io", "europe"), ("asia.gcr.io", "asia")];

/// `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/…` or `gcr.io/PROJECT/…`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) location: &'a str,
    pub(crate) project: String,
    pub(crate) repository: &'a str,
}

pub(crate) fn place(image: &ImageRef) -> Option<Place<'_>> {
    let mut parts = image.repository().split('/');
    let host = parts.next()?;
    let mut project = parts.next()?.to_owned();
    // A project of a domain: `example.com:apps` is `example.com/apps` in the name of an image.
    // https://cloud.google.com/artifact-registry/docs/docker/names#domain
    if project.contains('.') {
        project = format!("{project}:{}", parts.next()?);
    }
    if let Some((repository, location)) = CONTAINER_REGISTRY.iter().find(|(known, _)| *known == host) {
        // There is an image in it.
        parts.next()?;
        return Some(Place { location, project, repository });
    }
    Some(Place { location: host.strip_suffix("-docker.pkg.dev")?, project, repository: parts.next()? })
}

/// Where an image goes when the file does not say.
pub fn default_repository(project: &str, region: &str, image: &str) -> String {
    format!("{region}-docker.pkg.dev/{}/{DEFAULT_REPOSITORY}/{image}", project.replace(':', "/"))
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
        default_repository(&self.project, &self.region, image)
    }

    async fn login(&self, cx: &Ctx, image: &ImageRef) -> Result<Option<RegistryAuth>> {
        if !is_google(image) {
            return Ok(None);
        }
        let token = self.token.token(cx).await?;
        Ok(Some(RegistryAuth { user: TOKEN_USER.to_owned(), password: Zeroizing::new(token.value().to_owned()) }))
    }

    async fn renew(&self, cx: &Ctx, refused: &RegistryAuth) -> Result<bool> {
        Ok(refused.user == TOKEN_USER && self.token.renew(cx, &refused.password).await?.is_some())
    }

    async fn ensure_repository(&self, cx: &Ctx, image: &ImageRef) -> Result<bool> {
        let Some(Place { location, project, repository }) = place(image) else { return Ok(false) };
        let parent = format!("{BASE}/projects/{project}/locations/{location}/repositories");
        let request = |method, url: String| Request::new(method, url).bearer(&self.token).classify(classify);
        let found = self.http.send(cx, request(Method::GET, format!("{parent}/{repository}")).accept(&[404])).await?;
        if found.status != 404 {
            return Ok(false);
        }
        let create = request(Method::POST, parent.clone())
            .query("repositoryId", repository)
            .json(&json!({ "format": "DOCKER" }))?
            // A second one is refused, and then it is there.
            .idempotent()
            .accept(&[409]);
        let created = self.http.send(cx, create).await?;
        if created.status == 409 {
            // Somebody else made it a moment ago, or an attempt of ours whose answer was lost: it may not be there yet.
            let policy = PollPolicy { first: Duration::ZERO, ..PollPolicy::within(MAKING) };
            return poll_until(cx, policy, || async {
                let found = request(Method::GET, format!("{parent}/{repository}")).accept(&[404]);
                let found = self.http.send(cx, found).await?;
                Ok(if found.status == 404 { Poll::Pending } else { Poll::Ready(true) })
            })
            .await;
        }
        match operations::wait(self, cx, BASE, created.json()?, Tells::WhenAsked, ErrorKind::BuildFailed).await? {
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
        for (image, expected) in [
            ("us-central1-docker.pkg.dev/p/apps/hello@sha256:00", Some(("us-central1", "p", "apps"))),
            ("us-docker.pkg.dev/p/apps/team/hello", Some(("us", "p", "apps"))),
            ("us-docker.pkg.dev/example.com/p/apps/hello", Some(("us", "example.com:p", "apps"))),
            ("gcr.io/p/hello:v1", Some(("us", "p", "gcr.io"))),
            ("us.gcr.io/p/team/hello", Some(("us", "p", "us.gcr.io"))),
            ("eu.gcr.io/example.com/p/hello", Some(("europe", "example.com:p", "eu.gcr.io"))),
            ("asia.gcr.io/p/hello", Some(("asia", "p", "asia.gcr.io"))),
            ("gcr.io/p", None),
            ("mirror.gcr.io/library/alpine", None),
            ("docker.io/library/alpine", None),
        ] {
            let image = ImageRef(image.into());
            let found = place(&image).map(|found| (found.location, found.project, found.repository));
            let expected = expected.map(|(location, project, repository)| (location, project.to_owned(), repository));
            assert_eq!(found, expected, "{}", image.0);
        }
        assert!(is_google(&ImageRef("eu.gcr.io/p/hello".into())));
        assert!(!is_google(&ImageRef("evilgcr.io/p/hello".into())));
    }
}

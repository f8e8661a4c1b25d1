//! From a layout to a registry, in the fewest round trips, sending only what is missing.
use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use carrack_core::{Error, ErrorKind, Result, event::Ctx, provider::RegistryAuth, spec::ImageRef};
use carrack_http::{Body, Client, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::image::{ImageManifest, MediaType};
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};

use super::{
    layout::{Layout, digest_of},
    progress::Progress,
    refusal::unexpected,
    registry::{Access, Missing, Repository},
    upload::{Blob, check_digest, upload},
};

/// Uploads side by side; more gain little and are throttled sooner.
const UPLOADS: usize = 4;
/// Questions side by side.
const QUESTIONS: usize = 16;

/// Every kind of manifest that an image can have: OCI's, and Docker's before them.
/// <https://distribution.github.io/distribution/spec/manifest-v2-2/>
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Where an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `HOST/PATH`.
    pub repository: String,
    /// A name for it there.
    pub tag: Option<String>,
}

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// `HOST/PATH@sha256:…`.
    pub reference: String,
    /// Bytes of the blobs and manifests that the registry did not have.
    pub uploaded: u64,
    /// Whether the image was there already, under the tag when there is one.
    pub existed: bool,
}

/// Sends the image `digest` of the layout at `layout`. Idempotent: what is there is not sent again.
///
/// A missing repository is an error of kind `NotFound`, or `PermissionDenied` where the registry does not tell the
/// two apart.
pub async fn push(
    cx: &Ctx,
    http: &Client,
    auth: Option<&RegistryAuth>,
    layout: &Path,
    digest: &str,
    to: &Destination,
) -> Result<Pushed> {
    let layout = Layout::open(layout)?;
    let (bytes, manifest) = layout.manifest(digest)?;
    if let Some(tag) = &to.tag {
        check_tag(tag)?;
    }
    let repository = Repository::new(cx, http, auth, &to.repository, Access::Push)?;
    let image = Image { layout: &layout, digest, bytes, manifest };
    send(&repository, image, to).await
}

struct Image<'a> {
    layout: &'a Layout,
    digest: &'a str,
    bytes: Bytes,
    manifest: ImageManifest,
}

async fn send(repository: &Repository<'_>, image: Image<'_>, to: &Destination) -> Result<Pushed> {
    let mut pushed = Pushed { reference: format!("{}@{}", to.repository, image.digest), uploaded: 0, existed: true };
    let tagged = async {
        match &to.tag {
            Some(tag) => find(repository, tag).await,
            None => Ok(None),
        }
    };
    let (there, tagged) = futures_util::try_join!(find(repository, image.digest), tagged)?;
    if there.is_some() && (to.tag.is_none() || tagged.as_deref() == Some(image.digest)) {
        return Ok(pushed);
    }
    pushed.existed = false;
    if there.is_none() {
        pushed.uploaded = send_blobs(repository, &image).await?;
        pushed.uploaded += image.bytes.len() as u64;
    }
    let name = to.tag.as_deref().unwrap_or(image.digest);
    put_manifest(repository, &image, name).await?;
    Ok(pushed)
}

/// Sends the blobs that the repository lacks; answers how many bytes they have.
async fn send_blobs(repository: &Repository<'_>, image: &Image<'_>) -> Result<u64> {
    let descriptors = image.manifest.layers().iter().chain([image.manifest.config()]);
    // The same layer twice is one blob.
    let blobs: BTreeMap<&str, u64> =
        descriptors.map(|descriptor| (descriptor.digest().as_ref(), descriptor.size())).collect();
    let missing: Vec<Option<(&str, u64)>> = stream::iter(blobs)
        .map(|(digest, size)| async move {
            let there = has_blob(repository, digest).await?;
            Ok::<_, Error>((!there).then_some((digest, size)))
        })
        .buffer_unordered(QUESTIONS)
        .try_collect()
        .await?;
    let mut missing: Vec<(&str, u64)> = missing.into_iter().flatten().collect();
    // The longest first, so that the last one to end is a short one.
    missing.sort_by_key(|(digest, size)| (std::cmp::Reverse(*size), *digest));
    if let Some((digest, _)) = missing.iter().find(|(digest, size)| !image.layout.has(digest, *size)) {
        return Err(Error::new(ErrorKind::BuildFailed, format!("the layout has no whole blob `{digest}`"))
            .hint("build the image again"));
    }
    let total = missing.iter().map(|(_, size)| size).sum();
    let progress = Progress::new(repository.cx.events.clone(), total);
    stream::iter(missing)
        .map(|(digest, size)| {
            let part = progress.part();
            async move {
                let path = image.layout.blob(digest)?;
                let blob = Blob { path: &path, digest, size };
                upload(repository, blob, &part).await
            }
        })
        .buffer_unordered(UPLOADS)
        .try_collect::<()>()
        .await?;
    Ok(total)
}

async fn has_blob(repository: &Repository<'_>, digest: &str) -> Result<bool> {
    let mut url = repository.url(&format!("blobs/{digest}"))?;
    // Blobs may lie in a store of their own, which the registry sends us to.
    for _ in 0..3 {
        let response = repository.send(Method::HEAD, &url, Missing::Answer, |request| request).await;
        let response = match response {
            Ok(response) => response,
            // The store's address may be signed for a download alone. Sending what is there does no harm.
            Err(error) if url.as_str() != repository.url(&format!("blobs/{digest}"))?.as_str() => {
                tracing::debug!(digest, error = %error, "whether the blob exists is not known");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if !response.status.is_redirection() {
            return Ok(response.status.is_success());
        }
        url = repository.location(&response, &url)?;
    }
    Ok(false)
}

async fn put_manifest(repository: &Repository<'_>, image: &Image<'_>, name: &str) -> Result<()> {
    let url = repository.url(&format!("manifests/{name}"))?;
    let media_type = image.manifest.media_type().clone();
    let media_type = media_type.unwrap_or(MediaType::ImageManifest).to_string();
    let media_type = HeaderValue::from_str(&media_type)
        .map_err(|error| Error::new(ErrorKind::Internal, "the manifest's type is no header").with_source(error))?;
    let response = repository
        .send(Method::PUT, &url, Missing::Error, |request| {
            request.header(CONTENT_TYPE, media_type.clone()).body(Body::Bytes(image.bytes.clone()))
        })
        .await?;
    if response.status != StatusCode::CREATED {
        return Err(unexpected(&response, "to a manifest"));
    }
    check_digest(&response, image.digest)
}

/// The digest of the manifest that a reference names, when it is there. Idempotent.
///
/// `image` is by digest or by tag; without either it is the tag `latest`.
pub async fn exists(cx: &Ctx, http: &Client, auth: Option<&RegistryAuth>, image: &ImageRef) -> Result<Option<String>> {
    let repository = Repository::new(cx, http, auth, image.repository(), Access::Pull)?;
    let name = match (image.digest(), image.tag()) {
        (Some(digest), _) => {
            check_digest_text(digest)?;
            digest
        }
        (None, Some(tag)) => {
            check_tag(tag)?;
            tag
        }
        (None, None) => "latest",
    };
    find(&repository, name).await
}

async fn find(repository: &Repository<'_>, name: &str) -> Result<Option<String>> {
    let Some(response) = ask(repository, Method::HEAD, name).await? else {
        return Ok(None);
    };
    // A tag has no colon.
    if name.contains(':') {
        check_digest(&response, name)?;
        return Ok(Some(name.to_owned()));
    }
    if let Some(digest) = response.header("docker-content-digest") {
        return Ok(Some(digest.to_owned()));
    }
    // The header is not compulsory; the manifest itself always tells.
    let response = ask(repository, Method::GET, name).await?;
    Ok(response.map(|response| digest_of(&response.body)))
}

async fn ask(repository: &Repository<'_>, method: Method, name: &str) -> Result<Option<Response>> {
    let url = repository.url(&format!("manifests/{name}"))?;
    let response = repository
        .send(method, &url, Missing::Answer, |request| request.header(ACCEPT, HeaderValue::from_static(MANIFESTS)))
        .await?;
    match response.status {
        StatusCode::OK => Ok(Some(response)),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(unexpected(&response, "to the question for a manifest")),
    }
}

fn check_digest_text(digest: &str) -> Result<()> {
    let parsed: Result<oci_spec::image::Digest, _> = digest.parse();
    parsed.map(drop).map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, format!("`{digest}` is not a digest"))
            .with_source(error)
            .hint("write it as sha256: and 64 of 0-9 and a-f")
    })
}

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
fn check_tag(tag: &str) -> Result<()> {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let other = |c: char| first(c) || matches!(c, '.' | '-');
    if (1..=128).contains(&tag.len()) && tag.starts_with(first) && tag.chars().all(other) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::ConfigInvalid, format!("`{tag}` is not a tag"))
        .hint("use 1 to 128 letters, digits, `_`, `.` and `-`, with no `.` or `-` at the start"))
}

#[cfg(test)]
mod tests;

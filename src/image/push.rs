//! From a layout to a registry, in the fewest round trips, sending only what is missing.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    spec::ImageRef,
};
use carrack_http::Body;
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::image::{ImageManifest, MediaType};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::{
    layout::{Layout, digest_of},
    manifest::BASE_NAME,
    progress::Progress,
    pull::{self, ask},
    refusal::unexpected,
    registry::{Access, Missing, Repository},
    upload::{Blob, Mounted, check_digest, has_blob, mount, upload},
    ways::{Pull, Way, Ways},
};

/// Uploads side by side; more gain little and are throttled sooner.
const UPLOADS: usize = 4;
/// Questions side by side.
const QUESTIONS: usize = 16;

/// Where an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `HOST/PATH`.
    pub repository: String,
    /// A name for it there.
    pub tag: Option<Tag>,
}

/// A name for an image. A repository may be set so that its tags do not move:
/// <https://goharbor.io/docs/latest/working-with-projects/working-with-images/create-tag-immutability-rules/>,
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The push has failed when the registry refuses it.
    Required(String),
    /// The image is used by its digest: a refusal is a warning.
    Wanted(String),
}

impl Tag {
    /// Its text.
    pub fn name(&self) -> &str {
        match self {
            Self::Required(name) | Self::Wanted(name) => name,
        }
    }
}

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// `HOST/PATH@sha256:…`.
    pub reference: String,
    /// Bytes of the blobs and manifests that were sent.
    pub uploaded: u64,
    /// Whether the image was there already, under the tag when there is one.
    pub existed: bool,
}

/// Sends the image `digest` of the layout at `layout`. Idempotent: what is there is not sent again.
///
/// Layers of the base that are not in the layout are mounted where the registry has them already, else they come
/// from the base's registry. A missing repository is an error of kind `NotFound`, or `PermissionDenied` where the
/// registry does not tell the two apart.
pub async fn push(cx: &Ctx, ways: &dyn Ways, layout: &Path, digest: &str, to: &Destination) -> Result<Pushed> {
    let layout = Layout::open(layout)?;
    let (bytes, manifest) = layout.manifest(digest)?;
    if let Some(tag) = &to.tag {
        check_tag(tag.name())?;
    }
    let Way { http, auth } = ways.push(cx, &ImageRef(format!("{}@{digest}", to.repository))).await?;
    let mut repository = Repository::new(cx, &http, auth.as_ref(), &to.repository, Access::Push)?;
    let base = manifest.annotations().as_ref().and_then(|all| all.get(BASE_NAME)).cloned().map(ImageRef);
    let mut image = Image { layout: &layout, digest, bytes, manifest, mounts: BTreeMap::new() };
    image.mounts = mounts(&repository, &image, base.as_ref());
    for path in image.mounts.values().collect::<BTreeSet<_>>() {
        repository = repository.also_pulls(path);
    }
    let origin = base.as_ref().map(|reference| Origin { ways: Pull::new(ways, reference), reference });
    send(&repository, &image, origin.as_ref(), to).await
}

/// Where layers come from that are not in the layout.
struct Origin<'a> {
    ways: Pull<'a>,
    reference: &'a ImageRef,
}

impl Origin<'_> {
    async fn fetch(&self, cx: &Ctx, layout: &Layout, blob: (&str, u64), share: &super::progress::Part) -> Result<()> {
        let fetched = self.ways.first(cx, async |Way { http, auth }| {
            let repository = Repository::new(cx, &http, auth.as_ref(), self.reference.repository(), Access::Pull)?;
            pull::blob(&repository, layout, blob, share).await
        });
        let Err(cause) = fetched.await else { return Ok(()) };
        if !matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) {
            return Err(cause);
        }
        let error =
            Error::new(ErrorKind::BuildFailed, format!("a layer of `{}` is not there any more", self.reference.0));
        Err(error.hint("build again, with a base that its registry still has").with_source(cause))
    }
}

/// Other repositories of the same registry that have a blob: the base's, and where it was pushed before.
fn mounts(repository: &Repository<'_>, image: &Image<'_>, base: Option<&ImageRef>) -> BTreeMap<String, String> {
    let (own, remembers) = (repository.path(), remembers(repository));
    let base = base.and_then(|base| repository.sibling(base.repository()));
    let from_base = base.filter(|path| path != own);
    let blobs = image.blobs().into_keys();
    let with_place = blobs.filter_map(|digest| {
        // What lies in the layout is our own, or was copied once: the base's registry may not have it.
        let known = remembers.then(|| image.layout.pushed_to(digest, &repository.host())).flatten();
        let place = known.filter(|path| path != own).or_else(|| from_base.clone());
        Some((digest.to_owned(), place?))
    });
    with_place.collect()
}

/// A local cloud answers in the name of a registry that has none of its blobs, and forgets them with its state.
fn remembers(repository: &Repository<'_>) -> bool {
    repository.http.endpoint().is_none()
}

struct Image<'a> {
    layout: &'a Layout,
    digest: &'a str,
    bytes: Bytes,
    manifest: ImageManifest,
    /// From which repository each blob may be mounted.
    mounts: BTreeMap<String, String>,
}

impl Image<'_> {
    /// Each blob once, also when two layers are the same.
    fn blobs(&self) -> BTreeMap<&str, u64> {
        let descriptors = self.manifest.layers().iter().chain([self.manifest.config()]);
        descriptors.map(|descriptor| (descriptor.digest().as_ref(), descriptor.size())).collect()
    }
}

async fn send(
    repository: &Repository<'_>,
    image: &Image<'_>,
    origin: Option<&Origin<'_>>,
    to: &Destination,
) -> Result<Pushed> {
    let mut pushed = Pushed { reference: format!("{}@{}", to.repository, image.digest), uploaded: 0, existed: true };
    let tagged = async {
        match &to.tag {
            Some(tag) => find(repository, tag.name()).await,
            None => Ok(None),
        }
    };
    let (there, tagged) = futures_util::try_join!(find(repository, image.digest), tagged)?;
    if there.is_some() && (to.tag.is_none() || tagged.as_deref() == Some(image.digest)) {
        return Ok(pushed);
    }
    pushed.existed = false;
    if there.is_none() {
        pushed.uploaded = send_blobs(repository, image, origin).await?;
        pushed.uploaded += image.bytes.len() as u64;
    }
    let Some(tag) = &to.tag else {
        put_manifest(repository, image, image.digest).await?;
        return Ok(pushed);
    };
    // Under a tag it is there by its digest too, in one round trip.
    let refusal = match put_manifest(repository, image, tag.name()).await {
        Err(error) if is_refusal(&error) => error,
        other => return other.map(|()| pushed),
    };
    match tag {
        Tag::Required(name) if tagged.is_some() => {
            Err(refusal.hint(format!("`{name}` names another image there: choose another, `carrack push --tag NAME`")))
        }
        Tag::Required(_) => Err(refusal),
        Tag::Wanted(name) => {
            if there.is_none() {
                put_manifest(repository, image, image.digest).await?;
            }
            let message = format!("the registry refused the tag `{name}`, and the digest is used alone: {refusal}");
            repository.cx.events.emit(Event::Warning { message });
            Ok(pushed)
        }
    }
}

/// The registry will not have it, today or tomorrow.
fn is_refusal(error: &Error) -> bool {
    let other = matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Timeout | ErrorKind::Unauthenticated);
    !other && !error.kind().is_retryable()
}

/// Sends the blobs that the repository lacks; answers how many bytes they have.
async fn send_blobs(repository: &Repository<'_>, image: &Image<'_>, origin: Option<&Origin<'_>>) -> Result<u64> {
    let missing: Vec<Option<(&str, u64)>> = stream::iter(image.blobs())
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
    let absent = |(digest, size): &&(&str, u64)| !image.layout.has(digest, *size);
    if let (None, Some((digest, _))) = (origin, missing.iter().find(absent)) {
        return Err(Error::new(ErrorKind::BuildFailed, format!("the layout has no whole blob `{digest}`"))
            .hint("build the image again"));
    }
    let bytes = |blobs: &[&(&str, u64)]| blobs.iter().map(|(_, size)| size).sum::<u64>();
    // What has to come first counts too.
    let total = bytes(&missing.iter().collect::<Vec<_>>()) + bytes(&missing.iter().filter(absent).collect::<Vec<_>>());
    let progress = Progress::new(repository.cx.events.clone(), total);
    stream::iter(missing)
        .map(|blob| send_blob(repository, image, origin, blob, &progress))
        .buffer_unordered(UPLOADS)
        .try_fold(0, async |sum, sent| Ok(sum + sent))
        .await
}

/// Brings one blob there; answers how many bytes were sent for it.
async fn send_blob(
    repository: &Repository<'_>,
    image: &Image<'_>,
    origin: Option<&Origin<'_>>,
    (digest, size): (&str, u64),
    progress: &Arc<Progress>,
) -> Result<u64> {
    let part = progress.part();
    let fetched = (!image.layout.has(digest, size)).then(|| progress.part());
    let mut session = None;
    if let Some(from) = image.mounts.get(digest) {
        match mount(repository, digest, from).await? {
            Mounted::Yes => {
                part.add(size);
                fetched.iter().for_each(|fetched| fetched.add(size));
                return Ok(0);
            }
            Mounted::No(opened) => session = opened,
        }
    }
    if let (Some(origin), Some(fetched)) = (origin, &fetched) {
        let message = format!("fetching layer {digest} of {}", origin.reference.0);
        repository.cx.events.emit(Event::Note { message });
        origin.fetch(repository.cx, image.layout, (digest, size), fetched).await?;
    }
    let path = image.layout.blob(digest)?;
    upload(repository, Blob { path: &path, digest, size }, &part, session).await?;
    if remembers(repository) {
        image.layout.remember_push(digest, &repository.host(), repository.path());
    }
    Ok(size)
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
pub async fn exists(cx: &Ctx, Way { http, auth }: &Way, image: &ImageRef) -> Result<Option<String>> {
    let repository = Repository::new(cx, http, auth.as_ref(), image.repository(), Access::Pull)?;
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

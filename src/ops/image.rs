//! From what the file says of the image to one reference by digest that the registry has.
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event, Phase},
    evidence::{Evidence, Sign},
    provider::Provider,
    spec::{ImageRef, ServiceSpec},
};
use futures_util::future::try_join_all;
use tokio::{sync::OnceCell, time::Instant};

use crate::image::{
    Base, Below, BuildSpec, Built, Recipe, Ways, base, build, dockerfile,
    layout::Layout,
    push::{Destination, Pushed, Tag, exists, push},
};

/// An image on this disk, and where it belongs.
#[derive(Clone, Debug)]
pub struct LocalImage {
    /// What was built.
    pub built: Built,
    /// `HOST/PATH`.
    pub repository: String,
    /// What else is built and pushed in this run.
    pub images: Arc<Images>,
}

/// The images of one run, over all of its services: each is built once, and pushed once to each place.
#[derive(Debug, Default)]
pub struct Images {
    built: Known<(Recipe, PathBuf), Built>,
    pushed: Known<(ImageRef, Tag), Pushed>,
}

type Known<K, T> = Mutex<Vec<(K, Once<T>)>>;

/// What is made by whoever comes first; of a failure the others get the short form.
type Once<T> = Arc<OnceCell<Result<T, (ErrorKind, String)>>>;

impl Images {
    async fn build(&self, cx: &Ctx, ways: &dyn Ways, recipe: &Recipe, layout: &Path) -> Result<Built> {
        let cell = of(&self.built, (recipe.clone(), layout.to_owned()));
        once(&cell, build_image(cx, ways, recipe, layout)).await
    }

    async fn push(
        &self,
        cx: &Ctx,
        provider: &dyn Provider,
        ways: &dyn Ways,
        image: &LocalImage,
        tag: Tag,
    ) -> Result<Pushed> {
        let cell = of(&self.pushed, (image.reference(), tag.clone()));
        once(&cell, push_image(cx, provider, ways, image, tag)).await
    }
}

fn of<K: PartialEq, T>(all: &Known<K, T>, key: K) -> Once<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, cell)) = all.iter().find(|(known, _)| *known == key) {
        return Arc::clone(cell);
    }
    let cell = Once::default();
    all.push((key, Arc::clone(&cell)));
    cell
}

async fn once<T: Clone>(
    cell: &OnceCell<Result<T, (ErrorKind, String)>>,
    make: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut own = None;
    let made = cell.get_or_init(async || {
        let made = make.await;
        made.map_err(|error| {
            let short = (error.kind(), error.to_string());
            own = Some(error);
            short
        })
    });
    match (made.await, own) {
        (_, Some(error)) => Err(error),
        (Ok(made), None) => Ok(made.clone()),
        (Err((kind, text)), None) => {
            let text = format!("the same image of another service failed: {text}");
            Err(Error::new(*kind, text))
        }
    }
}

/// The image by this recipe, built unless this run has built it.
pub(super) async fn built_once(
    cx: &Ctx,
    ways: &dyn Ways,
    (recipe, layout): (&Recipe, &Path),
    repository: &str,
    images: &Arc<Images>,
) -> Result<LocalImage> {
    let built = images.build(cx, ways, recipe, layout).await?;
    Ok(LocalImage { built, repository: repository.to_owned(), images: Arc::clone(images) })
}

/// Pushes it unless this run has pushed it there.
pub(super) async fn pushed_once(
    cx: &Ctx,
    provider: &dyn Provider,
    ways: &dyn Ways,
    image: &LocalImage,
    tag: Tag,
) -> Result<Pushed> {
    image.images.push(cx, provider, ways, image, tag).await
}

impl LocalImage {
    /// By digest, as it is deployed.
    pub fn reference(&self) -> ImageRef {
        ImageRef(format!("{}@{}", self.repository, self.built.digest))
    }
}

/// Builds into the layout folder; says what came of it.
pub async fn build_image(cx: &Ctx, ways: &dyn Ways, recipe: &Recipe, layout: &Path) -> Result<Built> {
    let started = Instant::now();
    cx.events.emit(Event::PhaseStarted { phase: Phase::Build, message: recipe.name().to_owned() });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let built = match recipe {
        Recipe::Files(spec) => {
            let base = find_base(cx, ways, spec, layout).await?;
            build(cx, spec, base, layout, threads).await?
        }
        Recipe::Dockerfile(spec) => dockerfile::build(cx, spec, layout, threads).await?,
    };
    let message = format!("{} ({})", built.digest, megabytes(built.size));
    cx.events.emit(Event::PhaseFinished { phase: Phase::Build, message, elapsed: started.elapsed() });
    Ok(built)
}

/// A name that can move is looked up, and said by the digest that a file would pin it with.
async fn find_base<'a>(cx: &Ctx, ways: &'a dyn Ways, spec: &BuildSpec, layout: &Path) -> Result<Option<Below<'a>>> {
    let Base::Image(reference) = &spec.base else { return Ok(None) };
    let found = base::find(cx, ways, reference, spec.platform, &Layout::create(layout)?).await?;
    if reference.digest().is_none() {
        cx.events.emit(Event::Note { message: format!("the base {} is {}", reference.0, found.pinned()) });
    }
    Ok(Some(Below { image: found, ways }))
}

/// Pushes what the registry lacks; makes the repository when it is missing.
pub async fn push_image(
    cx: &Ctx,
    provider: &dyn Provider,
    ways: &dyn Ways,
    image: &LocalImage,
    tag: Tag,
) -> Result<Pushed> {
    let started = Instant::now();
    let reference = image.reference();
    cx.events.emit(Event::PhaseStarted { phase: Phase::Push, message: image.repository.clone() });
    let to = Destination { repository: image.repository.clone(), tag: Some(tag) };
    let send = || push(cx, ways, &image.built.layout, &image.built.digest, &to);
    let send = async || match send().await {
        // Credentials may end in the middle of a long push; what it has sent stays there.
        Err(error) if error.kind() == ErrorKind::Unauthenticated => {
            let Some(refused) = ways.push(cx, &reference).await?.auth else { return Err(error) };
            if provider.registry().renew(cx, &refused).await? { send().await } else { Err(error) }
        }
        other => other,
    };
    let pushed = match send().await {
        // A missing repository looks like one that may not be written to.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            if !provider.registry().ensure_repository(cx, &reference).await? {
                return Err(error);
            }
            cx.events.emit(Event::Note { message: format!("made the repository of {}", image.repository) });
            send().await?
        }
        other => other?,
    };
    let message = if pushed.existed {
        format!("{} (already there)", pushed.reference)
    } else {
        format!("{} ({})", pushed.reference, megabytes(pushed.uploaded))
    };
    cx.events.emit(Event::PhaseFinished { phase: Phase::Push, message, elapsed: started.elapsed() });
    Ok(pushed)
}

/// The reference by digest; a tag is looked up in the registry.
pub async fn pinned(cx: &Ctx, ways: &dyn Ways, image: &ImageRef) -> Result<ImageRef> {
    if image.digest().is_some() {
        return Ok(image.clone());
    }
    let digest = require(cx, ways, image).await?;
    Ok(ImageRef(format!("{}@{digest}", image.repository())))
}

/// The same for each sidecar that the file names an image of, side by side.
pub async fn pinned_sidecars(cx: &Ctx, ways: &dyn Ways, spec: &ServiceSpec) -> Result<Vec<(String, ImageRef)>> {
    let named = spec.workload.sidecars.iter().filter_map(|(name, sidecar)| Some((name, sidecar.image.as_ref()?)));
    let each = named.map(async |(name, image)| match pinned(cx, ways, image).await {
        Ok(image) => Ok((name.clone(), image)),
        Err(error) => Err(error.at_field(format!("sidecars.{name}.image"))),
    });
    try_join_all(each).await
}

/// The digest of an image that the registry has, or an error that says that it has not.
pub async fn require(cx: &Ctx, ways: &dyn Ways, image: &ImageRef) -> Result<String> {
    // It is asked where the cloud will look for it.
    let way = ways.push(cx, image).await?;
    match exists(cx, &way, image).await {
        Ok(Some(digest)) => Ok(digest),
        Ok(None) => Err(not_there(image)),
        // A missing repository looks like one that may not be read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(not_there(image).with_source(error)),
        Err(error) => Err(error),
    }
}

fn not_there(image: &ImageRef) -> Error {
    let evidence =
        Evidence { signs: vec![Sign::ImageNotFound { list: None }], image: Some(image.clone()), ..Evidence::default() };
    let error = Error::new(ErrorKind::NotFound, format!("the registry does not have `{}`", image.0)).at_field("image");
    match evidence.cause() {
        Some(cause) => error.with_cause(cause),
        None => error,
    }
}

fn megabytes(bytes: u64) -> String {
    if bytes < 100_000 { format!("{:.1} kB", bytes as f64 / 1e3) } else { format!("{:.1} MB", bytes as f64 / 1e6) }
}

//! What a base has in its folders: its layers are fetched to know that, each one once.
use std::collections::BTreeMap;

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    spec::ImageRef,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    base::BaseImage,
    layout::Layout,
    listing::{Listing, is_here, is_readable},
    progress::Progress,
    pull,
    registry::{Access, Repository},
    spec::{BASE, invalid},
    ways::{Pull, Way, Ways},
};

/// Downloads side by side.
const DOWNLOADS: usize = 4;

/// The image below ours, and the ways to where it lies.
#[derive(Clone, Debug)]
pub struct Below<'a> {
    /// What [`super::base::find`] found.
    pub image: BaseImage,
    /// To its registry.
    pub ways: &'a dyn Ways,
}

impl Below<'_> {
    /// Every name in it.
    pub(crate) async fn listing(&self, cx: &Ctx, layout: &Layout) -> Result<Listing> {
        let name = &self.image.name;
        if !self.image.layers.iter().all(is_readable) {
            return Err(invalid(BASE, format!("`{name}` has a layer in zstd, whose folders cannot be looked at"))
                .hint("copy the files into `/` itself, such as to = \"/app\", or take a base with gzip layers"));
        }
        // Empty layers are often there twice.
        let away: BTreeMap<&str, u64> = self
            .image
            .layers
            .iter()
            .filter(|layer| !is_here(layer, layout))
            .map(|layer| (layer.digest.as_str(), layer.size))
            .collect();
        if !away.is_empty() {
            self.fetch(cx, layout, away).await?;
        }
        let (image, layout) = (self.image.clone(), layout.clone());
        let listing = tokio::task::spawn_blocking(move || Listing::of(&image, &layout)).await;
        let listing = listing.map_err(|error| {
            Error::new(ErrorKind::Internal, "reading the base's layers broke off").with_source(error)
        })?;
        listing.ok_or_else(|| invalid(BASE, format!("`{name}` cannot be a base: a layer of it cannot be read")))
    }

    async fn fetch(&self, cx: &Ctx, layout: &Layout, layers: BTreeMap<&str, u64>) -> Result<()> {
        let name = ImageRef(self.image.name.clone());
        let megabytes = layers.values().sum::<u64>() as f64 / 1e6;
        let message = format!("fetching {} ({megabytes:.1} MB), to keep its folders as they are", name.0);
        cx.events.emit(Event::Note { message });
        let ways = Pull::new(self.ways, &name);
        stream::iter(layers)
            .map(|layer| fetch_layer(cx, &ways, &name, layout, layer))
            .buffer_unordered(DOWNLOADS)
            .try_collect()
            .await
    }
}

async fn fetch_layer(cx: &Ctx, ways: &Pull<'_>, name: &ImageRef, layout: &Layout, layer: (&str, u64)) -> Result<()> {
    let uncounted = Progress::silent().part();
    let fetched = ways.first(cx, async |Way { http, auth }| {
        let repository = Repository::new(cx, &http, auth.as_ref(), name.repository(), Access::Pull)?;
        pull::blob(&repository, layout, layer, &uncounted).await
    });
    fetched.await.map_err(|error| {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let message = format!("the registry does not have all layers of `{}`", name.0);
        Error::new(ErrorKind::NotFound, message)
            .with_source(error)
            .at_field(BASE)
            .hint("take a base that its registry still has")
    })
}

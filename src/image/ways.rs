//! How registries are reached, and as whom: decided outside, asked for only when something must be sent.
use async_trait::async_trait;
use carrack_core::{Result, event::Ctx, provider::RegistryAuth, spec::ImageRef};
use carrack_http::Client;

/// One way to a registry.
#[derive(Clone, Debug)]
pub struct Way {
    /// Who sends the requests, and where they really go.
    pub http: Client,
    /// Name and password; none asks as anybody.
    pub auth: Option<RegistryAuth>,
}

/// Finds the way to the registry of an image.
#[async_trait]
pub trait Ways: std::fmt::Debug + Sync {
    /// To pull from: each is tried in turn until one has the image.
    async fn pull(&self, cx: &Ctx, image: &ImageRef) -> Result<Vec<Way>>;

    /// To push to.
    async fn push(&self, cx: &Ctx, image: &ImageRef) -> Result<Way>;
}

/// The same way to every registry.
#[cfg(test)]
#[async_trait]
impl Ways for Way {
    async fn pull(&self, _: &Ctx, _: &ImageRef) -> Result<Vec<Way>> {
        Ok(vec![self.clone()])
    }
    async fn push(&self, _: &Ctx, _: &ImageRef) -> Result<Way> {
        Ok(self.clone())
    }
}

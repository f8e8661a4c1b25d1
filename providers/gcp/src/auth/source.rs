//! The chosen way as the one source of tokens.
use std::{fmt, sync::Arc};

use async_trait::async_trait;
use carrack_core::{Result, event::Ctx};
use carrack_http::{Client, Identity, Token, TokenSource};
use tokio::sync::OnceCell;

use super::{
    SCOPES,
    asker::Asker,
    choose::choose,
    surroundings::Surroundings,
    way::{Way, from_library, inward},
};

/// Chooses when it is first asked, and stays with it.
pub(super) struct Chosen {
    surroundings: Surroundings,
    http: Client,
    way: OnceCell<Arc<dyn Way>>,
}

impl Chosen {
    pub(super) fn new(surroundings: Surroundings, http: Client) -> Self {
        Self { surroundings, http, way: OnceCell::new() }
    }

    async fn way(&self, cx: &Ctx) -> Result<&Arc<dyn Way>> {
        let choosing = || choose(&self.surroundings, Asker::new(self.http.clone(), cx.clone()));
        self.way.get_or_try_init(choosing).await
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chosen").field(&self.way.get()).finish()
    }
}

#[async_trait]
impl TokenSource for Chosen {
    async fn fetch(&self, cx: &Ctx) -> Result<Token> {
        let token = self.way(cx).await?.token(SCOPES).await.map_err(inward)?;
        Ok(from_library(&token))
    }
    async fn renew(&self, cx: &Ctx) -> Result<Option<Token>> {
        if self.way(cx).await?.has_more() { self.fetch(cx).await.map(Some) } else { Ok(None) }
    }
    async fn id_token(&self, cx: &Ctx, audience: &str) -> Result<Token> {
        self.way(cx).await?.id_token(audience).await
    }
    async fn identity(&self, cx: &Ctx) -> Result<Identity> {
        let way = self.way(cx).await?;
        let mut identity = way.identity();
        if identity.project.is_none() {
            // Not every way knows one.
            identity.project = way.project_id().await.ok().map(|project| project.to_string());
        }
        Ok(identity)
    }
    fn principal(&self) -> Option<&str> {
        self.way.get()?.principal()
    }
    fn remedy(&self) -> &str {
        self.way.get().map_or("`carrack auth show` says whose credentials are used", |way| way.remedy())
    }
}

//! Tokens: a source fetches them, the one cache keeps them until shortly before they end.
use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use carrack_core::{Result, event::Ctx, poll::bounded};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;

/// How long before its end a token is fetched anew.
const EARLY: Duration = Duration::from_secs(120);

/// An access token. Its value is never shown.
#[derive(Clone)]
pub struct Token {
    value: String,
    /// `None` = it does not end.
    expires: Option<Timestamp>,
}

impl Token {
    /// A token, and when it ends.
    pub fn new(value: impl Into<String>, expires: Option<Timestamp>) -> Self {
        Self { value: value.into(), expires }
    }
    /// The value, for the one header that carries it.
    pub fn value(&self) -> &str {
        &self.value
    }
    /// When it ends, where that is known.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
    fn fresh(&self) -> bool {
        self.expires.is_none_or(|end| Timestamp::now().duration_until(end).as_secs() > EARLY.as_secs() as i64)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(REDACTED, expires {:?})", self.expires)
    }
}

/// Whose credentials these are, and where they were found. Nothing of it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Who the tokens speak for, where that is known.
    pub principal: Option<String>,
    /// What they are: `service account key`.
    pub kind: &'static str,
    /// The file, variable or server that they come from.
    pub from: String,
    /// The project that they belong to, where they say one.
    pub project: Option<String>,
    /// Whose own credentials stand behind, when this is another's identity.
    pub through: Option<Box<Identity>>,
}

/// Where tokens come from.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// Fetches a new token.
    async fn fetch(&self, cx: &Ctx) -> Result<Token>;
    /// Another token in place of one that was refused before its end; `None` when there is only the one.
    async fn renew(&self, cx: &Ctx) -> Result<Option<Token>>;
    /// A token that says who this is to `audience`: for a private service. It is not kept.
    async fn id_token(&self, cx: &Ctx, audience: &str) -> Result<Token>;
    /// Whose credentials these are; finds them when nothing was fetched yet.
    async fn identity(&self, cx: &Ctx) -> Result<Identity>;
    /// Who the token speaks for, where that is known without asking.
    fn principal(&self) -> Option<&str>;
    /// What to do when its token is refused, with a command to type.
    fn remedy(&self) -> &str;
}

/// The one cache: one token at a time, fetched by one caller while the others wait. No source is waited for longer than
/// the user allows: it may ask a program or a file that never answers.
#[derive(Clone, Debug)]
pub struct TokenCache {
    source: Arc<dyn TokenSource>,
    held: Arc<Mutex<Option<Token>>>,
}

impl TokenCache {
    /// A cache over `source`; nothing is fetched yet.
    pub fn new(source: Arc<dyn TokenSource>) -> Self {
        Self { source, held: Arc::default() }
    }

    /// A token that is good for a while.
    pub async fn token(&self, cx: &Ctx) -> Result<Token> {
        let fetching = async {
            let mut held = self.held.lock().await;
            if let Some(token) = held.as_ref().filter(|token| token.fresh()) {
                return Ok(token.clone());
            }
            let token = self.source.fetch(cx).await?;
            *held = Some(token.clone());
            Ok(token)
        };
        bounded(cx, "fetching an access token", fetching).await?
    }

    /// Another token in place of `refused`; of several callers one fetches it. `None` when there is only the one.
    pub async fn renew(&self, cx: &Ctx, refused: &str) -> Result<Option<Token>> {
        let renewing = async {
            let mut held = self.held.lock().await;
            if let Some(token) = held.as_ref().filter(|token| token.value != refused) {
                return Ok(Some(token.clone()));
            }
            let token = self.source.renew(cx).await?;
            held.clone_from(&token);
            Ok(token)
        };
        bounded(cx, "fetching another access token", renewing).await?
    }

    /// A token that says who this is to `audience`.
    pub async fn id_token(&self, cx: &Ctx, audience: &str) -> Result<Token> {
        bounded(cx, "fetching an ID token", self.source.id_token(cx, audience)).await?
    }

    /// Whose credentials these are.
    pub async fn identity(&self, cx: &Ctx) -> Result<Identity> {
        bounded(cx, "finding the credentials", self.source.identity(cx)).await?
    }

    /// Who the tokens speak for.
    pub fn principal(&self) -> Option<&str> {
        self.source.principal()
    }

    /// What to do when a token is refused.
    pub fn remedy(&self) -> &str {
        self.source.remedy()
    }
}

/// A token that was given, by the user or by the local cloud.
#[derive(Debug)]
pub struct FixedToken {
    /// The token.
    pub token: Token,
    /// Who it speaks for.
    pub principal: Option<String>,
}

#[async_trait]
impl TokenSource for FixedToken {
    async fn fetch(&self, _cx: &Ctx) -> Result<Token> {
        Ok(self.token.clone())
    }
    async fn renew(&self, _cx: &Ctx) -> Result<Option<Token>> {
        Ok(None)
    }
    /// A local cloud takes its token for its services too.
    async fn id_token(&self, _cx: &Ctx, _audience: &str) -> Result<Token> {
        Ok(self.token.clone())
    }
    async fn identity(&self, _cx: &Ctx) -> Result<Identity> {
        let from = "the local cloud".to_owned();
        Ok(Identity { principal: self.principal.clone(), kind: "given token", from, ..Identity::default() })
    }
    fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }
    fn remedy(&self) -> &str {
        "`carrack emulator env` prints the local cloud's token; with CARRACK_ENDPOINT set CARRACK_ENDPOINT_TOKEN anew"
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use carrack_core::ErrorKind;
    use tokio::time::Instant;

    use super::*;

    /// A program that never answers.
    #[derive(Debug)]
    struct Silent;

    #[async_trait]
    impl TokenSource for Silent {
        async fn fetch(&self, _cx: &Ctx) -> Result<Token> {
            pending().await
        }
        async fn renew(&self, _cx: &Ctx) -> Result<Option<Token>> {
            pending().await
        }
        async fn id_token(&self, _cx: &Ctx, _audience: &str) -> Result<Token> {
            pending().await
        }
        async fn identity(&self, _cx: &Ctx) -> Result<Identity> {
            pending().await
        }
        fn principal(&self) -> Option<&str> {
            None
        }
        fn remedy(&self) -> &str {
            ""
        }
    }

    /// What each of the calls ends with.
    async fn ends(cx: &Ctx) -> [ErrorKind; 4] {
        let cache = TokenCache::new(Arc::new(Silent));
        [
            cache.token(cx).await.unwrap_err().kind(),
            cache.renew(cx, "refused").await.unwrap_err().kind(),
            cache.id_token(cx, "https://a").await.unwrap_err().kind(),
            cache.identity(cx).await.unwrap_err().kind(),
        ]
    }

    #[tokio::test]
    async fn a_source_that_never_answers_is_waited_for_until_the_deadline_or_an_interrupt() {
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(ends(&Ctx { deadline: Some(soon), ..Ctx::silent() }).await, [ErrorKind::Timeout; 4]);

        let cx = Ctx::silent();
        cx.cancel.cancel();
        assert_eq!(ends(&cx).await, [ErrorKind::Cancelled; 4]);
    }

    #[tokio::test]
    async fn whoever_waits_for_anothers_fetch_waits_no_longer_either() {
        let cache = TokenCache::new(Arc::new(Silent));
        let _fetching = cache.held.lock().await;
        let cx = Ctx { deadline: Some(Instant::now() + Duration::from_millis(50)), ..Ctx::silent() };
        assert_eq!(cache.token(&cx).await.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(cache.renew(&cx, "refused").await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}

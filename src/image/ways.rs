//! How registries are reached, and as whom: decided outside, asked for only when something must be sent.
use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result, event::Ctx, provider::RegistryAuth, spec::ImageRef};
use carrack_http::Client;
use tokio::sync::Mutex;

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
    /// The `number`th way to pull by, from 0; `None` when there are no more. Credentials are looked up here, so the
    /// next one is asked for only when the one before it did not lead to the image.
    async fn pull(&self, cx: &Ctx, image: &ImageRef, number: usize) -> Result<Option<Way>>;

    /// To push to.
    async fn push(&self, cx: &Ctx, image: &ImageRef) -> Result<Way>;
}

/// The ways to pull one image, each kept once it was found.
pub(crate) struct Pull<'a> {
    ways: &'a dyn Ways,
    image: &'a ImageRef,
    found: Mutex<Vec<Way>>,
}

impl<'a> Pull<'a> {
    pub(crate) fn new(ways: &'a dyn Ways, image: &'a ImageRef) -> Self {
        Self { ways, image, found: Mutex::default() }
    }

    /// What the first way gives that leads to the image; else the refusal that says most.
    pub(crate) async fn first<T>(&self, cx: &Ctx, fetch: impl AsyncFn(Way) -> Result<T>) -> Result<T> {
        let mut kept: Option<(Error, bool)> = None;
        let mut number = 0;
        while let Some(way) = self.nth(cx, number).await? {
            let (named, stands_in) = (way.auth.is_some(), way.http.endpoint().is_some());
            match fetch(way).await {
                Err(error) if leads_elsewhere(error.kind()) => {
                    // Nobody is told less than somebody. A local cloud that does not have it says nothing of it.
                    let says_more = kept.as_ref().is_none_or(|(before, stood_in)| {
                        named || (*stood_in && before.kind() != ErrorKind::Unauthenticated)
                    });
                    if says_more {
                        kept = Some((error, stands_in));
                    }
                }
                other => return other,
            }
            number += 1;
        }
        Err(match kept {
            Some((error, _)) => error,
            None => Error::new(ErrorKind::NotFound, format!("no way leads to `{}`", self.image.0)),
        })
    }

    /// Whether a local cloud was asked in the place of the registry.
    pub(crate) async fn stood_in(&self) -> bool {
        self.found.lock().await.iter().any(|way| way.http.endpoint().is_some())
    }

    async fn nth(&self, cx: &Ctx, number: usize) -> Result<Option<Way>> {
        let mut found = self.found.lock().await;
        if let Some(way) = found.get(number) {
            return Ok(Some(way.clone()));
        }
        let way = self.ways.pull(cx, self.image, number).await?;
        found.extend(way.clone());
        Ok(way)
    }
}

/// Another way may lead to where it is, or be open to us.
fn leads_elsewhere(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::Unauthenticated)
}

/// The same way to every registry.
#[cfg(test)]
#[async_trait]
impl Ways for Way {
    async fn pull(&self, _: &Ctx, _: &ImageRef, number: usize) -> Result<Option<Way>> {
        Ok((number == 0).then(|| self.clone()))
    }
    async fn push(&self, _: &Ctx, _: &ImageRef) -> Result<Way> {
        Ok(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use carrack_http::{ClientOptions, Endpoint};

    use super::*;

    /// These ways, and how many of them were asked for.
    #[derive(Debug)]
    struct Counted(Vec<Way>, AtomicUsize);

    #[async_trait]
    impl Ways for Counted {
        async fn pull(&self, _: &Ctx, _: &ImageRef, number: usize) -> Result<Option<Way>> {
            let way = self.0.get(number).cloned();
            self.1.fetch_add(usize::from(way.is_some()), Ordering::Relaxed);
            Ok(way)
        }
        async fn push(&self, _: &Ctx, _: &ImageRef) -> Result<Way> {
            Ok(self.0[0].clone())
        }
    }

    /// A way to a stand-in or not, as somebody or nobody.
    fn way(stands_in: bool, named: bool) -> Way {
        let endpoint = stands_in.then(|| Endpoint::parse("http://127.0.0.1:1").expect("an endpoint"));
        let http = Client::new(ClientOptions { endpoint, ..ClientOptions::default() }).expect("a client");
        let auth = named.then(|| RegistryAuth { user: "me".into(), password: String::new().into() });
        Way { http, auth }
    }

    /// What two ways that answer so lead to, and how many were found.
    async fn walk(ways: [Way; 2], answers: [Option<ErrorKind>; 2]) -> (Result<usize, ErrorKind>, usize) {
        let (ways, tried) = (Counted(ways.into(), AtomicUsize::new(0)), AtomicUsize::new(0));
        let image = ImageRef("gcr.io/p/base".into());
        let pull = Pull::new(&ways, &image);
        let fetch = async |_| {
            let number = tried.fetch_add(1, Ordering::Relaxed);
            answers[number].map_or(Ok(number), |kind| Err(Error::new(kind, "refused")))
        };
        let result = pull.first(&Ctx::silent(), fetch).await.map_err(|error| error.kind());
        (result, ways.1.into_inner())
    }

    #[tokio::test]
    async fn the_next_way_is_found_only_when_the_one_before_it_leads_nowhere() {
        use ErrorKind::{NotFound, PermissionDenied, Unauthenticated, Unavailable};
        let both = || [way(false, true), way(false, true)];
        assert_eq!(walk(both(), [None, None]).await, (Ok(0), 1));
        assert_eq!(walk(both(), [Some(Unavailable), None]).await, (Err(Unavailable), 1));
        for kind in [NotFound, PermissionDenied, Unauthenticated] {
            assert_eq!(walk(both(), [Some(kind), None]).await, (Ok(1), 2), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn the_refusal_that_says_most_is_told() {
        use ErrorKind::{NotFound, PermissionDenied, Unauthenticated};
        let refused = async |ways, kinds: [ErrorKind; 2]| walk(ways, kinds.map(Some)).await.0.expect_err("refused");
        // Docker's credentials come after the cloud's.
        assert_eq!(refused([way(false, true), way(false, true)], [Unauthenticated, NotFound]).await, NotFound);
        // Nobody is only asked to log in.
        assert_eq!(refused([way(false, true), way(false, false)], [NotFound, Unauthenticated]).await, NotFound);
        // What a local cloud lacks, the registry itself may keep to itself.
        let beside = || [way(true, true), way(false, false)];
        assert_eq!(refused(beside(), [NotFound, PermissionDenied]).await, PermissionDenied);
        assert_eq!(refused(beside(), [Unauthenticated, NotFound]).await, Unauthenticated);
    }
}

//! One repository of a registry: addresses, credentials, error bodies.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>
use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use carrack_core::{Error, ErrorKind, Result, event::Ctx, provider::RegistryAuth};
use carrack_http::{
    Body, Client, Request, Response,
    endpoint::{authority, is_loopback},
};
use reqwest::{
    Method, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    challenge::Challenge,
    deadline::Patience,
    docker_config::TOKEN_USER,
    refusal::{classify, refused, unexpected},
};

/// Tokens, refusals and what else is not asked for its content have a few kB.
const LONGEST_ANSWER: usize = 1 << 20;

/// A registry may send us to its store, and that to another one.
const MOST_REDIRECTS: usize = 5;

/// What a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

impl Access {
    const fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// One repository, and the credentials that it has taken so far.
pub(crate) struct Repository<'a> {
    pub(crate) cx: &'a Ctx,
    pub(crate) http: &'a Client,
    auth: Option<&'a RegistryAuth>,
    /// `https://HOST/v2/PATH/`.
    base: Url,
    path: String,
    access: Access,
    /// Repositories of the same registry that layers are mounted from.
    others: Vec<String>,
    authorization: Mutex<Option<HeaderValue>>,
    /// For its blobs.
    pub(crate) patience: Patience,
}

impl<'a> Repository<'a> {
    /// The repository of this name (`HOST/PATH`). Nothing is sent yet.
    pub(crate) fn new(
        cx: &'a Ctx,
        http: &'a Client,
        auth: Option<&'a RegistryAuth>,
        name: &str,
        access: Access,
    ) -> Result<Self> {
        let (host, path) = split(name)?;
        Ok(Self {
            cx,
            http,
            auth,
            base: base(host, &path, name)?,
            path: path.into_owned(),
            access,
            others: Vec::new(),
            authorization: Mutex::new(auth.and_then(|auth| basic(auth).transpose()).transpose()?),
            patience: Patience::default(),
        })
    }

    /// Asks for tokens that may also pull from another repository of this registry.
    pub(crate) fn also_pulls(mut self, path: &str) -> Self {
        if path != self.path {
            self.others.push(path.to_owned());
        }
        self
    }

    /// The path of a repository of this registry; `None` for one of another.
    pub(crate) fn sibling(&self, name: &str) -> Option<String> {
        let (host, path) = split(name).ok()?;
        (authority(&base(host, &path, name).ok()?) == authority(&self.base)).then(|| path.into_owned())
    }

    /// The registry, with its port.
    pub(crate) fn host(&self) -> String {
        authority(&self.base)
    }

    /// `PATH`, without the host.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The address of something in this repository.
    pub(crate) fn url(&self, rest: &str) -> Result<Url> {
        resolve(&self.base, rest)
    }

    /// The address that a `Location` header means: absolute or relative, with a query of its own.
    pub(crate) fn location(&self, response: &Response, asked: &Url) -> Result<Url> {
        let location = response.header("location").ok_or_else(|| unexpected(response, "without a Location header"))?;
        let mut url = resolve(asked, location)?;
        // Behind a proxy that ends TLS a registry may think that it is spoken to in plain http.
        if url.scheme() == "http" && url.host() == self.base.host() && !is_loopback(&url) {
            let _ = url.set_scheme(self.base.scheme());
        }
        self.refuse_plain(&url)?;
        Ok(url)
    }

    /// Sends a request with credentials, and once more with new ones when the registry wants others.
    /// With `Missing::Answer` a 404 is an answer. One of more than a few kB is refused, unless `fill` allows more.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        missing: Missing,
        fill: impl Fn(Request) -> Request,
    ) -> Result<Response> {
        let request = || {
            fill(Request::new(method.clone(), url.as_str()).at_most(LONGEST_ANSWER)).classify(classify).accept(
                match missing {
                    Missing::Answer => &[401, 404],
                    Missing::Error => &[401],
                },
            )
        };
        if !self.is_ours(url) {
            return self.http.send(self.cx, request()).await;
        }
        let used = self.authorization.lock().await.clone();
        let response = self.http.send(self.cx, with(request(), &used)).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let renewed = self.renew(&response, used).await?;
        let response = self.http.send(self.cx, with(request(), &renewed)).await?;
        if response.status == StatusCode::UNAUTHORIZED {
            return Err(refused(&response));
        }
        Ok(response)
    }

    /// Sends a request, and again where the registry sends us: blobs may lie in a store of their own.
    /// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs>
    pub(crate) async fn follow(
        &self,
        method: Method,
        url: &Url,
        missing: Missing,
        fill: impl Fn(Request) -> Request,
    ) -> Result<Response> {
        let mut url = url.clone();
        let mut left = MOST_REDIRECTS;
        loop {
            let response = self.send(method.clone(), &url, missing, &fill).await?;
            if !response.status.is_redirection() {
                return Ok(response);
            }
            if left == 0 {
                return Err(unexpected(&response, "again and again"));
            }
            left -= 1;
            url = self.location(&response, &url)?;
        }
    }

    /// Credentials go to the registry itself, and to the local endpoint that stands in for it; a registry may send
    /// uploads to other hosts, which get none. On this machine another port is somebody else, and another name for
    /// it is not.
    fn is_ours(&self, url: &Url) -> bool {
        let local = is_loopback(url);
        let same_port = url.port_or_known_default() == self.base.port_or_known_default();
        authority(url) == authority(&self.base)
            || (local && self.http.endpoint().is_some())
            || (local && is_loopback(&self.base) && same_port)
    }

    fn is_local(&self) -> bool {
        is_loopback(&self.base) || self.http.endpoint().is_some()
    }

    fn refuse_plain(&self, url: &Url) -> Result<()> {
        let local = is_loopback(url) && self.is_local();
        if url.scheme() == "https" || (url.scheme() == "http" && local) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::BuildFailed,
            format!(
                "refusing to go on at `{}://{}`, where `{}` sends us",
                url.scheme(),
                authority(url),
                authority(&self.base)
            ),
        ))
    }

    /// Exchanges name and password for a token of this repository, once for all requests that wait for it.
    async fn renew(&self, response: &Response, used: Option<HeaderValue>) -> Result<Option<HeaderValue>> {
        let mut held = self.authorization.lock().await;
        if *held != used {
            return Ok(held.clone());
        }
        let challenge = response
            .headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .find_map(|header| Challenge::parse(header.to_str().ok()?));
        let Some(challenge) = challenge else {
            let error = refused(response);
            return Err(match self.auth {
                Some(_) => error,
                None => error.hint(format!("docker login {}", self.host())),
            });
        };
        let token = self.exchange(&challenge).await?;
        *held = Some(sensitive(&format!("Bearer {token}"))?);
        Ok(held.clone())
    }

    async fn exchange(&self, challenge: &Challenge) -> Result<String> {
        let realm = resolve(&self.base, &challenge.realm)?;
        self.refuse_plain(&realm)?;
        // A first question asks for `pull` alone; with `push` at once it is one exchange, not two.
        let scope = match &challenge.scope {
            Some(scope) if !scope.starts_with("repository:") => scope.clone(),
            _ => format!("repository:{}:{}", self.path, self.access.actions()),
        };
        let others = self.others.iter().map(|path| format!("repository:{path}:pull"));
        let scopes: Vec<String> = std::iter::once(scope).chain(others).collect();
        let request = match self.auth.filter(|auth| auth.user == TOKEN_USER) {
            Some(auth) => refresh(&realm, challenge, &scopes, auth)?,
            None => {
                let mut request = Request::new(Method::GET, realm.as_str());
                for (name, value) in challenge.service.iter().map(|service| ("service", service)) {
                    request = request.query(name, value);
                }
                for scope in scopes {
                    request = request.query("scope", scope);
                }
                with(request, &self.auth.and_then(|auth| basic(auth).transpose()).transpose()?)
            }
        };
        let response = self.http.send(self.cx, request.classify(classify).at_most(LONGEST_ANSWER)).await?;
        let answer: TokenAnswer = response.json()?;
        answer.token.or(answer.access_token).ok_or_else(|| unexpected(&response, "without a token"))
    }
}

/// What a 404 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Answer,
    Error,
}

/// Either name is in use: <https://distribution.github.io/distribution/spec/auth/token/#token-response-fields>.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

fn with(request: Request, authorization: &Option<HeaderValue>) -> Request {
    match authorization {
        Some(value) => request.header(AUTHORIZATION, value.clone()),
        None => request,
    }
}

/// A token in the place of a password is exchanged by a form of its own:
/// <https://distribution.github.io/distribution/spec/auth/oauth/>.
fn refresh(realm: &Url, challenge: &Challenge, scopes: &[String], auth: &RegistryAuth) -> Result<Request> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("service", challenge.service.as_deref().unwrap_or_default())
        .append_pair("client_id", "carrack")
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", &auth.password);
    let body = Body::Bytes(form.finish().into());
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    Ok(Request::new(Method::POST, realm.as_str()).idempotent().header(CONTENT_TYPE, form).body(body))
}

/// `None` for a token, which is only ever exchanged.
fn basic(auth: &RegistryAuth) -> Result<Option<HeaderValue>> {
    if auth.user == TOKEN_USER {
        return Ok(None);
    }
    let pair = Zeroizing::new(format!("{}:{}", auth.user, auth.password.as_str()));
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
    sensitive(&Zeroizing::new(format!("Basic {}", encoded.as_str()))).map(Some)
}

fn sensitive(value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Error::new(ErrorKind::Unauthenticated, "the registry's credentials have characters that none have")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Host and path. <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
fn split(name: &str) -> Result<(&str, Cow<'_, str>)> {
    let invalid = |why: &str| {
        Error::new(ErrorKind::ConfigInvalid, format!("`{name}` {why}"))
            .hint("write it as HOST/PATH, such as us-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE")
    };
    let (host, path) = name
        .split_once('/')
        .filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost")
        .ok_or_else(|| invalid("names no registry"))?;
    let is_plain = |part: &str| {
        let inner = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
        let edge = |c: char| matches!(c, 'a'..='z' | '0'..='9');
        part.starts_with(edge) && part.ends_with(edge) && part.chars().all(inner)
    };
    if !path.split('/').all(is_plain) {
        return Err(invalid("is not the name of a repository: it may have a-z, 0-9 and `.`, `_`, `-` between them"));
    }
    // Docker Hub's own images have a path of one part for users, and of two in its API:
    // <https://docs.docker.com/reference/cli/docker/image/tag/>.
    let is_official = matches!(host, "docker.io" | "index.docker.io") && !path.contains('/');
    Ok((host, if is_official { format!("library/{path}").into() } else { path.into() }))
}

fn base(host: &str, path: &str, name: &str) -> Result<Url> {
    // The name users write, and the host that answers for it: as in Docker's own client.
    let host = if host == "docker.io" { "index.docker.io" } else { host };
    let parse = |scheme: &str| Url::parse(&format!("{scheme}://{host}/v2/{path}/"));
    let https = parse("https").map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, format!("`{name}` names no registry")).with_source(error)
    })?;
    // What stays on this machine needs no TLS, and has none as a rule.
    match parse("http") {
        Ok(http) if is_loopback(&http) => Ok(http),
        _ => Ok(https),
    }
}

fn resolve(base: &Url, reference: &str) -> Result<Url> {
    base.join(reference).map_err(|error| {
        Error::new(ErrorKind::BuildFailed, format!("`{}` named an address that is none", authority(base)))
            .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for (name, expected) in [
            ("127.0.0.1:5000/a/b", "http://127.0.0.1:5000/v2/a/b/"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/"),
            ("us-docker.pkg.dev/p/r/i", "https://us-docker.pkg.dev/v2/p/r/i/"),
            ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a/"),
            ("docker.io/library/nginx", "https://index.docker.io/v2/library/nginx/"),
            ("docker.io/nginx", "https://index.docker.io/v2/library/nginx/"),
            ("docker.io/me/nginx", "https://index.docker.io/v2/me/nginx/"),
        ] {
            let (host, path) = split(name).expect(name);
            assert_eq!(base(host, &path, name).expect(name).as_str(), expected);
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for bad in [
            "nginx",
            "library/nginx",
            "us-docker.pkg.dev",
            "us-docker.pkg.dev/",
            "us-docker.pkg.dev/A",
            "us-docker.pkg.dev/a//b",
            "us-docker.pkg.dev/../b",
            "us-docker.pkg.dev/a?b",
            "us-docker.pkg.dev/-a",
        ] {
            assert_eq!(split(bad).expect_err(bad).kind(), ErrorKind::ConfigInvalid);
        }
    }
}

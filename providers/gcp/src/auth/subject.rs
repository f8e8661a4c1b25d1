//! The token by which somebody is known elsewhere, to be exchanged for one of Google's.
//! <https://google.aip.dev/auth/4117>
use std::path::PathBuf;

use carrack_core::{Error, ErrorKind, Result};
use carrack_http::Request;
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    asker::{Asker, is_private},
    document::Document,
    file,
};

/// Where it is.
pub(super) enum Subject {
    /// In a file.
    File { path: PathBuf, format: Format },
    /// A server gives it.
    Url { url: String, headers: HeaderMap, format: Format, remedy: &'static str },
    /// In a variable.
    Variable { name: String, value: Zeroizing<String> },
}

/// How it is written there.
pub(super) enum Format {
    /// As it is.
    Text,
    /// In this field.
    Json(String),
}

impl Subject {
    /// `credential_source` of a federation file.
    pub(super) fn read(document: &Document<'_>) -> Result<Self> {
        let source = &document.value["credential_source"];
        for (key, kind) in
            [("executable", "a program that is run"), ("environment_id", "AWS"), ("certificate", "a certificate")]
        {
            if !source[key].is_null() {
                let text = format!(
                    "the token of {} comes from {kind} (`credential_source.{key}`), which is not taken",
                    document.from
                );
                return Err(Error::new(ErrorKind::Unauthenticated, text)
                    .hint("make the file with a token from a file or a URL")
                    .hint(
                        "or fetch a token by gcloud: `export CARRACK_ACCESS_TOKEN=$(gcloud auth print-access-token)`",
                    ));
            }
        }
        let form = &source["format"];
        let format = match form["type"].as_str() {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json(
                form["subject_token_field_name"]
                    .as_str()
                    .ok_or_else(|| {
                        document.malformed("`credential_source.format.subject_token_field_name` is missing")
                    })?
                    .to_owned(),
            ),
            Some(_) => return Err(document.malformed("`credential_source.format.type` is neither `text` nor `json`")),
        };
        match (source["file"].as_str(), source["url"].as_str()) {
            (Some(path), None) => Ok(Self::File { path: path.into(), format }),
            (None, Some(url)) => {
                if !is_private(url) && !is_link_local(url) {
                    return Err(document.malformed("`credential_source.url` is neither https nor on this machine"));
                }
                let headers = headers(&source["headers"])
                    .ok_or_else(|| document.malformed("`credential_source.headers` has something that is no header"))?;
                let remedy = "see that the server gives a token to whoever runs this";
                Ok(Self::Url { url: url.to_owned(), headers, format, remedy })
            }
            _ => Err(document.malformed("`credential_source` has neither `file` nor `url`, or both")),
        }
    }

    /// GitHub Actions' own token for `audience`:
    /// <https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token>
    pub(super) fn github(url: &str, token: &str, audience: &str) -> Result<Self> {
        let wrong = |what: &str| Error::new(ErrorKind::Unauthenticated, format!("ACTIONS_ID_TOKEN_REQUEST_{what}"));
        if !is_private(url) {
            return Err(wrong("URL is neither https nor on this machine"));
        }
        let mut url = Url::parse(url).map_err(|_| wrong("URL is no URL"))?;
        url.query_pairs_mut().append_pair("audience", audience);
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| wrong("TOKEN has characters that no token has"))?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
        Ok(Self::Url { url: url.into(), headers, format: Format::Json("value".to_owned()), remedy: GITHUB })
    }

    /// Fetches it anew: it lives for minutes.
    pub(super) async fn token(&self, asker: &Asker) -> Result<Zeroizing<String>> {
        let missing = |text: String| Error::new(ErrorKind::Unauthenticated, text);
        let (text, format, place) = match self {
            Self::Variable { name, value } => (value.clone(), &Format::Text, format!("the variable {name}")),
            Self::File { path, format } => {
                let text = file::read(path, &asker.cx).await?.map_err(|e| {
                    let text = format!("the federation's token file `{}` cannot be read", path.display());
                    missing(text)
                        .with_source(e)
                        .hint("whatever runs this must write it first; `carrack auth show` tries again")
                })?;
                (text, format, format!("`{}`", path.display()))
            }
            Self::Url { url, headers, format, remedy } => {
                let mut request = Request::new(Method::GET, url);
                for (name, value) in headers {
                    request = request.header(name.clone(), value.clone());
                }
                if is_link_local(url) {
                    request = request.past_proxies();
                }
                let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
                let answer = asker.send(request).await.map_err(|error| match error.kind() {
                    kind if kind.is_retryable() || matches!(kind, ErrorKind::Cancelled | ErrorKind::Timeout) => error,
                    _ => {
                        let text = format!("{host} gives no token to exchange");
                        let refused = missing(text).hint(*remedy);
                        let refused = match error.request() {
                            Some(request) => refused.with_request(request.clone()),
                            None => refused,
                        };
                        refused.with_source(error)
                    }
                })?;
                (Zeroizing::new(String::from_utf8_lossy(&answer.body).into_owned()), format, host)
            }
        };
        let token = match format {
            Format::Text => text,
            Format::Json(field) => {
                let value: Value = serde_json::from_str(&text).unwrap_or_default();
                let token =
                    value[field].as_str().ok_or_else(|| missing(format!("{place} has no token in `{field}`")))?;
                Zeroizing::new(token.to_owned())
            }
        };
        let token = Zeroizing::new(token.trim().to_owned());
        if token.is_empty() { Err(missing(format!("{place} has no token"))) } else { Ok(token) }
    }

    /// For people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File { path, .. } => format!("the token in `{}`", path.display()),
            Self::Url { remedy: GITHUB, .. } => "GitHub Actions".to_owned(),
            Self::Url { url, .. } => {
                let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
                format!("the token that {} gives", host.unwrap_or_default())
            }
            Self::Variable { name, .. } => format!("the variable {name}"),
        }
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subject({})", self.place())
    }
}

/// What a job of GitHub Actions must be allowed:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#permissions>
pub(super) const GITHUB: &str = "give the job `permissions: { id-token: write, contents: read }`";

/// Azure's server for this, which has no TLS, is on the machine's own link:
/// <https://learn.microsoft.com/en-us/azure/virtual-machines/instance-metadata-service>
fn is_link_local(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.scheme() == "http" && url.host_str() == Some("169.254.169.254"))
}

fn headers(value: &Value) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    if value.is_null() {
        return Some(headers);
    }
    for (name, value) in value.as_object()? {
        let mut value = HeaderValue::from_str(value.as_str()?).ok()?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name).ok()?, value);
    }
    Some(headers)
}

//! Lists: tags, repositories, referrers.
use axum::{
    Json,
    http::{HeaderName, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use super::{Answer, Face, Repository, blobs::digest, query};
use crate::{
    registry::{
        error::{Code, Failure},
        manifest::{OCI_INDEX, Referrer},
    },
    registry_access::Action,
};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// A part of a list in lexical order.
struct Page {
    items: Vec<String>,
    /// The query of the next page.
    next: Option<String>,
}

impl Face {
    pub(super) fn tags(&self, repository: &Repository, parts: &Parts) -> Answer {
        let page = {
            let index = self.registry.index();
            let found = index.repository(&repository.stored).ok_or_else(|| {
                Failure::not_found(Code::NameUnknown, "the repository is not known")
                    .detail(json!({ "name": repository.shown }))
            })?;
            page(parts, found.tags().map(str::to_owned))?
        };
        let body = json!({ "name": repository.shown, "tags": page.items });
        Ok(linked(body, &format!("/v2/{}/tags/list", repository.shown), page.next))
    }

    /// Those repositories of this face that the caller may pull from.
    /// <https://distribution.github.io/distribution/spec/api/#listing-repositories>
    pub(super) fn catalog(&self, parts: &Parts) -> Answer {
        self.allow(parts, None, Action::Pull)?;
        let names: Vec<String> = {
            let index = self.registry.index();
            index.repositories().map(|(name, _)| name.to_owned()).collect()
        };
        let shown = names.iter().filter_map(|stored| {
            let shown = match &self.prefix {
                Some(prefix) => stored.strip_prefix(prefix)?.strip_prefix('/')?,
                None => stored,
            };
            self.check(parts, stored, Action::Pull).ok()?;
            Some(shown.to_owned())
        });
        let page = page(parts, shown)?;
        Ok(linked(json!({ "repositories": page.items }), "/v2/_catalog", page.next))
    }

    /// 200 and an empty list where nothing refers to it, also for a repository that is not known.
    pub(super) fn referrers(&self, repository: &Repository, text: &str, parts: &Parts) -> Answer {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct List {
            schema_version: u32,
            media_type: &'static str,
            manifests: Vec<Referrer>,
        }
        let subject = digest(text)?;
        let mut manifests = self
            .registry
            .index()
            .repository(&repository.stored)
            .map(|found| found.referrers(&subject))
            .unwrap_or_default();
        let filter = query(parts, "artifactType").filter(|wanted| !wanted.is_empty());
        if let Some(wanted) = &filter {
            manifests.retain(|referrer| referrer.artifact_type.as_ref() == Some(wanted));
        }
        let list = List { schema_version: 2, media_type: OCI_INDEX, manifests };
        let mut response = Json(list).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
        if filter.is_some() {
            headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }
}

/// `n` = at most so many, `last` = only what comes after it.
fn page(parts: &Parts, sorted: impl Iterator<Item = String>) -> Result<Page, Failure> {
    let limit = match query(parts, "n") {
        None => usize::MAX,
        Some(text) => text.parse().map_err(|_| {
            Failure::bad_request(Code::PaginationNumberInvalid, "`n` is not a number").detail(json!({ "n": text }))
        })?,
    };
    let last = query(parts, "last");
    let mut rest = sorted.filter(|item| last.as_ref().is_none_or(|last| item > last));
    let items: Vec<String> = rest.by_ref().take(limit).collect();
    let next = match items.last() {
        Some(item) if rest.next().is_some() => Some(
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("n", &limit.to_string())
                .append_pair("last", item)
                .finish(),
        ),
        _ => None,
    };
    Ok(Page { items, next })
}

fn linked(body: serde_json::Value, path: &str, next: Option<String>) -> Response {
    let mut response = Json(body).into_response();
    let link = next.and_then(|query| format!("<{path}?{query}>; rel=\"next\"").parse().ok());
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

//! The table in `requests.md`: each route and each refusal, one row a request.
use std::{collections::BTreeSet, sync::Arc};

use axum::Router;
use serde_json::{Value, json};

use super::{Bench, Body, Digest, Limits, NAME, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, descriptor, faces, request, send};

const TABLE: &str = include_str!("requests.md");

/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints>
const ENDPOINTS: [&str; 16] = [
    "end-1", "end-2", "end-3", "end-4a", "end-4b", "end-5", "end-6", "end-7", "end-8a", "end-8b", "end-9", "end-10",
    "end-11", "end-12a", "end-12b", "end-13",
];

/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes>
const CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

/// The host that the names of the second table are without.
const HOST: &str = "us-central1-docker.pkg.dev";
const HIDDEN: &str = "us-central1-docker.pkg.dev/local/carrack/hidden";
const OTHER: &str = "us-central1-docker.pkg.dev/local/carrack/other";

#[derive(Debug)]
struct Row {
    line: usize,
    section: &'static str,
    end: &'static str,
    request: &'static str,
    sent: &'static str,
    status: u16,
    codes: Vec<&'static str>,
    answered: &'static str,
}

fn rows() -> Vec<Row> {
    let mut section = "";
    let mut rows = Vec::new();
    for (index, line) in TABLE.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, end, request, sent, status, codes, answered, _] = cells.as_slice() else { continue };
        let Ok(status) = status.parse() else { continue };
        let codes = codes.split_whitespace().collect();
        rows.push(Row { line: index + 1, section, end, request, sent, status, codes, answered });
    }
    rows
}

#[tokio::test]
async fn each_row_is_answered_as_the_table_says() {
    let mut wrong = Vec::new();
    for row in rows() {
        if let Err(difference) = Place::new(row.section).await.judge(&row).await {
            wrong.push(format!("requests.md:{}: {}: {difference}", row.line, row.request));
        }
    }
    assert!(wrong.is_empty(), "{} rows differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_endpoint_has_a_row_that_is_served_and_one_that_is_refused_and_each_code_a_row() {
    let rows = rows();
    for end in ENDPOINTS {
        for served in [true, false] {
            let found = rows
                .iter()
                .any(|row| row.end == end && row.codes.is_empty() == served && !row.request.starts_with("HEAD "));
            assert!(found, "{end} has no row that is {}", if served { "served" } else { "refused" });
        }
    }
    let codes: BTreeSet<_> = rows.iter().flat_map(|row| row.codes.iter().copied()).collect();
    for code in CODES {
        assert!(codes.contains(code), "no row is refused with {code}");
    }
    let known: BTreeSet<_> = ENDPOINTS.into_iter().chain(["more"]).collect();
    for row in &rows {
        assert!(known.contains(row.end), "line {}: `{}` is no endpoint", row.line, row.end);
        assert_eq!(row.status >= 400, !row.codes.is_empty(), "line {}: a refusal has a code", row.line);
    }
}

/// A registry as the table's head describes it, and what its words stand for.
struct Place {
    _bench: Bench,
    router: Router,
    words: Vec<(&'static str, String)>,
}

impl Place {
    async fn new(section: &str) -> Self {
        let limits = match section {
            "As many uploads are open as may be" => Limits { sessions: 2, ..Limits::default() },
            _ => Limits::default(),
        };
        let bench = Bench::with(limits);
        let mut words = vec![("long", "a".repeat(256)), ("host", HOST.to_owned())];
        words.push(("none", Digest::of(b"none").to_string()));
        words.push(("hello", Digest::of(b"hello").to_string()));
        for (name, digest) in content(&bench).await {
            words.push((name, digest));
        }
        let cloud = section == "A token is asked for";
        let router = match section {
            "A token is asked for" => bench.registry.routes(Arc::new(faces::Rule), Some(HOST.to_owned())),
            _ => bench.router.clone(),
        };
        let shown = |name: &str| match cloud {
            true => name.strip_prefix(HOST).unwrap().trim_start_matches('/').to_owned(),
            false => name.to_owned(),
        };
        for (word, name) in [("repo", NAME), ("other", OTHER), ("hidden", HIDDEN)] {
            words.push((word, shown(name)));
        }
        for word in ["upload", "half"] {
            let answer = bench.ask(&format!("POST /v2/{NAME}/blobs/uploads/")).await;
            let location = answer.header("location").to_owned();
            if word == "half" {
                assert_eq!(bench.ask_with(&format!("PATCH {location}"), &[], "hello").await.status, 202);
            }
            words.push((word, location.replace(NAME, &shown(NAME))));
        }
        Self { _bench: bench, router, words }
    }

    fn fill(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value))
    }

    async fn judge(&self, row: &Row) -> Result<(), String> {
        let (headers, body) = fields(row.sent);
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, self.fill(value))).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = Body::from(self.fill(body.unwrap_or_default()));
        let answer = send(&self.router, request(&self.fill(row.request), &headers, body)).await;
        let same = |what: &str, found: &str, expected: &str| match expected {
            "*" if !found.is_empty() => Ok(()),
            "-" if found.is_empty() => Ok(()),
            _ if found == expected => Ok(()),
            _ => Err(format!("{what} is `{found}`, not `{expected}`")),
        };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        same("the status", answer.status.as_str(), &row.status.to_string())
            .map_err(|error| format!("{error} {text}"))?;
        // An answer to HEAD has no body that could say a code.
        if !row.codes.is_empty() && !row.request.starts_with("HEAD ") {
            same("the type of the error", answer.header("content-type"), "application/json")?;
            let errors = answer.json()["errors"].as_array().cloned().ok_or("the body has no errors")?;
            let codes: Vec<_> = errors.iter().map(|error| error["code"].as_str().unwrap_or_default()).collect();
            same("the code", &codes.join(" "), &row.codes.join(" "))?;
            if errors.iter().any(|error| error["message"].as_str().is_none_or(str::is_empty)) {
                return Err(format!("an error has no message: {text}"));
            }
        }
        let (expected, body) = fields(row.answered);
        for (name, value) in expected {
            same(name, answer.header(&name.to_ascii_lowercase()), &self.fill(value))?;
        }
        body.map_or(Ok(()), |body| same("the body", &text, &self.fill(body)))
    }
}

/// `Name: value; Name: value; body: text` as headers and body.
fn fields(cell: &str) -> (Vec<(&str, &str)>, Option<&str>) {
    let (head, body) = match cell.split_once("body: ") {
        Some((head, body)) => (head, Some(body)),
        None => (cell, None),
    };
    let mut headers: Vec<(&str, &str)> = Vec::new();
    let mut rest = head.trim().trim_end_matches(';');
    while let Some((name, after)) = rest.split_once(": ") {
        // A value may hold a semicolon of its own: the next header begins with a name and a colon.
        let end = after.match_indices("; ").map(|(at, _)| at).find(|at| {
            after[at + 2..]
                .split_once(": ")
                .is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
        });
        let value = &after[..end.unwrap_or(after.len())];
        headers.push((name, value));
        rest = end.map_or("", |end| &after[end + 2..]);
    }
    (headers, body)
}

/// Pushes what the table's head lists.
async fn content(bench: &Bench) -> Vec<(&'static str, String)> {
    let blob = bench.push_blob(NAME, b"hello world").await;
    let elsewhere = bench.push_blob(OTHER, b"elsewhere").await;
    bench.push_blob(HIDDEN, b"elsewhere").await;
    let manifest = bench.image_manifest(NAME, "amd64").await;
    let image = bench.push_manifest(NAME, "v1", OCI_MANIFEST, &manifest).await;
    bench.push_manifest(NAME, "v2", OCI_MANIFEST, &manifest).await;
    let entry = descriptor(OCI_MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    let index = bench.push_manifest(NAME, "many", OCI_INDEX, &index).await;
    let with = |key: &str, value: Value| {
        let mut changed = manifest.clone();
        changed[key] = value;
        changed
    };
    let note = with("subject", entry.clone());
    let note = json!({ "artifactType": "application/vnd.judge.note", "subject": note["subject"], "schemaVersion": 2,
        "mediaType": OCI_MANIFEST, "config": note["config"], "layers": [] });
    let referrer = bench.push_manifest(NAME, "", OCI_MANIFEST, &note).await;
    let size = serde_json::to_vec(&note).unwrap().len();
    let referrer_descriptor = format!(
        r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{referrer}","size":{size},"artifactType":"application/vnd.judge.note"}}"#
    );
    let fresh = with("annotations", json!({ "fresh": "yes" })).to_string();
    let lost = json!({ "schemaVersion": 2, "config": manifest["config"],
        "layers": [{ "mediaType": OCI_CONFIG, "digest": Digest::of(b"none").as_str(), "size": 4 }] });
    vec![
        ("blob", blob.to_string()),
        ("elsewhere", elsewhere.to_string()),
        ("image", image.to_string()),
        ("index", index.to_string()),
        ("referrer", referrer.to_string()),
        ("referrer-descriptor", referrer_descriptor),
        ("fresh-digest", Digest::of(fresh.as_bytes()).to_string()),
        ("fresh", fresh),
        ("subject", with("subject", entry).to_string()),
        ("lost", lost.to_string()),
    ]
}

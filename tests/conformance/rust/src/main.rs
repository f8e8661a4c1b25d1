//! Google's own clients for Rust walk whole lifecycles in the local cloud.
//!
//! `google-clients IMAGE`, with CARRACK_ENDPOINT, CARRACK_ENDPOINT_TOKEN and CARRACK_CONSOLE: `../rust` of the folder
//! above sets them. Operations are polled by the clients' own pollers, lists paged by their own pagers.
mod jobs;
mod secrets;
mod services;

use std::{env, fmt::Debug, pin::Pin, process::ExitCode, time::Duration};

use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider, EntityTag};
use google_cloud_gax::{
    error::{CredentialsError, Error, rpc::Code},
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
};
use google_cloud_run_v2::model::{Container, EnvVar};
use http::{Extensions, HeaderMap, HeaderValue, header::AUTHORIZATION};

/// Whatever goes wrong in a check.
type Wrong = Box<dyn std::error::Error + Send + Sync>;
type Checked<T = ()> = Result<T, Wrong>;

const PROJECT: &str = "projects/local";
const PARENT: &str = "projects/local/locations/us-central1";

/// Where the local cloud is, and who calls it.
pub(crate) struct Cloud {
    endpoint: String,
    console: String,
    token: String,
    image: String,
    passed: u32,
    failed: u32,
}

/// A token that stays.
#[derive(Debug)]
struct Fixed(HeaderMap, EntityTag);

impl CredentialsProvider for Fixed {
    async fn headers(&self, extensions: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        Ok(match extensions.get::<EntityTag>() {
            Some(tag) if *tag == self.1 => CacheableResource::NotModified,
            _ => CacheableResource::New { entity_tag: self.1.clone(), data: self.0.clone() },
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

impl Cloud {
    fn of_environment() -> Checked<Self> {
        let named = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
        Ok(Self {
            endpoint: named("CARRACK_ENDPOINT")?,
            console: named("CARRACK_CONSOLE")?,
            token: named("CARRACK_ENDPOINT_TOKEN")?,
            image: env::args().nth(1).ok_or("the image is not given")?,
            passed: 0,
            failed: 0,
        })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) fn credentials(&self) -> Checked<Credentials> {
        bearer(&self.token)
    }

    /// A token that may do this and nothing else.
    pub(crate) async fn principal(&self, permission: &str) -> Checked<Credentials> {
        let body = format!(r#"{{"email":"judge@example.com","permissions":["{permission}"]}}"#);
        let request = reqwest::Client::new()
            .post(format!("{}/principals", self.console))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body);
        let answer: serde_json::Value = serde_json::from_str(&request.send().await?.text().await?)?;
        bearer(answer["token"].as_str().ok_or("no token")?)
    }

    /// The test program's container.
    pub(crate) fn container(&self, env: &[(&str, &str)]) -> Container {
        let env = env.iter().map(|(name, value)| EnvVar::new().set_name(*name).set_value(*value));
        Container::new().set_image(&self.image).set_env(env)
    }

    /// One line a check.
    pub(crate) async fn check(&mut self, name: &str, what: impl AsyncFnOnce(&Self) -> Checked) {
        let future: Pin<Box<_>> = Box::pin(what(self));
        match tokio::time::timeout(Duration::from_secs(120), future).await {
            Ok(Ok(())) => {
                self.passed += 1;
                println!("ok      {name}");
            }
            Ok(Err(why)) => self.wrong(name, &format!("{why}")),
            Err(_) => self.wrong(name, "not within two minutes"),
        }
    }

    fn wrong(&mut self, name: &str, why: &str) {
        self.failed += 1;
        println!("FAILED  {name}\n        | {why}");
    }
}

fn bearer(token: &str) -> Checked<Credentials> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
    Ok(Credentials::from(Fixed(headers, EntityTag::new())))
}

/// The clients' own way to poll, a little quicker than they would by themselves.
pub(crate) fn quickly() -> ExponentialBackoff {
    let builder = ExponentialBackoffBuilder::new().with_initial_delay(Duration::from_millis(100));
    builder.with_maximum_delay(Duration::from_secs(1)).clamp()
}

pub(crate) fn same<T: PartialEq + Debug>(found: T, expected: T) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{found:?} is not {expected:?}").into()) }
}

/// The client's own error, with Google's code and text.
pub(crate) fn refused<T: Debug>(result: Result<T, Error>, code: Code, text: &str) -> Checked {
    let error = match result {
        Ok(value) => return Err(format!("it is not refused: {value:?}").into()),
        Err(error) => error,
    };
    let status = error.status().ok_or_else(|| format!("no status: {error}"))?;
    same(status.code, code)?;
    if status.message.contains(text) { Ok(()) } else { Err(format!("no `{text}` in `{}`", status.message).into()) }
}

pub(crate) async fn ask(url: &str) -> Checked<(u16, String)> {
    let answer = reqwest::get(url).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// `projects/…/revisions/R` -> `R`.
pub(crate) fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut cloud = match Cloud::of_environment() {
        Ok(cloud) => cloud,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    for walked in [services::walk(&mut cloud).await, jobs::walk(&mut cloud).await, secrets::walk(&mut cloud).await] {
        if let Err(why) = walked {
            cloud.wrong("a client is made", &format!("{why}"));
        }
    }
    println!("{} passed, {} failed", cloud.passed, cloud.failed);
    if cloud.failed == 0 && cloud.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

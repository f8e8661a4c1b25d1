//! Which ports an image says that it listens on: `EXPOSE`, read from its configuration in the registry.
//!
//! It is asked for only when a deploy has failed and nothing else tells the port.
use carrack_core::{Result, event::Ctx, spec::ImageRef};
use reqwest::Method;
use serde_json::Value;

use super::{
    layout::digest_of,
    manifest::Content,
    pull::manifest,
    refusal::unexpected,
    registry::{Access, Missing, Repository},
    spec::Platform,
    ways::Way,
};

/// A configuration is a few kB.
const LONGEST: usize = 4 << 20;

/// The TCP ports, ascending; none for an image that names none. `image` is by digest. Idempotent.
pub async fn exposed_ports(cx: &Ctx, way: &Way, image: &ImageRef) -> Result<Vec<u16>> {
    let repository = Repository::new(cx, &way.http, way.auth.as_ref(), image.repository(), Access::Pull)?;
    let Some(mut digest) = image.digest().map(str::to_owned) else { return Ok(Vec::new()) };
    // An index, and an image in it.
    for _ in 0..2 {
        let Some(found) = manifest(&repository, &digest).await? else { break };
        match Content::read(&found.bytes, found.media_type.as_deref())? {
            Content::Manifest(image) => return Ok(ports(&configuration(&repository, &image.config.digest).await?)),
            Content::Index(index) => match index.choose(Platform::LinuxAmd64) {
                Some(entry) => digest.clone_from(&entry.digest),
                None => break,
            },
        }
    }
    Ok(Vec::new())
}

/// `{"config":{"ExposedPorts":{"3000/tcp":{}}}}`: <https://github.com/opencontainers/image-spec/blob/main/config.md>
fn ports(configuration: &Value) -> Vec<u16> {
    let exposed = configuration["config"]["ExposedPorts"].as_object();
    let port = |name: &String| match name.split_once('/') {
        None => name.parse().ok(),
        Some((port, "tcp")) => port.parse().ok(),
        Some(_) => None,
    };
    let mut ports: Vec<u16> = exposed.into_iter().flat_map(|exposed| exposed.keys()).filter_map(port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

async fn configuration(repository: &Repository<'_>, digest: &str) -> Result<Value> {
    let url = repository.url(&format!("blobs/{digest}"))?;
    let response = repository.follow(Method::GET, &url, Missing::Error, |request| request.at_most(LONGEST)).await?;
    match digest_of(&response.body) == digest {
        true => response.json(),
        false => Err(unexpected(&response, "with other content than was asked for")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_of_a_configuration() {
        let of = |exposed: Value| ports(&json!({ "config": { "ExposedPorts": exposed } }));
        assert_eq!(of(json!({ "3000/tcp": {}, "80": {}, "53/udp": {}, "x/tcp": {}, "99999/tcp": {} })), [80, 3000]);
        assert!(of(Value::Null).is_empty());
        assert!(ports(&json!({})).is_empty());
    }
}

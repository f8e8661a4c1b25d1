//! Image names as Cloud Run takes them: `[host/]repo-path[:tag and/or @digest]`.

/// Where an image is when its name has no host.
const DEFAULT_HOST: &str = "docker.io";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// `HOST/PATH`.
    pub(crate) name: String,
    /// A tag, or a digest when there is one.
    pub(crate) version: String,
}

impl Reference {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) || tag.is_some_and(|tag| !is_tag(tag)) {
            return None;
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) => (host, path.to_owned()),
            Some(_) => (DEFAULT_HOST, name.to_owned()),
            None => (DEFAULT_HOST, format!("library/{name}")),
        };
        if !is_host(host) || !path.split('/').all(is_component) {
            return None;
        }
        let version = digest.or(tag).unwrap_or("latest").to_owned();
        Some(Self { name: format!("{host}/{path}"), version })
    }
}

/// <https://cloud.google.com/run/docs/deploying#images>
fn is_host(host: &str) -> bool {
    host == DEFAULT_HOST || host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with("-docker.pkg.dev")
}

/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests>
fn is_component(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().copied().is_some_and(inner)
        && bytes.last().copied().is_some_and(inner)
        && bytes.iter().all(|byte| inner(*byte) || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("us-central1-docker.pkg.dev/p/r/hello", Some(("us-central1-docker.pkg.dev/p/r/hello", "latest"))),
            ("gcr.io/p/hello:v1", Some(("gcr.io/p/hello", "v1"))),
            (&format!("us.gcr.io/p/hello:v1@{digest}"), Some(("us.gcr.io/p/hello", digest.as_str()))),
            ("hello", Some(("docker.io/library/hello", "latest"))),
            ("user/hello", Some(("docker.io/user/hello", "latest"))),
            ("ghcr.io/user/hello", None),
            ("localhost:5000/hello", None),
            ("gcr.io/p/Hello", None),
            ("gcr.io/p/hello:", None),
            ("gcr.io/p/hello@sha256:short", None),
            ("gcr.io/", None),
            ("", None),
        ] {
            let parsed = Reference::parse(text);
            let parsed = parsed.as_ref().map(|found| (found.name.as_str(), found.version.as_str()));
            assert_eq!(parsed, expected, "{text}");
        }
    }
}

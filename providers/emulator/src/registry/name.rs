//! The grammar of repository names, tags and references.
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests>
use super::digest::Digest;

/// Many clients hold host and name to 255 characters together, so the specification advises it.
const NAME_CHARACTERS: usize = 255;
const TAG_CHARACTERS: usize = 128;

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, joined by `/`.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_CHARACTERS && name.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let alphanumeric = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    if !component.starts_with(alphanumeric) || !component.ends_with(alphanumeric) {
        return false;
    }
    // What is left between the runs of letters and digits are the separators.
    component
        .split(alphanumeric)
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(super) fn is_tag(tag: &str) -> bool {
    tag.len() <= TAG_CHARACTERS
        && tag.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// What a manifest is asked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Tag(String),
    Digest(Digest),
}

/// Why a text is no reference; each is another error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadReference {
    Tag,
    Digest,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Self, BadReference> {
        if text.contains(':') {
            return Digest::parse(text).map(Self::Digest).ok_or(BadReference::Digest);
        }
        if is_tag(text) { Ok(Self::Tag(text.to_owned())) } else { Err(BadReference::Tag) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in
            ["a", "us-central1-docker.pkg.dev/local/carrack/hello", "a--b/c__d/e.f/0", "a---b", &"a".repeat(255)]
        {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "..",
            "a/../b",
            "a..b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "A",
            "a b",
            "a:b",
            "é",
            "a\0",
            &"a".repeat(256),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn tags() {
        for tag in ["latest", "_", "1.2.3-RC_4", &"t".repeat(128)] {
            assert!(is_tag(tag), "{tag}");
        }
        for tag in ["", ".", "..", "-a", "a/b", "a:b", "é", &"t".repeat(129)] {
            assert!(!is_tag(tag), "{tag}");
        }
    }

    #[test]
    fn references() {
        assert_eq!(Reference::parse("v1"), Ok(Reference::Tag("v1".to_owned())));
        assert_eq!(Reference::parse("sha256:abc"), Err(BadReference::Digest));
        assert_eq!(Reference::parse(".."), Err(BadReference::Tag));
        let digest = Digest::of(b"x");
        assert_eq!(Reference::parse(digest.as_str()), Ok(Reference::Digest(digest.clone())));
    }
}

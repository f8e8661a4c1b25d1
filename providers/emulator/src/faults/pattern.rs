//! Paths by glob or by prefix.

/// With a `*`, which is any text, slashes included, the whole path has to match; without one it is a prefix.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(rest) = path.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return true;
    };
    let mut rest = rest;
    for part in parts {
        // The earliest place leaves the most for the parts that follow.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_and_prefixes() {
        let path = "/v2/projects/p/locations/l/services/shop:setIamPolicy";
        for (pattern, expected) in [
            ("", true),
            ("/v2/projects/p", true),
            ("/v1", false),
            ("*", true),
            ("*:setIamPolicy", true),
            ("*/services/shop", false),
            ("/v2/*/services/*", true),
            ("/v2/*/services/*:getIamPolicy", false),
            ("/v2/*/*/*:set*", true),
            ("*shop*shop*", false),
            ("/v2/projects/p*p/locations*", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern}");
        }
        assert!(!matches("ab*ba", "aba"), "no letter counts twice");
    }
}

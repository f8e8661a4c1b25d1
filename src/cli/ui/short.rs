//! Long names as a table has room for them; JSON has them whole.

/// To the second.
pub(in crate::cli) fn time(time: &str) -> String {
    time.get(..19).map_or_else(|| time.to_owned(), |time| format!("{time}Z"))
}

/// As git shortens it; what is not committed is told.
pub(in crate::cli) fn commit(commit: &str) -> String {
    let (hash, rest) = commit.split_at(commit.find('-').unwrap_or(commit.len()));
    format!("{}{rest}", hash.get(..12).unwrap_or(hash))
}

/// By the beginning of its digest, else as it is named.
pub(in crate::cli) fn image(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once("@sha256:") {
        Some((name, digest)) => format!("{name}@{}", digest.get(..12).unwrap_or(digest)),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_names() {
        assert_eq!(super::time("2026-11-24T20:00:01.234567Z"), "2026-11-24T20:00:01Z");
        assert_eq!(super::commit("0123456789abcdef0123-dirty"), "0123456789ab-dirty");
        assert_eq!(super::commit("abc"), "abc");
        assert_eq!(super::image("h/p/shop@sha256:0123456789abcdef"), "shop@0123456789ab");
        assert_eq!(super::image("h:5000/p/shop:v1"), "shop:v1");
    }
}

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

/// How long ago, in the largest unit; nothing for a time that is none.
pub(in crate::cli) fn age(time: &str, now: jiff::Timestamp) -> Option<String> {
    let then: jiff::Timestamp = time.parse().ok()?;
    let seconds = (now.as_second() - then.as_second()).max(0);
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let (size, unit) = units.into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "second"));
    let count = seconds / size;
    Some(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_names() {
        assert_eq!(super::time("2026-11-24T20:00:01.234567Z"), "2026-11-24T20:00:01Z");
        assert_eq!(super::commit("0123456789abcdef0123-dirty"), "0123456789ab-dirty");
        assert_eq!(super::commit("abc"), "abc");
        let now: jiff::Timestamp = "2026-11-24T20:00:00Z".parse().expect("a time");
        for (then, expected) in [
            ("2026-11-24T19:59:59.5Z", Some("1 second")),
            ("2026-11-24T20:00:09Z", Some("0 seconds")),
            ("2026-11-24T18:00:00Z", Some("2 hours")),
            ("2026-11-23T19:00:00Z", Some("1 day")),
            ("", None),
        ] {
            assert_eq!(super::age(then, now).as_deref(), expected, "{then}");
        }
        assert_eq!(super::image("h/p/shop@sha256:0123456789abcdef"), "shop@0123456789ab");
        assert_eq!(super::image("h:5000/p/shop:v1"), "shop:v1");
    }
}

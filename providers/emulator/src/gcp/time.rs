//! Moments, as Google writes them.
use jiff::Timestamp;

/// With six digits: JSON of protocol buffers has none, three, six or nine of them, never another number.
/// <https://protobuf.dev/programming-guides/json/>
pub(crate) fn stamp(at: Timestamp) -> String {
    format!("{at:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_six_digits() {
        for (at, text) in [
            (Timestamp::UNIX_EPOCH, "1970-01-01T00:00:00.000000Z"),
            (Timestamp::new(1, 120_000_000).expect("a moment"), "1970-01-01T00:00:01.120000Z"),
            (Timestamp::new(1, 123_456_789).expect("a moment"), "1970-01-01T00:00:01.123456Z"),
        ] {
            assert_eq!(stamp(at), text);
        }
    }
}

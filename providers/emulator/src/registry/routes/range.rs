//! Byte ranges: what a client asks of a blob, and which bytes it says a chunk is.

/// The part of a blob to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// First and last byte, both included.
    Bytes(u64, u64),
    Unsatisfiable,
}

/// A `Range` header. One that is malformed, of another unit or of several ranges is ignored, as RFC 9110 lets a server do.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-14.2>
pub(super) fn requested(header: Option<&str>, size: u64) -> Part {
    parse(header, size).unwrap_or(Part::Whole)
}

fn parse(header: Option<&str>, size: u64) -> Option<Part> {
    let (first, last) = header?.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(if suffix == 0 || size == 0 {
            Part::Unsatisfiable
        } else {
            Part::Bytes(size.saturating_sub(suffix), size - 1)
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(if first >= size { Part::Unsatisfiable } else { Part::Bytes(first, last.min(size - 1)) })
}

/// An upload's `Content-Range: 0-1023`: first byte and length. Not the form of RFC 9110.
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks>
pub(super) fn of_chunk(header: &str) -> Option<(u64, u64)> {
    let (first, last) = header.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let length = last.checked_sub(first)?.checked_add(1)?;
    Some((first, length))
}

/// Digits alone: `parse` would take a plus sign too.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        for (header, size, expected) in [
            (None, 10, Part::Whole),
            (Some("bytes=0-0"), 10, Part::Bytes(0, 0)),
            (Some("bytes=2-4"), 10, Part::Bytes(2, 4)),
            (Some("bytes=2-"), 10, Part::Bytes(2, 9)),
            (Some("bytes=2-99"), 10, Part::Bytes(2, 9)),
            (Some("bytes=-3"), 10, Part::Bytes(7, 9)),
            (Some("bytes=-99"), 10, Part::Bytes(0, 9)),
            (Some("bytes=10-"), 10, Part::Unsatisfiable),
            (Some("bytes=-0"), 10, Part::Unsatisfiable),
            (Some("bytes=0-"), 0, Part::Unsatisfiable),
            (Some("bytes=4-2"), 10, Part::Whole),
            (Some("bytes=0-1,3-4"), 10, Part::Whole),
            (Some("bytes=+1-2"), 10, Part::Whole),
            (Some("lines=0-1"), 10, Part::Whole),
            (Some("bytes=99999999999999999999-"), 10, Part::Whole),
        ] {
            assert_eq!(requested(header, size), expected, "{header:?} of {size}");
        }
    }

    #[test]
    fn chunks() {
        assert_eq!(of_chunk("0-0"), Some((0, 1)));
        assert_eq!(of_chunk("5-9"), Some((5, 5)));
        for header in ["", "-", "5", "5-", "9-5", "bytes 0-1/2", "0-18446744073709551615", "+0-1"] {
            assert_eq!(of_chunk(header), None, "{header}");
        }
    }
}

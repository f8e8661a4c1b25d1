//! Numbers with units: CPU, memory and durations. Ranges are the clouds' affair and are checked elsewhere.
use std::time::Duration;

use carrack_core::spec::{Mebibytes, MilliCpu};

use super::read::Invalid;

/// `0.5`, `1` or `500m`.
pub(crate) fn parse_cpu(text: &str) -> Result<MilliCpu, Invalid> {
    let thousandths = match text.strip_suffix('m') {
        Some(digits) => whole(digits),
        None => decimal_thousandths(text),
    };
    match thousandths {
        Some(0) => Err(Invalid::new("cpu must be more than 0")),
        Some(thousandths) => Ok(MilliCpu(thousandths)),
        None => Err(Invalid::new(format!("invalid cpu `{text}`"))
            .hint("write `1`, `0.5` or `\"500m\"`; thousandths are the smallest part")),
    }
}

/// `512MiB` or `1GiB`. Decimal units differ from these by up to 7 %, so each spelling but one is refused.
pub(crate) fn parse_memory(text: &str) -> Result<Mebibytes, Invalid> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "MiB" => 1,
        "GiB" => 1024,
        _ => return Err(unknown_memory_unit(text, number, unit)),
    };
    match whole(number).and_then(|number| number.checked_mul(scale)) {
        Some(0) => Err(Invalid::new("memory must be more than 0")),
        Some(mebibytes) => Ok(Mebibytes(mebibytes)),
        None => Err(propose_memory(Invalid::new(format!("invalid memory `{text}`")), number, scale)),
    }
}

fn unknown_memory_unit(text: &str, number: &str, unit: &str) -> Invalid {
    let trimmed = unit.trim();
    let invalid = if number.is_empty() {
        Invalid::new(format!("invalid memory `{text}`"))
    } else if trimmed.is_empty() {
        Invalid::new(format!("memory `{text}` has no unit"))
    } else {
        Invalid::new(format!("unknown memory unit `{trimmed}`"))
    };
    let scale = match trimmed.to_ascii_lowercase().as_str() {
        "" | "m" | "mi" | "mb" | "mib" => 1,
        "g" | "gi" | "gb" | "gib" => 1024,
        "t" | "ti" | "tb" | "tib" => 1024 * 1024,
        _ => 0,
    };
    propose_memory(invalid, number, scale)
}

fn propose_memory(invalid: Invalid, number: &str, mebibytes: u32) -> Invalid {
    let thousandths = decimal_thousandths(number).map(u64::from);
    let proposal = thousandths
        .and_then(|thousandths| thousandths.checked_mul(u64::from(mebibytes)))
        .filter(|total| *total > 0 && total.is_multiple_of(1000))
        .and_then(|total| u32::try_from(total / 1000).ok());
    match proposal {
        Some(proposal) => invalid.label(format!("write \"{}\"", Mebibytes(proposal))),
        None => invalid.hint("write a whole number of MiB or GiB: \"512MiB\", \"1GiB\""),
    }
}

/// `2s`, `1m`, `1m30s`: whole seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let invalid = || Invalid::new(format!("invalid duration `{text}`"));
    let example = "write whole seconds, minutes or hours: \"2s\", \"1m\", \"1m30s\"";
    let (mut rest, mut seconds) = (text, 0_u64);
    for (unit, scale) in [('h', 3600), ('m', 60), ('s', 1)] {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let Some(after) = after.strip_prefix(unit) else {
            continue;
        };
        let Some(number) = whole(number) else {
            return Err(invalid().hint(example));
        };
        // 32 bits times 3600 fit into 64.
        seconds += u64::from(number) * scale;
        rest = after;
    }
    if text.is_empty() || !rest.is_empty() {
        return Err(match whole(text) {
            Some(number) => {
                Invalid::new(format!("duration `{text}` has no unit")).label(format!("write \"{number}s\""))
            }
            None => invalid().hint(example),
        });
    }
    Ok(Duration::from_secs(seconds))
}

/// Seconds in the form that [`parse_duration`] reads.
pub(crate) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn whole(digits: &str) -> Option<u32> {
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

/// `1`, `0.5`, `1.250`: up to three decimals.
fn decimal_thousandths(text: &str) -> Option<u32> {
    let (units, part) = text.split_once('.').unwrap_or((text, "0"));
    let decimals = part.trim_end_matches('0');
    if part.is_empty() || decimals.len() > 3 {
        return None;
    }
    let part = whole(&format!("{decimals:0<3}"))?;
    whole(units)?.checked_mul(1000)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("0.08", Some(80)),
            ("1.250", Some(1250)),
            ("1.0000", Some(1000)),
            ("500m", Some(500)),
            ("0", None),
            ("0m", None),
            ("0.0001", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            (".5", None),
            ("1.", None),
            ("inf", None),
            ("1 ", None),
            ("1m1", None),
            ("4294968", None),
            ("", None),
        ] {
            assert_eq!(parse_cpu(text).ok(), expected.map(MilliCpu), "{text}");
        }
    }

    #[test]
    fn memory() {
        for (text, expected) in [
            ("512MiB", Some(512)),
            ("1GiB", Some(1024)),
            ("32GiB", Some(32768)),
            ("0MiB", None),
            ("4194304GiB", None),
            ("512", None),
            ("-1GiB", None),
        ] {
            assert_eq!(parse_memory(text).ok(), expected.map(Mebibytes), "{text}");
        }
    }

    #[test]
    fn memory_says_what_to_write() {
        for (text, message, label) in [
            ("512M", "unknown memory unit `M`", Some("write \"512MiB\"")),
            ("1G", "unknown memory unit `G`", Some("write \"1GiB\"")),
            ("512Mi", "unknown memory unit `Mi`", Some("write \"512MiB\"")),
            ("512 MiB", "unknown memory unit `MiB`", Some("write \"512MiB\"")),
            ("512mb", "unknown memory unit `mb`", Some("write \"512MiB\"")),
            ("0.5Gi", "unknown memory unit `Gi`", Some("write \"512MiB\"")),
            ("1.5GiB", "invalid memory `1.5GiB`", Some("write \"1536MiB\"")),
            ("512", "memory `512` has no unit", Some("write \"512MiB\"")),
            ("64KiB", "unknown memory unit `KiB`", None),
            ("0.1MiB", "invalid memory `0.1MiB`", None),
            ("much", "invalid memory `much`", None),
            ("1.2.3GiB", "invalid memory `1.2.3GiB`", None),
            ("", "invalid memory ``", None),
        ] {
            let invalid = parse_memory(text).expect_err(text);
            assert_eq!((&*invalid.message, invalid.label.as_deref()), (message, label));
            assert_eq!(invalid.hints.is_empty(), label.is_some(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("2s", Some(2)),
            ("0s", Some(0)),
            ("1m", Some(60)),
            ("1m30s", Some(90)),
            ("90s", Some(90)),
            ("1h", Some(3600)),
            ("1h1s", Some(3601)),
            ("2", None),
            ("", None),
            ("s", None),
            ("1s1m", None),
            ("1s1s", None),
            ("500ms", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("99999999999s", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(parse_duration(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in ["0s", "59s", "1m", "1m30s", "60m"] {
            let duration = parse_duration(text).expect("it is one");
            assert_eq!(show_duration(duration), text);
        }
    }
}

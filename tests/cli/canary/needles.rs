//! Marked values, in every form that they may be written in.
use std::collections::{BTreeMap, BTreeSet};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// A shorter text could be anywhere by chance.
const SHORTEST: usize = 12;
/// So many bytes of a needle are looked up at each place.
const HEAD: usize = 8;

/// What is looked for, and what each of it is a form of.
pub(super) struct Needles {
    by_head: BTreeMap<[u8; HEAD], Vec<(String, Vec<u8>)>>,
    /// Whether some needle begins with these two bytes.
    begins: Vec<bool>,
}

impl Needles {
    /// By the values' names.
    pub(super) fn new(values: &[(&str, &[u8])]) -> Self {
        let mut needles = Self { by_head: BTreeMap::new(), begins: vec![false; 1 << 16] };
        for (name, value) in values {
            for (form, bytes) in forms(value) {
                if bytes.len() >= SHORTEST {
                    needles.begins[pair(&bytes)] = true;
                    let head = bytes[..HEAD].try_into().unwrap();
                    needles.by_head.entry(head).or_default().push((format!("{name}, {form}"), bytes));
                }
            }
        }
        needles
    }

    pub(super) fn count(&self) -> usize {
        self.by_head.values().map(Vec::len).sum()
    }

    /// Which of them are there.
    pub(super) fn found_in(&self, text: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for at in 0..text.len().saturating_sub(HEAD - 1) {
            if !self.begins[pair(&text[at..])] {
                continue;
            }
            let head: [u8; HEAD] = text[at..at + HEAD].try_into().unwrap();
            let here = self.by_head.get(&head).into_iter().flatten();
            found.extend(here.filter(|(_, bytes)| text[at..].starts_with(bytes)).map(|(name, _)| name.as_str()));
        }
        found
    }
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// The value as it is, and as others would write it. Of a text its longest word is looked for as well, which no escape
/// changes, and which is in base64 of whatever is around it.
fn forms(value: &[u8]) -> BTreeSet<(String, Vec<u8>)> {
    let mut forms = BTreeSet::new();
    for (part, bytes) in [("whole", value), ("word", longest_word(value))] {
        let mut add = |form: &str, bytes: Vec<u8>| {
            forms.insert((format!("{part}: {form}"), bytes));
        };
        let text = String::from_utf8_lossy(bytes);
        add("raw", bytes.to_vec());
        add("lossy", text.as_bytes().to_vec());
        let json = serde_json::to_string(&text).unwrap();
        add("json", json.trim_matches('"').as_bytes().to_vec());
        add("debug", text.escape_debug().to_string().into_bytes());
        add("ascii", bytes.escape_ascii().to_string().into_bytes());
        for (form, hex) in [("hex", hex(bytes, false)), ("HEX", hex(bytes, true))] {
            add(form, hex.into_bytes());
        }
        for upper in [true, false] {
            add("url", percent(bytes, upper).into_bytes());
        }
        for separator in [",", ", "] {
            let list = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(separator);
            add("decimal", list.into_bytes());
        }
        for before in 0..3 {
            for (form, engine) in [("base64", &STANDARD_NO_PAD), ("base64url", &URL_SAFE_NO_PAD)] {
                add(form, aligned(&engine.encode([&vec![0; before], bytes].concat()), before, bytes.len()));
            }
        }
    }
    forms
}

/// What of base64 does not depend on the bytes before and behind.
fn aligned(encoded: &str, before: usize, length: usize) -> Vec<u8> {
    encoded.as_bytes()[(before * 8).div_ceil(6)..(before + length) * 8 / 6].to_vec()
}

fn longest_word(value: &[u8]) -> &[u8] {
    let words = value.split(|byte| !byte.is_ascii_alphanumeric());
    words.max_by_key(|word| word.len()).unwrap_or_default()
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
}

fn percent(bytes: &[u8], upper: bool) -> String {
    let one = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => char::from(*byte).to_string(),
        byte if upper => format!("%{byte:02X}"),
        byte => format!("%{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

#[test]
fn each_form_is_seen() {
    let text = "p&=/ \"quoted\" Kanarienvogel0123456789 ü\\\n".as_bytes();
    let binary: Vec<u8> = (0..40).map(|number: u8| number.wrapping_mul(37).wrapping_add(201)).collect();
    let needles = Needles::new(&[("text", text), ("binary", &binary)]);
    assert!(needles.found_in(b"Kanarienvogel01234567 8 and other words, 0123456789").is_empty());
    for value in [text, &binary] {
        let lossy = String::from_utf8_lossy(value).into_owned();
        let inside = |bytes: &[u8]| STANDARD_NO_PAD.encode([b"user:", bytes, b"@host"].concat());
        let mut forms = vec![value.to_vec(), lossy.clone().into_bytes(), inside(value).into_bytes()];
        forms.extend([STANDARD_NO_PAD.encode(value), URL_SAFE_NO_PAD.encode(value)].map(String::into_bytes));
        forms.extend(
            [hex(value, true), hex(value, false), percent(value, true), format!("{value:?}")].map(String::into_bytes),
        );
        forms.extend([format!("{lossy:?}"), serde_json::json!({ "a": lossy }).to_string()].map(String::into_bytes));
        forms.push(serde_json::to_vec(value).unwrap());
        for form in forms {
            let around = [b"before ", form.as_slice(), b" behind"].concat();
            assert!(!needles.found_in(&around).is_empty(), "{}", String::from_utf8_lossy(&form));
        }
    }
}

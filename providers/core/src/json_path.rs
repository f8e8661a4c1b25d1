//! Where something stands in a cloud's own JSON: `template.containers[proxy].resources.limits."nvidia.com/gpu"`.
use std::{fmt, str::FromStr};

use crate::{Error, ErrorKind, Result};

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A field, or an entry of a table.
    Key(String),
    /// An entry of a list by its `name`; `None` is the one that has none.
    Entry(Option<String>),
}

/// From the resource down.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JsonPath(pub Vec<Part>);

impl JsonPath {
    /// One step further.
    #[must_use]
    pub fn and(&self, part: Part) -> Self {
        Self(self.0.iter().cloned().chain([part]).collect())
    }

    /// The field of this name in it.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.and(Part::Key(key.to_owned()))
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            match part {
                Part::Entry(name) => write!(f, "[{}]", name.as_deref().unwrap_or_default())?,
                Part::Key(key) => {
                    if index > 0 {
                        f.write_str(".")?;
                    }
                    if is_plain(key) { f.write_str(key)? } else { write!(f, "\"{key}\"")? }
                }
            }
        }
        Ok(())
    }
}

impl FromStr for JsonPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::new(ErrorKind::Internal, format!("`{text}` names no field"));
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let part;
            if let Some(entry) = rest.strip_prefix('[') {
                let (name, after) = entry.split_once(']').ok_or_else(bad)?;
                (part, rest) = (Part::Entry((!name.is_empty()).then(|| name.to_owned())), after);
            } else {
                let field = if parts.is_empty() { rest } else { rest.strip_prefix('.').ok_or_else(bad)? };
                if let Some(quoted) = field.strip_prefix('"') {
                    let (key, after) = quoted.split_once('"').ok_or_else(bad)?;
                    (part, rest) = (Part::Key(key.to_owned()), after);
                } else {
                    let end = field.find(['.', '[']).unwrap_or(field.len());
                    let (key, after) = field.split_at(end);
                    if !is_plain(key) {
                        return Err(bad());
                    }
                    (part, rest) = (Part::Key(key.to_owned()), after);
                }
            }
            parts.push(part);
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_is_written() {
        for text in [
            "template.encryptionKey",
            "template.containers[].resources.limits.\"nvidia.com/gpu\"",
            "template.containers[proxy].baseImageUri",
            "template.annotations.\"example.com/a\"",
            "",
        ] {
            assert_eq!(text.parse::<JsonPath>().expect(text).to_string(), text);
        }
        for text in ["a..b", ".a", "a[", "a.\"b", "a b"] {
            assert!(text.parse::<JsonPath>().is_err(), "{text}");
        }
    }
}

//! How a section is read: one macro makes the struct, its reader, its list of keys and its JSON Schema from
//! one list, so that none of them can drift from the others.
use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{
    diagnostics::{Problem, Span},
    document::{Entry, Node, Value},
    suggest,
};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// What is wrong with a value, without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    pub(crate) hints: Vec<String>,
}

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), label: None, hints: Vec::new() }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// As a sentence, with no place to point at.
    pub(crate) fn into_text(self) -> String {
        let Self { message, label, hints } = self;
        std::iter::once(message).chain(label).chain(hints).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn at(self, span: &Span) -> Problem {
        let problem = Problem::new(span, self.message).hints(self.hints);
        match self.label {
            Some(label) => problem.label(label),
            None => problem,
        }
    }
}

/// Where the reader is, and what it found wrong.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) problems: Vec<Problem>,
    /// The keys from the root to here.
    pub(crate) path: Vec<String>,
}

impl Context {
    pub(crate) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The key that is read.
    pub(crate) fn key(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// For messages: `[targets.prod]`.
    pub(crate) fn section(&self) -> String {
        section_name(&self.path)
    }

    /// Reports that a value has another type.
    pub(crate) fn wrong_type(&mut self, node: &Node, expected: &str, hint: Option<String>) {
        let message = format!("`{}` takes {expected}, not {}", self.key(), node.described());
        let mut problem = Problem::new(&node.span, message).label(format!("expected {expected}"));
        if node.interpolated {
            problem = problem.hint("`${…}` always gives a string");
        }
        self.report(problem.hints(hint));
    }

    fn read<T: Read>(&mut self, entry: &Entry) -> Option<At<T>> {
        self.path.push(entry.key.clone());
        let value = self.value(&entry.node);
        self.path.pop();
        value
    }

    fn value<T: Read>(&mut self, node: &Node) -> Option<At<T>> {
        // A variable that is not set was reported where it stands.
        if matches!(node.value, Value::Unset) {
            return None;
        }
        T::read(node, self).map(|value| At { value, span: node.span.clone() })
    }
}

pub(crate) fn section_name(path: &[String]) -> String {
    format!("[{}]", path.join("."))
}

/// A type that a value of the file can have.
pub(crate) trait Read: Sized {
    /// Reads it; what is wrong is reported, and then there is no value.
    fn read(node: &Node, context: &mut Context) -> Option<Self>;
    /// Its JSON Schema.
    fn schema() -> Json;
}

/// The entries of a section that is being read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub(crate) node: &'a Node,
}

impl<'a> Table<'a> {
    /// Opens a section and reports the keys that it does not have.
    pub(crate) fn open(node: &'a Node, context: &mut Context, keys: &[&str]) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            let hint = format!("write {}", section_name(&context.path));
            context.wrong_type(node, "a table", (context.path.len() == 1).then_some(hint));
            return None;
        };
        for entry in entries.iter().filter(|entry| !keys.contains(&&*entry.key)) {
            context.report(suggest::unknown_key(entry, keys, &context.path));
        }
        Some(Self { node })
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }

    pub(crate) fn optional<T: Read>(&self, key: &str, context: &mut Context) -> Option<At<T>> {
        self.node.get(key).and_then(|entry| context.read(entry))
    }

    pub(crate) fn required<T: Read>(&self, key: &str, context: &mut Context) -> Option<At<T>> {
        if !self.has(key) {
            let problem = if context.path.is_empty() {
                Problem::new(&self.node.span, format!("missing section [{key}]"))
            } else {
                let message = format!("missing key `{key}` in {}", context.section());
                Problem::new(&self.node.span, message).label(format!("`{key}` is required"))
            };
            context.report(problem);
        }
        self.optional(key, context)
    }
}

/// The name of a field as it stands in the file.
pub(crate) fn key_name(field: &'static str) -> &'static str {
    match field {
        // A cloud's own section is called after its provider.
        "cloud_run" => "cloud-run",
        _ => field.strip_prefix("r#").unwrap_or(field),
    }
}

/// Declares a section: each key is `required` or `optional`, has a type, and a description.
macro_rules! section {
    ($(#[doc = $doc:literal])* $name:ident $(checked_by $check:path)? {
        $($(#[doc = $key_doc:literal])+ $field:ident: $need:ident $type:ty,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            $($(#[doc = $key_doc])* pub(crate) $field: section!(@type $need $type),)*
        }

        impl $name {
            /// The keys that it has.
            pub(crate) fn keys() -> Vec<&'static str> {
                vec![$($crate::config::read::key_name(stringify!($field))),*]
            }
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::document::Node,
                context: &mut $crate::config::read::Context,
            ) -> Option<Self> {
                let table = $crate::config::read::Table::open(node, context, &Self::keys())?;
                $(let $field = table.$need::<$type>(
                    $crate::config::read::key_name(stringify!($field)), context);)*
                let section = Self { $($field: section!(@take $need $field),)* };
                $($check(&section, &table, context);)?
                Some(section)
            }

            fn schema() -> serde_json::Value {
                $crate::config::read::object(vec![$(
                    $crate::config::read::Property {
                        key: $crate::config::read::key_name(stringify!($field)),
                        description: concat!($($key_doc),*).trim(),
                        required: section!(@is_required $need),
                        schema: <$type as $crate::config::read::Read>::schema(),
                    },
                )*])
            }
        }
    };
    (@type required $type:ty) => { $crate::config::read::At<$type> };
    (@type optional $type:ty) => { Option<$crate::config::read::At<$type>> };
    (@take required $field:ident) => { $field? };
    (@take optional $field:ident) => { $field };
    (@is_required required) => { true };
    (@is_required optional) => { false };
}
pub(crate) use section;

/// One key of a section, for its schema.
#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) key: &'static str,
    pub(crate) description: &'static str,
    pub(crate) required: bool,
    pub(crate) schema: Json,
}

pub(crate) fn object(properties: Vec<Property>) -> Json {
    let (mut map, mut required) = (serde_json::Map::new(), Vec::new());
    for mut property in properties {
        if let Some(schema) = property.schema.as_object_mut() {
            schema.insert("description".to_owned(), property.description.into());
        }
        if property.required {
            required.push(property.key);
        }
        map.insert(property.key.to_owned(), property.schema);
    }
    json!({
        "type": "object", "properties": map, "required": required, "additionalProperties": false,
    })
}

/// The rule for the keys of a section with free keys.
pub(crate) trait KeyRule {
    /// A regular expression for editors.
    const PATTERN: &'static str;
    /// The whole rule.
    fn check(key: &str) -> Result<(), Invalid>;
}

/// A section with free keys.
#[derive(Clone, Debug)]
pub(crate) struct Entries<K, V> {
    pub(crate) map: BTreeMap<String, At<V>>,
    rule: std::marker::PhantomData<K>,
}

impl<K: KeyRule, V: Read> Read for Entries<K, V> {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let table = Table::open(node, context, &node_keys(node))?;
        let mut map = BTreeMap::new();
        for entry in table.node.entries() {
            if let Err(invalid) = K::check(&entry.key) {
                context.report(invalid.at(&entry.key_span));
            }
            if let Some(value) = context.read(entry) {
                map.insert(entry.key.clone(), value);
            }
        }
        Some(Self { map, rule: std::marker::PhantomData })
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "propertyNames": { "pattern": K::PATTERN },
            "additionalProperties": V::schema(),
        })
    }
}

fn node_keys(node: &Node) -> Vec<&str> {
    node.entries().iter().map(|entry| &*entry.key).collect()
}

impl<T: Read> Read for Vec<At<T>> {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            context.wrong_type(node, "a list", None);
            return None;
        };
        let values: Vec<_> = items.iter().map(|item| context.value(item)).collect();
        values.into_iter().collect()
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
}

//! Texts, each with its reader and its JSON Schema.
use carrack_core::{
    fields::KEYED_TABLES,
    spec::{ImageRef, ProviderId, ServiceName},
};
use serde_json::{Value as Json, json};

use super::{
    document::{Node, Value},
    names,
    read::{Context, Invalid, KeyRule, Read},
    suggest::{nearest, quoted},
};

/// The providers that work.
pub(crate) const PROVIDERS: [&str; 1] = ["cloud-run"];

/// The text of a string. For another value the same in quotes is proposed, where `takes` it.
pub(crate) fn text<'a>(node: &'a Node, context: &mut Context, takes: impl Fn(&str) -> bool) -> Option<&'a str> {
    let proposal = match &node.value {
        Value::Text(text) => return Some(text),
        Value::Integer(number) | Value::Float(number) => Some(number.clone()),
        Value::Boolean(boolean) => Some(boolean.to_string()),
        _ => None,
    };
    let hint = proposal.filter(|text| takes(text)).map(|text| format!("write \"{text}\""));
    context.wrong_type(node, "a string", hint);
    None
}

pub(crate) fn valid<T>(result: Result<T, Invalid>, node: &Node, context: &mut Context) -> Option<T> {
    result.map_err(|invalid| context.report(invalid.at(&node.span))).ok()
}

/// A text with a rule.
macro_rules! text_value {
    ($($name:ident by $rule:path, $schema:tt;)*) => {$(
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) String);

        impl Read for $name {
            fn read(node: &Node, context: &mut Context) -> Option<Self> {
                let text = text(node, context, |text| $rule(text).is_ok())?;
                valid($rule(text), node, context)?;
                Some(Self(text.to_owned()))
            }
            fn schema() -> Json {
                json!($schema)
            }
        }
    )*};
}
pub(crate) use text_value;

text_value! {
    ImageName by names::image_name, { "type": "string" };
    ImageFile by names::image_file, { "type": "string", "pattern": "^/" };
    LocalPath by names::local_path, { "type": "string", "minLength": 1 };
    HttpPath by names::http_path, { "type": "string", "pattern": "^/" };
    Command by names::command, { "type": "string", "minLength": 1 };
    SomeText by names::some_text, { "type": "string", "minLength": 1 };
    LabelValue by names::label_value, { "type": "string", "maxLength": 63 };
    Project by names::project, { "type": "string", "minLength": 1 };
    Region by names::region, { "type": "string", "pattern": "^[a-z][a-z0-9-]*$" };
    ServiceAccount by names::service_account, { "type": "string", "pattern": "@" };
    FederationProvider by names::federation_provider, { "type": "string", "pattern": "^projects/[0-9]+/locations/global/workloadIdentityPools/[^/]+/providers/[^/]+$" };
    Repository by names::repository, { "type": "string", "pattern": "/" };
    KeyedTable by keyed_table, { "enum": KEYED_TABLES };
    Base by base, { "type": "string", "minLength": 1 };
}

fn keyed_table(name: &str) -> Result<(), Invalid> {
    if KEYED_TABLES.contains(&name) {
        return Ok(());
    }
    let invalid = Invalid::new(format!("`exact` cannot hold `{name}`"));
    Err(match nearest(name, KEYED_TABLES.into_iter()) {
        Some(near) => invalid.label(format!("did you mean `{near}`?")),
        None => invalid.hint(format!("it takes {}", quoted(&KEYED_TABLES))),
    })
}

/// The base that is nothing.
pub const SCRATCH: &str = "scratch";

fn base(name: &str) -> Result<(), Invalid> {
    if name == SCRATCH {
        return Ok(());
    }
    names::base(name).map(drop).map_err(|invalid| match nearest(name, [SCRATCH].into_iter()) {
        Some(near) => Invalid::new(invalid.message).label(format!("did you mean \"{near}\"?")),
        None => invalid,
    })
}

/// The keys of `[env]`.
#[derive(Clone, Debug)]
pub(crate) struct ServiceVariable;

impl KeyRule for ServiceVariable {
    const PATTERN: &'static str = "^[A-Za-z_][A-Za-z0-9_]*$";
    fn check(key: &str) -> Result<(), Invalid> {
        names::service_variable(key)
    }
}

/// The keys of `[sidecars.NAME.env]`.
#[derive(Clone, Debug)]
pub(crate) struct SidecarVariable;

impl KeyRule for SidecarVariable {
    const PATTERN: &'static str = ServiceVariable::PATTERN;
    fn check(key: &str) -> Result<(), Invalid> {
        names::sidecar_variable(key)
    }
}

/// The keys of `[image.build.env]`.
#[derive(Clone, Debug)]
pub(crate) struct Variable;

impl KeyRule for Variable {
    const PATTERN: &'static str = ServiceVariable::PATTERN;
    fn check(key: &str) -> Result<(), Invalid> {
        names::variable(key)
    }
}

/// The keys of `[labels]`.
#[derive(Clone, Debug)]
pub(crate) struct LabelKey;

impl KeyRule for LabelKey {
    const PATTERN: &'static str = "^[\\p{Ll}\\p{Lo}][\\p{Ll}\\p{Lo}\\p{N}_-]{0,62}$";
    fn check(key: &str) -> Result<(), Invalid> {
        names::label_key(key)
    }
}

/// The keys of `[targets]`.
#[derive(Clone, Debug)]
pub(crate) struct TargetName;

impl KeyRule for TargetName {
    const PATTERN: &'static str = "^[A-Za-z0-9][A-Za-z0-9_-]*$";
    fn check(key: &str) -> Result<(), Invalid> {
        names::target(key)
    }
}

/// A variable's value: numbers and booleans become text.
#[derive(Clone, Debug)]
pub(crate) struct EnvText(pub(crate) String);

impl Read for EnvText {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        match &node.value {
            Value::Text(text) | Value::Integer(text) | Value::Float(text) => Some(Self(text.clone())),
            Value::Boolean(boolean) => Some(Self(boolean.to_string())),
            _ => {
                context.wrong_type(node, "a string, a number or a boolean", None);
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

impl Read for String {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        text(node, context, |_| true).map(str::to_owned)
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl Read for ServiceName {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let name = Self::try_from(text(node, context, |_| false)?.to_owned());
        let name = name.map_err(|error| {
            let invalid = Invalid::new(error.message());
            error.hints().iter().fold(invalid, |invalid, hint| invalid.hint(hint))
        });
        valid(name, node, context)
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$" })
    }
}

impl Read for ProviderId {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let name = text(node, context, |_| false)?;
        let provider = if PROVIDERS.contains(&name) {
            Ok(Self(name.to_owned()))
        } else {
            let invalid = Invalid::new(format!("unknown provider `{name}`"));
            Err(match nearest(name, PROVIDERS.into_iter()) {
                Some(near) => invalid.label(format!("did you mean \"{near}\"?")),
                None => invalid.hint(format!("the providers are {}", quoted(&PROVIDERS))),
            })
        };
        valid(provider, node, context)
    }
    fn schema() -> Json {
        json!({ "enum": PROVIDERS })
    }
}

impl Read for ImageRef {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let text = text(node, context, |_| false)?;
        valid(names::image_reference(text), node, context)
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "/.+[:@]" })
    }
}

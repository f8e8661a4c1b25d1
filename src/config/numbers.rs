//! Numbers, sizes, times and switches, each with its reader and its JSON Schema.
use std::time::Duration;

use carrack_core::spec::{Mebibytes, MilliCpu};
use serde_json::{Value as Json, json};

use super::{
    document::{Node, Value},
    read::{Context, Invalid, Read},
    units,
    values::{SomeText, valid},
};

impl Read for bool {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        if let Value::Boolean(boolean) = node.value {
            return Some(boolean);
        }
        context.wrong_type(node, "a boolean", Some("write `true` or `false`".to_owned()));
        None
    }
    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl Read for MilliCpu {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        match &node.value {
            Value::Text(text) | Value::Integer(text) | Value::Float(text) => {
                valid(units::parse_cpu(text), node, context)
            }
            _ => {
                context.wrong_type(node, "a number or a string", Some("write `1`, `0.5` or `\"500m\"`".to_owned()));
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "type": ["number", "string"], "exclusiveMinimum": 0, "pattern": "^[0-9]+(\\.[0-9]{1,3}|m)?$" })
    }
}

impl Read for Mebibytes {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        match &node.value {
            Value::Text(text) => valid(units::parse_memory(text), node, context),
            Value::Integer(number) => {
                context.wrong_type(node, "a string with a unit", Some(format!("write \"{number}MiB\"")));
                None
            }
            _ => {
                context.wrong_type(node, "a string with a unit", Some("write \"512MiB\" or \"1GiB\"".to_owned()));
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(MiB|GiB)$" })
    }
}

impl Read for Duration {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        match &node.value {
            Value::Text(text) => valid(units::parse_duration(text), node, context),
            Value::Integer(number) => {
                context.wrong_type(node, "a string with a unit", Some(format!("write \"{number}s\"")));
                None
            }
            _ => {
                context.wrong_type(node, "a string with a unit", Some("write \"10s\" or \"1m30s\"".to_owned()));
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2 })
    }
}

/// A whole number in a range.
fn integer(node: &Node, context: &mut Context, from: u32, to: u32) -> Option<u32> {
    let Value::Integer(digits) = &node.value else {
        context.wrong_type(node, "an integer", None);
        return None;
    };
    let number = digits.parse().ok().filter(|number| (from..=to).contains(number));
    if number.is_none() {
        let message = format!("`{}` cannot be {digits}", context.key());
        let range = match to {
            u32::MAX | COUNT_MAX => format!("use {from} or more"),
            to => format!("use {from} to {to}"),
        };
        context.report(Invalid::new(message).label(range).at(&node.span));
    }
    number
}

/// Google's counts have 31 bits (`int32`).
const COUNT_MAX: u32 = 2_147_483_647;

macro_rules! integer_value {
    ($($(#[doc = $doc:literal])* $name:ident($type:ty) from $from:literal to $to:expr;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(pub(crate) $type);

        impl Read for $name {
            fn read(node: &Node, context: &mut Context) -> Option<Self> {
                let number = integer(node, context, $from, $to)?;
                <$type>::try_from(number).ok().map(Self)
            }
            fn schema() -> Json {
                json!({ "type": "integer", "minimum": $from, "maximum": $to })
            }
        }
    )*};
}

integer_value! {
    /// A TCP port.
    Port(u16) from 1 to 65_535;
    /// A number of instances or requests; what the cloud allows is checked elsewhere.
    Count(u32) from 0 to COUNT_MAX;
    /// How often a check must fail.
    Failures(u32) from 1 to COUNT_MAX;
    /// A step of a rollout.
    Percent(u8) from 1 to 99;
    /// An HTTP status that can be a right answer.
    Status(u16) from 100 to 499;
}

/// `tcp = true` or a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpCheck(pub(crate) Option<u16>);

impl Read for TcpCheck {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        match node.value {
            Value::Boolean(true) => Some(Self(None)),
            Value::Integer(_) => Port::read(node, context).map(|port| Self(Some(port.0))),
            _ => {
                context.wrong_type(node, "`true` or a port", None);
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": true }, Port::schema()] })
    }
}

/// `grpc = true` or the name of a gRPC service.
#[derive(Clone, Debug)]
pub(crate) struct GrpcCheck(pub(crate) Option<String>);

impl Read for GrpcCheck {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        match &node.value {
            Value::Boolean(true) => Some(Self(None)),
            Value::Text(_) => SomeText::read(node, context).map(|name| Self(Some(name.0))),
            Value::Integer(port) => {
                let hint = format!("write `grpc = true, port = {port}`");
                context.wrong_type(node, "`true` or the name of a gRPC service", Some(hint));
                None
            }
            _ => {
                context.wrong_type(node, "`true` or the name of a gRPC service", None);
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": true }, SomeText::schema()] })
    }
}

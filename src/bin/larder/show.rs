//! Prints a stored value: text, numbers and bytes as they are, what is neither as JSON or described.
//! `get` calls it, and so do the commands that dump a memcached.

use std::fmt;

use bytes::Bytes;
use larder::backend::{Stored, envelope, flags};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::failure::Failure;
use super::print::{Out, put_bytes};

/// In which form values are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people and for shells.
    Plain,
    /// One object on one line.
    Json,
    /// What is stored, byte for byte.
    Bytes,
}

/// What the flags say of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bytes,
    Integer,
    Text,
    MessagePack,
    Page,
    HeaderLists,
    Stamp,
    Pickle,
    Unknown,
}

impl Kind {
    /// The kind that flags stand for; those of other clients of Django are among them.
    pub fn of(number: u32) -> Self {
        match number {
            flags::BYTES => Kind::Bytes,
            // pylibmc's integers are 4.
            flags::INTEGER | 4 => Kind::Integer,
            flags::TEXT => Kind::Text,
            flags::SERDE => Kind::MessagePack,
            flags::PAGE => Kind::Page,
            flags::HEADER_LISTS => Kind::HeaderLists,
            flags::STAMP => Kind::Stamp,
            1 => Kind::Pickle,
            _ => Kind::Unknown,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Bytes => "bytes",
            Kind::Integer => "integer",
            Kind::Text => "text",
            Kind::MessagePack => "serde",
            Kind::Page => "page",
            Kind::HeaderLists => "page-headers",
            Kind::Stamp => "stamp",
            Kind::Pickle => "pickle",
            Kind::Unknown => "unknown",
        }
    }
}

/// Prints one value.
pub fn show(out: &mut Out, key: &str, stored: &Stored, form: Form) -> Result<(), Failure> {
    let kind = Kind::of(stored.flags);
    match form {
        Form::Bytes => out.bytes(&stored.data)?,
        Form::Json => {
            let mut line = Map::new();
            line.insert("key".into(), key.into());
            describe(&mut line, stored.flags, &stored.data);
            out.json(&Value::Object(line))?;
        }
        Form::Plain => match kind {
            Kind::Bytes => out.bytes(&stored.data)?,
            Kind::Text => out.line(&stored.data)?,
            // A memcached server pads a number that became shorter with blanks.
            Kind::Integer => out.line(stored.data.trim_ascii_end())?,
            other => return Err(Failure::Refused(described(key, other, stored))),
        },
    }
    Ok(())
}

fn described(key: &str, kind: Kind, stored: &Stored) -> String {
    let size = stored.data.len();
    let (what, advice) = match kind {
        Kind::MessagePack => ("a structured value", "--json shows it"),
        Kind::Page => ("a page", "`larder page get URL` shows it"),
        Kind::HeaderLists => {
            ("the list of headers that the pages of a URL vary on", "`larder page get URL` shows the pages")
        }
        Kind::Stamp => ("a stamp: pages that have it are current", "--bytes prints it as it is"),
        Kind::Pickle => ("a pickle that only Python reads", "--bytes prints it as it is"),
        _ => ("a value of another program", "--bytes prints it as it is"),
    };
    format!("under the key {key:?} is {what} (flags {}, {size} bytes): {advice}", stored.flags)
}

/// Puts kind, flags, size and value into a JSON object; a value that cannot be shown is left as base64.
pub fn describe(line: &mut Map<String, Value>, number: u32, data: &Bytes) {
    // On memcached, values that Django has no form for lie in an envelope.
    let opened = if number == flags::SERDE + 1 { envelope::open(data) } else { None };
    let (inner, data) = opened.map_or((number, data.clone()), |stored| (stored.flags, stored.data));
    let data = &data[..];
    let kind = Kind::of(inner);
    line.insert("kind".into(), kind.name().into());
    line.insert("flags".into(), number.into());
    line.insert("bytes".into(), data.len().into());
    let value = match kind {
        Kind::Integer => {
            std::str::from_utf8(data).ok().and_then(|digits| digits.trim_end().parse::<i64>().ok()).map(Value::from)
        }
        Kind::MessagePack => message_pack(data),
        _ => None,
    };
    match value {
        Some(value) => drop(line.insert("value".into(), value)),
        None => put_bytes(line, "value", data),
    }
}

/// How deep a value may be nested, as for the cache itself.
const DEEPEST: usize = 128;

fn message_pack(data: &[u8]) -> Option<Value> {
    let mut rest = data;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(DEEPEST);
    let Json(value) = Json::deserialize(&mut deserializer).ok()?;
    rest.is_empty().then_some(value)
}

/// Any value as JSON: keys of maps become text, bytes become base64.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

macro_rules! visit_plain {
    ($($method:ident: $plain:ty),*) => {$(
        fn $method<E>(self, value: $plain) -> Result<Json, E> {
            Ok(Json(Value::from(value)))
        }
    )*};
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    visit_plain!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_i128<E>(self, value: i128) -> Result<Json, E> {
        Ok(Json(Value::from(value.to_string())))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Json, E> {
        Ok(Json(Value::from(value.to_string())))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Json, E> {
        let mut object = Map::new();
        put_bytes(&mut object, "bytes", bytes);
        Ok(Json(Value::Object(object)))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        Json::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        Json::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(Json(value)) = elements.next_element()? {
            values.push(value);
        }
        Ok(Json(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some((Json(key), Json(value))) = entries.next_entry()? {
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            object.insert(key, value);
        }
        Ok(Json(Value::Object(object)))
    }
}

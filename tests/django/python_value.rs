//! A value of any type, as the vectors write Python's: what the low-level runner stores and reads back.
//! It goes through serde like any value of an application.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// A Python value that the vectors can hold.
#[derive(Clone, Debug)]
pub enum Python {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Python>),
    Map(Vec<(Python, Python)>),
}

impl Python {
    pub fn text(text: &str) -> Self {
        Python::Str(text.to_owned())
    }

    /// What the vectors wrote; `None` for what Rust has no value for.
    pub fn read(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Python::Null,
            Value::Bool(value) => Python::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Python::Int(number.into()),
                None => number.as_u64().map_or(Python::Float(number.as_f64()?), |number| Python::Int(number.into())),
            },
            Value::String(text) => Python::text(text),
            Value::Array(items) => Python::List(items.iter().map(Python::read).collect::<Option<_>>()?),
            Value::Object(object) => match object.iter().next()? {
                (kind, Value::String(digits)) if kind == "$int" => Python::Int(digits.parse().ok()?),
                (kind, Value::String(text)) if kind == "$bytes" => Python::Bytes(from_base64(text)?),
                (kind, Value::Array(pairs)) if kind == "$map" => {
                    let pair = |pair: &Value| Some((Python::read(pair.get(0)?)?, Python::read(pair.get(1)?)?));
                    Python::Map(pairs.iter().map(pair).collect::<Option<_>>()?)
                }
                _ => return None,
            },
        })
    }
}

impl PartialEq for Python {
    /// Of one type and equal; fractions to the millisecond, since remaining times are differences of floats.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Python::Null, Python::Null) => true,
            (Python::Bool(one), Python::Bool(other)) => one == other,
            (Python::Int(one), Python::Int(other)) => one == other,
            (Python::Float(one), Python::Float(other)) => (one - other).abs() < 1e-3 || one.is_nan() && other.is_nan(),
            (Python::Str(one), Python::Str(other)) => one == other,
            (Python::Bytes(one), Python::Bytes(other)) => one == other,
            (Python::List(one), Python::List(other)) => one == other,
            (Python::Map(one), Python::Map(other)) => one == other,
            _ => false,
        }
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | ALPHABET.iter().position(|digit| *digit == byte)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

impl Serialize for Python {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Python::Null => serializer.serialize_none(),
            Python::Bool(value) => serializer.serialize_bool(*value),
            Python::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                _ => serializer.serialize_i128(*number),
            },
            Python::Float(number) => serializer.serialize_f64(*number),
            Python::Str(text) => serializer.serialize_str(text),
            Python::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Python::List(items) => items.serialize(serializer),
            Python::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                pairs.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Python {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Python;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Python value")
    }

    fn visit_unit<E: Error>(self) -> Result<Python, E> {
        Ok(Python::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Python, E> {
        Ok(Python::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Python, E> {
        Ok(Python::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Python, E> {
        Ok(Python::Int(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Python, E> {
        Ok(Python::Int(number.into()))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Python, E> {
        Ok(Python::Int(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Python, E> {
        Ok(Python::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Python, E> {
        Ok(Python::text(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Python, E> {
        Ok(Python::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Python, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Python::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Python, A::Error> {
        let mut map = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            map.push(pair);
        }
        Ok(Python::Map(map))
    }
}

//! A value as it was typed, piped or read from a file, and as which kind it is stored.
//! `set` and `add` make one and hand it to the cache.

use std::io::Read;

use serde::{Serialize, Serializer};

use super::arguments::{KindArguments, Set};
use super::failure::Failure;

/// What is stored.
pub enum Given {
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
    Json(serde_json::Value),
}

impl Given {
    /// The value that the arguments name.
    pub fn read(arguments: &Set) -> Result<Self, Failure> {
        let kind = arguments.kind;
        match (arguments.value.as_deref(), &arguments.file) {
            (_, Some(path)) => {
                let bytes = std::fs::read(path).map_err(|error| unreadable(&path.display().to_string(), &error))?;
                Given::of_bytes(bytes, kind)
            }
            (Some("-"), None) => {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .lock()
                    .read_to_end(&mut bytes)
                    .map_err(|error| unreadable("standard input", &error))?;
                Given::of_bytes(bytes, kind)
            }
            (text, None) => Given::of_text(text.unwrap_or_default(), kind),
        }
    }

    fn of_text(text: &str, kind: KindArguments) -> Result<Self, Failure> {
        if kind.bytes || kind.json {
            return Given::of_bytes(text.as_bytes().to_vec(), kind);
        }
        Ok(match text.parse::<i64>() {
            // `007`, `+1` and `-0` would not come back as they were typed.
            Ok(number) if !kind.text && number.to_string() == text => Given::Integer(number),
            _ => Given::Text(text.to_owned()),
        })
    }

    fn of_bytes(bytes: Vec<u8>, kind: KindArguments) -> Result<Self, Failure> {
        if kind.json {
            let value = serde_json::from_slice(&bytes);
            return value.map(Given::Json).map_err(|error| Failure::Usage(format!("the value is not JSON: {error}")));
        }
        if kind.text {
            let text = String::from_utf8(bytes);
            return text.map(Given::Text).map_err(|error| Failure::Usage(format!("the value is not text: {error}")));
        }
        Ok(Given::Bytes(bytes))
    }
}

impl Serialize for Given {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Given::Integer(number) => serializer.serialize_i64(*number),
            Given::Text(text) => serializer.serialize_str(text),
            Given::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Given::Json(value) => value.serialize(serializer),
        }
    }
}

fn unreadable(what: &str, error: &std::io::Error) -> Failure {
    let message = format!("{what} cannot be read: {error}");
    match error.kind() {
        std::io::ErrorKind::NotFound => Failure::Missing(Some(message)),
        _ => Failure::Usage(message),
    }
}

//! The reading half of the codec: by the flags, a value out of decimal text, raw text, raw bytes or MessagePack.
//! What is stored may be of another type, damaged or foreign: all of that is an error here, never a panic.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor, value::SeqDeserializer};
use serde::forward_to_deserialize_any;

use super::{Refusal, refusal};
use crate::backend::{Stored, flags};

/// The flags of what a Django on the same memcached stores of any type that has no flags of its own (MEM-12).
const PICKLE: u32 = 1;

/// The flags of what a Django compressed (MEM-12), where that is all that is known of it.
const COMPRESSED: u32 = 8;

pub(super) fn value<T: DeserializeOwned>(stored: &Stored) -> Result<T, Refusal> {
    let data = &stored.data[..];
    match stored.flags {
        // A memcached server pads a number that became shorter with blanks (MEM-6).
        flags::INTEGER => T::deserialize(Plain::Integer(utf8(data)?.trim_end_matches(' '))),
        flags::TEXT => T::deserialize(Plain::Text(utf8(data)?)),
        flags::BYTES => T::deserialize(Plain::Octets(data)),
        flags::SERDE => message_pack(data),
        COMPRESSED => Err(refusal("it says that it is compressed, and cannot be inflated")),
        PICKLE => Err(refusal("it is a pickle, which only Python can read")),
        other => Err(refusal(format_args!("its flags are {other}, which no value of this codec has"))),
    }
}

fn utf8(data: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(data).map_err(refusal)
}

/// How deep a stored value may be nested, as in serde_json. The library's own limit of 1,024 is more than the stack of a
/// thread can take in a debug build.
const DEEPEST: usize = 128;

fn message_pack<T: DeserializeOwned>(data: &[u8]) -> Result<T, Refusal> {
    let mut rest = data;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(DEEPEST);
    let value = T::deserialize(&mut deserializer)?;
    if !rest.is_empty() {
        return Err(refusal(format_args!("{} bytes follow the value", rest.len())));
    }
    Ok(value)
}

/// A stored value that is not MessagePack.
#[derive(Clone, Copy)]
enum Plain<'a> {
    Integer(&'a str),
    Text(&'a str),
    Octets(&'a [u8]),
}

impl<'de> Deserializer<'de> for Plain<'de> {
    type Error = Refusal;

    /// Integers are shown in the smallest of the types that can hold them, so that every number type takes what fits.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self {
            Plain::Text(text) => visitor.visit_str(text),
            Plain::Octets(octets) => visitor.visit_bytes(octets),
            Plain::Integer(digits) => {
                if let Ok(number) = digits.parse::<i64>() {
                    visitor.visit_i64(number)
                } else if let Ok(number) = digits.parse::<u64>() {
                    visitor.visit_u64(number)
                } else if let Ok(number) = digits.parse::<i128>() {
                    visitor.visit_i128(number)
                } else {
                    visitor.visit_u128(digits.parse::<u128>().map_err(refusal)?)
                }
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let Plain::Octets(octets) = self else { return self.deserialize_any(visitor) };
        let mut elements = SeqDeserializer::<_, Refusal>::new(octets.iter().copied());
        let value = visitor.visit_seq(&mut elements)?;
        // A tuple may be shorter than what is stored.
        elements.end()?;
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let Plain::Text(text) = self else { return self.deserialize_any(visitor) };
        let variant: StrDeserializer<'_, Refusal> = text.into_deserializer();
        variant.deserialize_enum(name, variants, visitor)
    }

    // As MessagePack has it; see the writing half.
    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple_struct map struct identifier ignored_any
    }
}

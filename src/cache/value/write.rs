//! The writing half of the codec: tells what kind a value is by the one call it makes of its serializer.
//! Plain kinds are written at once; for the others it says so, and the caller asks MessagePack.

use std::fmt;

use bytes::Bytes;
use serde::ser::{self, Impossible, Serialize, Serializer};

use crate::backend::{Stored, flags};

/// Why a value was not written in a plain form.
#[derive(Debug)]
pub(super) enum Unplain {
    /// It has none: MessagePack is to write it.
    Structured,
    /// Its own `Serialize` failed.
    Message(String),
}

impl fmt::Display for Unplain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unplain::Structured => f.write_str("no plain form"),
            Unplain::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Unplain {}

impl ser::Error for Unplain {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Unplain::Message(message.to_string())
    }
}

fn integer(number: impl ToString) -> Result<Stored, Unplain> {
    Ok(Stored { data: Bytes::from(number.to_string()), flags: flags::INTEGER })
}

fn text(text: &str) -> Result<Stored, Unplain> {
    Ok(Stored { data: Bytes::copy_from_slice(text.as_bytes()), flags: flags::TEXT })
}

/// Writes the plain kinds: integers, text, bytes, and sequences of nothing but `u8`.
pub(super) struct Classify;

macro_rules! plain_integers {
    ($($method:ident: $number:ty),*) => {$(
        fn $method(self, number: $number) -> Result<Stored, Unplain> {
            integer(number)
        }
    )*};
}

/// The methods of a [`Serializer`] by which a value shows that it has no plain form.
macro_rules! structured {
    (scalars: $($method:ident: $argument:ty),*) => {$(
        fn $method(self, _: $argument) -> Result<Self::Ok, Unplain> {
            Err(Unplain::Structured)
        }
    )*};
    (compounds) => {
        type SerializeTupleStruct = Impossible<Self::Ok, Unplain>;
        type SerializeTupleVariant = Impossible<Self::Ok, Unplain>;
        type SerializeMap = Impossible<Self::Ok, Unplain>;
        type SerializeStruct = Impossible<Self::Ok, Unplain>;
        type SerializeStructVariant = Impossible<Self::Ok, Unplain>;

        fn serialize_none(self) -> Result<Self::Ok, Unplain> {
            Err(Unplain::Structured)
        }

        fn serialize_unit(self) -> Result<Self::Ok, Unplain> {
            Err(Unplain::Structured)
        }

        fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Self::Ok, Unplain> {
            Err(Unplain::Structured)
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<Self::Ok, Unplain> {
            Err(Unplain::Structured)
        }

        fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unplain> {
            Err(Unplain::Structured)
        }

        fn serialize_tuple_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, Unplain> {
            Err(Unplain::Structured)
        }

        fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unplain> {
            Err(Unplain::Structured)
        }

        fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Unplain> {
            Err(Unplain::Structured)
        }

        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, Unplain> {
            Err(Unplain::Structured)
        }

        // As MessagePack has it, so that a type picks the same form in both.
        fn is_human_readable(&self) -> bool {
            false
        }
    };
}

impl Serializer for Classify {
    type Ok = Stored;
    type Error = Unplain;
    type SerializeSeq = Octets;
    type SerializeTuple = Octets;

    plain_integers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128
    );
    structured!(scalars: serialize_bool: bool, serialize_f32: f32, serialize_f64: f64, serialize_unit_struct: &'static str);
    structured!(compounds);

    fn serialize_char(self, character: char) -> Result<Stored, Unplain> {
        text(character.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Stored, Unplain> {
        text(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Stored, Unplain> {
        Ok(Stored { data: Bytes::copy_from_slice(value), flags: flags::BYTES })
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Stored, Unplain> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Stored, Unplain> {
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Octets, Unplain> {
        Ok(Octets(Vec::with_capacity(length.unwrap_or(0).min(LARGEST_RESERVED))))
    }

    fn serialize_tuple(self, length: usize) -> Result<Octets, Unplain> {
        self.serialize_seq(Some(length))
    }
}

/// The most that is reserved on a sequence's word for its length, in bytes: it may turn out to hold something else.
const LARGEST_RESERVED: usize = 64 << 10;

/// A sequence that is bytes as long as every element is a `u8`.
pub(super) struct Octets(Vec<u8>);

impl Octets {
    fn push<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Unplain> {
        self.0.push(element.serialize(Octet)?);
        Ok(())
    }

    fn finish(self) -> Result<Stored, Unplain> {
        // Nothing says what an empty sequence is one of; MessagePack can tell an empty list from empty bytes.
        if self.0.is_empty() {
            return Err(Unplain::Structured);
        }
        Ok(Stored { data: Bytes::from(self.0), flags: flags::BYTES })
    }
}

impl ser::SerializeSeq for Octets {
    type Ok = Stored;
    type Error = Unplain;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Unplain> {
        self.push(element)
    }

    fn end(self) -> Result<Stored, Unplain> {
        self.finish()
    }
}

impl ser::SerializeTuple for Octets {
    type Ok = Stored;
    type Error = Unplain;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Unplain> {
        self.push(element)
    }

    fn end(self) -> Result<Stored, Unplain> {
        self.finish()
    }
}

/// Takes one element if it is a `u8`.
struct Octet;

impl Serializer for Octet {
    type Ok = u8;
    type Error = Unplain;
    type SerializeSeq = Impossible<u8, Unplain>;
    type SerializeTuple = Impossible<u8, Unplain>;

    structured!(scalars: serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str,
        serialize_bytes: &[u8], serialize_unit_struct: &'static str);
    structured!(compounds);

    fn serialize_u8(self, octet: u8) -> Result<u8, Unplain> {
        Ok(octet)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<u8, Unplain> {
        Err(Unplain::Structured)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<u8, Unplain> {
        Err(Unplain::Structured)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Unplain> {
        Err(Unplain::Structured)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unplain> {
        Err(Unplain::Structured)
    }
}

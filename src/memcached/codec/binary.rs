//! The binary protocol: all that a server started with SASL (`-S`) understands, for data as for logging in.
//! The connections to such servers encode and decode with it; the login reads its one answer with [`take_frame`].

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Asked, Broken, Codec, Decoder, Direction, Keys, MOST_ANNOUNCED, Output, Refusal, Reply, Request, Step, Store,
};
use crate::memcached::value::Value;

const HEADER: usize = 24;
const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

/// An expiry that says: make no counter where there is none.
const MAKE_NONE: u32 = u32::MAX;

/// The longest words of a server that are repeated in an error, in bytes.
const LONGEST_WORDS: usize = 200;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const ADD: u8 = 0x02;
const REPLACE: u8 = 0x03;
const DELETE: u8 = 0x04;
const INCREMENT: u8 = 0x05;
const DECREMENT: u8 = 0x06;
const NOOP: u8 = 0x0a;
/// Says nothing where there is nothing, and names the key where there is something.
const GET_KEY_QUIETLY: u8 = 0x0d;
const APPEND: u8 = 0x0e;
const PREPEND: u8 = 0x0f;
const TOUCH: u8 = 0x1c;
const GET_AND_TOUCH: u8 = 0x1d;
const SASL_AUTH: u8 = 0x21;

/// The status of what went well.
pub(crate) const DONE: u16 = 0x00;
const MISSING: u16 = 0x01;
const EXISTS: u16 = 0x02;
const TOO_LARGE: u16 = 0x03;
const NOT_STORED: u16 = 0x05;
const NOT_A_NUMBER: u16 = 0x06;
/// The status of a login that takes another step.
pub(crate) const AUTH_GOES_ON: u16 = 0x21;
/// The status of what a server does not know.
pub(crate) const UNKNOWN_COMMAND: u16 = 0x81;

/// The binary protocol.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Binary;

impl Codec for Binary {
    fn encode(&self, request: &Request<'_>, token: u32, output: &mut Output) {
        match *request {
            Request::Get { key, with_cas: _ } => put(output, GET, token, &[], key, &Bytes::new(), 0),
            Request::GetAndTouch { key, expiry } => {
                put(output, GET_AND_TOUCH, token, &expiry.unsigned().to_be_bytes(), key, &Bytes::new(), 0);
            }
            Request::GetMany { keys } => {
                output.reserve(keys.total_bytes() + (keys.len() + 1) * HEADER);
                for key in keys.iter() {
                    put(output, GET_KEY_QUIETLY, token, &[], key, &Bytes::new(), 0);
                }
                put(output, NOOP, token, &[], &[], &Bytes::new(), 0);
            }
            Request::Store { how, key, data, flags, expiry } => {
                let about = [flags.to_be_bytes(), expiry.unsigned().to_be_bytes()].concat();
                match how {
                    Store::Set => put(output, SET, token, &about, key, data, 0),
                    Store::Add => put(output, ADD, token, &about, key, data, 0),
                    Store::Replace => put(output, REPLACE, token, &about, key, data, 0),
                    // No item has the version 0, but the protocol reads it as "whatever the version is".
                    Store::Cas(0) => put(output, SET, token, &about, key, data, u64::MAX),
                    Store::Cas(cas) => put(output, SET, token, &about, key, data, cas),
                    Store::Append => put(output, APPEND, token, &[], key, data, 0),
                    Store::Prepend => put(output, PREPEND, token, &[], key, data, 0),
                }
            }
            Request::Touch { key, expiry } => {
                put(output, TOUCH, token, &expiry.unsigned().to_be_bytes(), key, &Bytes::new(), 0);
            }
            Request::Delete { key } => put(output, DELETE, token, &[], key, &Bytes::new(), 0),
            Request::Count { key, direction, delta } => {
                let opcode = match direction {
                    Direction::Up => INCREMENT,
                    Direction::Down => DECREMENT,
                };
                let start = 0_u64;
                let about = [&delta.to_be_bytes()[..], &start.to_be_bytes(), &MAKE_NONE.to_be_bytes()].concat();
                put(output, opcode, token, &about, key, &Bytes::new(), 0);
            }
            Request::Nothing => put(output, NOOP, token, &[], &[], &Bytes::new(), 0),
        }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(BinaryDecoder::default())
    }
}

/// The request that logs in: `\0user\0password`.
pub(crate) fn sasl_plain(secret: &[u8]) -> Vec<u8> {
    let mut output = Output::default();
    put(&mut output, SASL_AUTH, 0, &[], b"PLAIN", &Bytes::copy_from_slice(secret), 0);
    output.to_vec()
}

fn put(output: &mut Output, opcode: u8, token: u32, extras: &[u8], key: &[u8], data: &Bytes, cas: u64) {
    // Keys have 250 bytes at most, and values were measured against the largest item.
    let body = (extras.len() + key.len() + data.len()) as u32;
    let mut header = [0; HEADER];
    header[0] = REQUEST;
    header[1] = opcode;
    header[2..4].copy_from_slice(&(key.len() as u16).to_be_bytes());
    header[4] = extras.len() as u8;
    header[8..12].copy_from_slice(&body.to_be_bytes());
    header[12..16].copy_from_slice(&token.to_be_bytes());
    header[16..24].copy_from_slice(&cas.to_be_bytes());
    output.put(&header);
    output.put(extras);
    output.put(key);
    output.put_data(data);
}

/// One answer, cut into its parts.
#[derive(Debug)]
pub(crate) struct Frame {
    opcode: u8,
    /// What became of it.
    pub(crate) status: u16,
    token: u32,
    cas: u64,
    extras: Bytes,
    key: Bytes,
    data: Bytes,
}

impl Frame {
    /// Whether it answers [`sasl_plain`].
    pub(crate) fn answers_sasl(&self) -> bool {
        self.opcode == SASL_AUTH && self.token == 0
    }

    /// The server's words for what went wrong.
    pub(crate) fn said(&self) -> String {
        let words = self.data.get(..self.data.len().min(LONGEST_WORDS)).unwrap_or_default();
        match String::from_utf8_lossy(words).trim() {
            "" => format!("status {:#04x}", self.status),
            words => words.to_owned(),
        }
    }

    fn into_value(mut self) -> Result<Value, Broken> {
        let flags = self.extras.try_get_u32().map_err(|_| broken("a value has no flags"))?;
        Ok(Value { data: self.data, flags, cas: Some(self.cas).filter(|cas| *cas != 0) })
    }

    fn into_refusal(self) -> Reply {
        Reply::Refused(match self.status {
            TOO_LARGE => Refusal::TooLarge,
            NOT_A_NUMBER => Refusal::NotANumber,
            _ => Refusal::Said(self.said()),
        })
    }
}

/// How much must be there, as far as it is known, before the first answer is whole.
fn needed(input: &[u8], most: usize) -> Result<usize, String> {
    let Some(header) = input.first_chunk::<HEADER>() else {
        // Whoever speaks something else is found out by the first byte.
        return match input.first() {
            Some(&magic) if magic != RESPONSE => Err(format!("an answer begins with {magic:#04x}")),
            _ => Ok(HEADER),
        };
    };
    let [magic, _, key_high, key_low, extras, _, _, _, a, b, c, d, ..] = *header;
    if magic != RESPONSE {
        return Err(format!("an answer begins with {magic:#04x}"));
    }
    let body = u32::from_be_bytes([a, b, c, d]) as usize;
    if body > most {
        return Err(format!("an answer announces {body} bytes"));
    }
    if usize::from(u16::from_be_bytes([key_high, key_low])) + usize::from(extras) > body {
        return Err("the parts of an answer are longer than all of it".to_owned());
    }
    Ok(HEADER + body)
}

/// Takes the first answer off the input, if all of it is there. A body of more than `most` bytes is an error.
pub(crate) fn take_frame(input: &mut BytesMut, most: usize) -> Result<Option<Frame>, String> {
    let needed = needed(input, most)?;
    if needed == HEADER && input.len() < HEADER || input.len() < needed {
        return Ok(None);
    }
    let mut header = input.split_to(HEADER);
    header.advance(1);
    let opcode = header.get_u8();
    let key_length = usize::from(header.get_u16());
    let extras_length = usize::from(header.get_u8());
    header.advance(1);
    let status = header.get_u16();
    header.advance(4);
    let token = header.get_u32();
    let cas = header.get_u64();
    let mut data = input.split_to(needed - HEADER).freeze();
    let extras = data.split_to(extras_length);
    let key = data.split_to(key_length);
    Ok(Some(Frame { opcode, status, token, cas, extras, key, data }))
}

#[derive(Debug, Default)]
struct BinaryDecoder {
    /// What has come of a request for many keys.
    many: Option<Many>,
}

#[derive(Debug, Default)]
struct Many {
    values: Vec<Option<Value>>,
    refusal: Option<Reply>,
}

impl Decoder for BinaryDecoder {
    fn decode(&mut self, input: &mut BytesMut, asked: &Asked, token: u32) -> Result<Step, Broken> {
        loop {
            let Some(frame) = take_frame(input, MOST_ANNOUNCED).map_err(Broken)? else {
                let needed = needed(input, MOST_ANNOUNCED).map_err(Broken)?;
                return Ok(Step::More(needed.saturating_sub(input.len()).max(1)));
            };
            if frame.token != token {
                return Err(broken("an answer carries the token of another request"));
            }
            if !answers(frame.opcode, asked) {
                return Err(Broken(format!("an answer to the command {:#04x}, which was not asked", frame.opcode)));
            }
            match asked {
                Asked::Many(keys) => {
                    if let Some(reply) = self.many.get_or_insert_default().take(frame, keys)? {
                        self.many = None;
                        return Ok(Step::Reply(reply));
                    }
                }
                _ => return reply(frame, asked).map(Step::Reply),
            }
        }
    }
}

impl Many {
    /// Takes one more answer; the reply once it is the last.
    fn take(&mut self, frame: Frame, keys: &Keys) -> Result<Option<Reply>, Broken> {
        if frame.opcode == NOOP {
            if frame.status != DONE {
                return Ok(Some(frame.into_refusal()));
            }
            if let Some(refusal) = self.refusal.take() {
                return Ok(Some(refusal));
            }
            self.values.resize(keys.len(), None);
            return Ok(Some(Reply::Values(std::mem::take(&mut self.values))));
        }
        match frame.status {
            DONE => {
                // Answers come in the order of the keys, and those that miss are silent.
                while keys.get(self.values.len()).is_some_and(|key| key != frame.key) {
                    self.values.push(None);
                }
                if self.values.len() == keys.len() {
                    return Err(broken("a value came with a key that was not asked for"));
                }
                self.values.push(Some(frame.into_value()?));
            }
            MISSING => {}
            _ => self.refusal = Some(frame.into_refusal()),
        }
        Ok(None)
    }
}

fn answers(opcode: u8, asked: &Asked) -> bool {
    match asked {
        Asked::Value => matches!(opcode, GET | GET_AND_TOUCH),
        Asked::Many(_) => matches!(opcode, GET_KEY_QUIETLY | NOOP),
        Asked::Store => matches!(opcode, SET | ADD | REPLACE | APPEND | PREPEND),
        Asked::Change => matches!(opcode, TOUCH | DELETE),
        Asked::Count => matches!(opcode, INCREMENT | DECREMENT),
        Asked::Nothing => opcode == NOOP,
    }
}

fn reply(frame: Frame, asked: &Asked) -> Result<Reply, Broken> {
    Ok(match (asked, frame.status) {
        (Asked::Value, DONE) => Reply::Value(frame.into_value()?),
        (Asked::Count, DONE) => {
            let number = <[u8; 8]>::try_from(&frame.data[..]).map_err(|_| broken("a counter has not eight bytes"))?;
            Reply::Number(u64::from_be_bytes(number))
        }
        (_, DONE) => Reply::Done,
        (Asked::Store, MISSING) if frame.opcode != SET => Reply::NotStored,
        (Asked::Nothing, MISSING) => return Err(broken("nothing was asked for, and it is missing")),
        (_, MISSING) => Reply::Missing,
        (Asked::Store, EXISTS) if frame.opcode == SET => Reply::Changed,
        (Asked::Store, EXISTS | NOT_STORED) => Reply::NotStored,
        (_, _) => frame.into_refusal(),
    })
}

fn broken(what: &str) -> Broken {
    Broken(what.to_owned())
}

#[cfg(test)]
mod tests;

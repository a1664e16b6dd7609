//! The few requests of the binary protocol that an operator needs of a server with SASL. Pure: the conversation moves the bytes.

use bytes::{Buf, Bytes, BytesMut};

pub(super) const FLUSH: u8 = 0x08;
pub(super) const VERSION: u8 = 0x0b;
pub(super) const STAT: u8 = 0x10;

const HEADER: usize = 24;
const ASKED: u8 = 0x80;
const ANSWERED: u8 = 0x81;

/// The largest answer to one of these requests, in bytes.
const LARGEST: usize = 1 << 20;

/// A request without a value.
pub(super) fn request(opcode: u8, extras: &[u8], key: &[u8]) -> Vec<u8> {
    // Extras have four bytes at most here and keys are the short names of counters: neither length is ever cut.
    let extras_length = u8::try_from(extras.len()).unwrap_or(u8::MAX);
    let key_length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let mut bytes = vec![ASKED, opcode];
    bytes.extend(key_length.to_be_bytes());
    bytes.extend([extras_length, 0, 0, 0]);
    bytes.extend((u32::from(extras_length) + u32::from(key_length)).to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend(extras);
    bytes.extend(key);
    bytes
}

/// One answer. An answer of counters is many of these; the last has no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

impl Answer {
    /// Takes an answer to `opcode` off the front of what has arrived, if all of it is there.
    pub(super) fn read(arrived: &mut BytesMut, opcode: u8) -> Result<Option<Answer>, &'static str> {
        if arrived.len() < HEADER {
            return Ok(None);
        }
        let mut header = &arrived[..HEADER];
        if header.get_u8() != ANSWERED || header.get_u8() != opcode {
            return Err("an answer to something else");
        }
        let key_length = usize::from(header.get_u16());
        let extras_length = usize::from(header.get_u8());
        header.advance(1);
        let status = header.get_u16();
        let total = header.get_u32() as usize;
        if total > LARGEST || key_length + extras_length > total {
            return Err("an answer whose lengths do not fit");
        }
        if arrived.len() < HEADER + total {
            return Ok(None);
        }
        arrived.advance(HEADER + extras_length);
        let key = arrived.split_to(key_length).freeze();
        let value = arrived.split_to(total - key_length - extras_length).freeze();
        Ok(Some(Answer { status, key, value }))
    }

    /// Why it is a refusal, in the server's words where it has any.
    pub(super) fn why(&self) -> String {
        match self.status {
            0x20 => "a login is needed".to_owned(),
            status if self.value.is_empty() => format!("status {status:#x}"),
            _ => String::from_utf8_lossy(&self.value).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(opcode: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes =
            vec![ANSWERED, opcode, 0, key.len() as u8, 0, 0, 0, 0, 0, 0, 0, (key.len() + value.len()) as u8];
        bytes.extend([0; 12]);
        bytes.extend(key);
        bytes.extend(value);
        bytes
    }

    #[test]
    fn an_answer_is_read_however_it_is_cut() {
        let whole = answer(STAT, b"pid", b"42");
        for cut in 0..whole.len() {
            let mut arrived = BytesMut::from(&whole[..cut]);
            assert_eq!(Answer::read(&mut arrived, STAT), Ok(None), "{cut}");
            arrived.extend_from_slice(&whole[cut..]);
            let read = Answer::read(&mut arrived, STAT).unwrap().unwrap();
            assert_eq!((&read.key[..], &read.value[..]), (&b"pid"[..], &b"42"[..]));
            assert!(arrived.is_empty());
        }
    }

    #[test]
    fn an_answer_to_something_else_and_lengths_that_lie_are_errors() {
        assert!(Answer::read(&mut BytesMut::from(&answer(VERSION, b"", b"1")[..]), STAT).is_err());
        assert!(Answer::read(&mut BytesMut::from(&b"VERSION 1.6.18\r\n.........."[..]), VERSION).is_err());
        let mut lying = answer(STAT, b"pid", b"42");
        lying[3] = 200;
        assert!(Answer::read(&mut BytesMut::from(&lying[..]), STAT).is_err());
        lying[8] = 0xff;
        assert!(Answer::read(&mut BytesMut::from(&lying[..]), STAT).is_err());
    }

    #[test]
    fn a_request_says_how_long_its_parts_are() {
        let bytes = request(STAT, &[], b"items");
        assert_eq!(bytes.len(), HEADER + 5);
        assert_eq!((bytes[0], bytes[1], bytes[3], bytes[4], bytes[11]), (ASKED, STAT, 5, 0, 5));
    }
}

//! The binary codec fed in pieces, and with what no memcached sends.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::memcached::value::Expiry;

fn keys(names: &[&str]) -> Keys {
    let mut keys = Keys::with_capacity(names.len());
    names.iter().for_each(|name| keys.push(name.as_bytes()));
    keys
}

fn value(data: &'static [u8], flags: u32, cas: u64) -> Value {
    Value { data: Bytes::from_static(data), flags, cas: Some(cas).filter(|cas| *cas > 0) }
}

fn sent(request: &Request<'_>) -> Vec<u8> {
    let mut output = Output::default();
    Binary.encode(request, 7, &mut output);
    output.to_vec()
}

/// A message; the header as section "Packet Structure" of memcached's binary protocol draws it.
fn message(magic: u8, opcode: u8, status: u16, token: u32, cas: u64, parts: [&[u8]; 3]) -> Vec<u8> {
    let [extras, key, _] = parts;
    let mut bytes = vec![magic, opcode];
    bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[extras.len() as u8, 0]);
    bytes.extend_from_slice(&status.to_be_bytes());
    bytes.extend_from_slice(&(parts.concat().len() as u32).to_be_bytes());
    bytes.extend_from_slice(&token.to_be_bytes());
    bytes.extend_from_slice(&cas.to_be_bytes());
    bytes.extend_from_slice(&parts.concat());
    bytes
}

fn answer(opcode: u8, status: u16, cas: u64, parts: [&[u8]; 3]) -> Vec<u8> {
    message(RESPONSE, opcode, status, 7, cas, parts)
}

fn empty(opcode: u8, status: u16) -> Vec<u8> {
    answer(opcode, status, 0, [b"", b"", b""])
}

/// The reply is the same wherever it is cut in two, and when it comes byte by byte; what follows it is left alone.
#[track_caller]
fn reads(wire: &[u8], asked: &Asked, expected: &Reply) {
    let next = empty(NOOP, DONE);
    for cut in 0..wire.len() {
        let mut decoder = Binary.decoder();
        let mut input = BytesMut::from(&wire[..cut]);
        assert!(matches!(decoder.decode(&mut input, asked, 7), Ok(Step::More(1..))), "cut at {cut}");
        input.extend_from_slice(&wire[cut..]);
        input.extend_from_slice(&next);
        match decoder.decode(&mut input, asked, 7) {
            Ok(Step::Reply(reply)) => assert_eq!(&reply, expected, "cut at {cut}"),
            other => panic!("cut at {cut}: {other:?}"),
        }
        assert_eq!(input, next, "cut at {cut}");
    }
    let (mut decoder, mut input) = (Binary.decoder(), BytesMut::new());
    for (position, byte) in wire.iter().enumerate() {
        input.extend_from_slice(&[*byte]);
        match decoder.decode(&mut input, asked, 7) {
            Ok(Step::More(1..)) => assert!(position + 1 < wire.len()),
            Ok(Step::Reply(reply)) => assert_eq!((&reply, position + 1), (expected, wire.len())),
            other => panic!("{position}: {other:?}"),
        }
    }
}

#[track_caller]
fn breaks(wire: &[u8], asked: &Asked) {
    let mut input = BytesMut::from(wire);
    let step = Binary.decoder().decode(&mut input, asked, 7);
    assert!(step.is_err(), "{step:?}");
}

#[test]
fn requests_are_written_as_the_protocol_says() {
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let expiry = Expiry::In(Duration::from_secs(60)).at(now);
    let data = Bytes::from_static(b"hello");
    let request = |opcode, cas, parts: [&[u8]; 3]| message(REQUEST, opcode, 0, 7, cas, parts);
    let store = |how| sent(&Request::Store { how, key: b"k", data: &data, flags: 16, expiry });
    let (sixty, flags) = ([0, 0, 0, 60], [0, 0, 0, 16]);
    let about = [flags, sixty].concat();
    for with_cas in [false, true] {
        assert_eq!(sent(&Request::Get { key: b"k", with_cas }), request(0x00, 0, [b"", b"k", b""]));
    }
    assert_eq!(sent(&Request::GetAndTouch { key: b"k", expiry }), request(0x1d, 0, [&sixty, b"k", b""]));
    assert_eq!(store(Store::Set), request(0x01, 0, [&about, b"k", b"hello"]));
    assert_eq!(store(Store::Add), request(0x02, 0, [&about, b"k", b"hello"]));
    assert_eq!(store(Store::Replace), request(0x03, 0, [&about, b"k", b"hello"]));
    assert_eq!(store(Store::Cas(9)), request(0x01, 9, [&about, b"k", b"hello"]));
    assert_eq!(store(Store::Append), request(0x0e, 0, [b"", b"k", b"hello"]));
    assert_eq!(store(Store::Prepend), request(0x0f, 0, [b"", b"k", b"hello"]));
    let gone = Expiry::In(Duration::ZERO).at(now);
    let in_1970 = 2_592_001_u32.to_be_bytes();
    assert_eq!(sent(&Request::Touch { key: b"k", expiry: gone }), request(0x1c, 0, [&in_1970, b"k", b""]));
    assert_eq!(sent(&Request::Delete { key: b"k" }), request(0x04, 0, [b"", b"k", b""]));
    let count = |direction| sent(&Request::Count { key: b"k", direction, delta: 258 });
    let by = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    assert_eq!(count(Direction::Up), request(0x05, 0, [&by, b"k", b""]));
    assert_eq!(count(Direction::Down), request(0x06, 0, [&by, b"k", b""]));
    let nothing = request(0x0a, 0, [b"", b"", b""]);
    assert_eq!(sent(&Request::Nothing), nothing);
    let quiet = |key: &str| request(0x0d, 0, [b"", key.as_bytes(), b""]);
    assert_eq!(sent(&Request::GetMany { keys: &keys(&["a", "bc"]) }), [quiet("a"), quiet("bc"), nothing].concat());
}

/// The protocol reads the version 0 as "any": a caller who says 0 would overwrite what somebody else wrote.
#[test]
fn no_version_means_any_version() {
    let expiry = Expiry::Never.at(UNIX_EPOCH);
    let data = Bytes::new();
    let wire = sent(&Request::Store { how: Store::Cas(0), key: b"k", data: &data, flags: 0, expiry });
    assert_eq!(wire[16..24], [255; 8]);
}

#[test]
fn the_login_is_one_message() {
    let plain = message(REQUEST, 0x21, 0, 0, 0, [b"", b"PLAIN", b"\0user\0password"]);
    assert_eq!(sasl_plain(b"\0user\0password"), plain);
}

#[test]
fn every_reply_is_read_however_it_is_cut() {
    let flags = [0, 0, 0, 16];
    let hello = answer(GET, DONE, 9, [&flags, b"", b"hello"]);
    reads(&hello, &Asked::Value, &Reply::Value(value(b"hello", 16, 9)));
    let touched = answer(GET_AND_TOUCH, DONE, 0, [&[255; 4], b"", b""]);
    reads(&touched, &Asked::Value, &Reply::Value(value(b"", u32::MAX, 0)));
    reads(&answer(GET, MISSING, 0, [b"", b"", b"Not found"]), &Asked::Value, &Reply::Missing);
    for opcode in [SET, ADD, REPLACE, APPEND, PREPEND] {
        reads(&answer(opcode, DONE, 3, [b"", b"", b""]), &Asked::Store, &Reply::Done);
        reads(&empty(opcode, TOO_LARGE), &Asked::Store, &Reply::Refused(Refusal::TooLarge));
    }
    reads(&empty(SET, MISSING), &Asked::Store, &Reply::Missing);
    reads(&empty(SET, EXISTS), &Asked::Store, &Reply::Changed);
    reads(&empty(ADD, EXISTS), &Asked::Store, &Reply::NotStored);
    reads(&empty(REPLACE, MISSING), &Asked::Store, &Reply::NotStored);
    reads(&empty(APPEND, NOT_STORED), &Asked::Store, &Reply::NotStored);
    reads(&answer(TOUCH, DONE, 5, [&flags, b"", b""]), &Asked::Change, &Reply::Done);
    reads(&empty(DELETE, DONE), &Asked::Change, &Reply::Done);
    reads(&empty(DELETE, MISSING), &Asked::Change, &Reply::Missing);
    let count = answer(INCREMENT, DONE, 5, [b"", b"", &u64::MAX.to_be_bytes()]);
    reads(&count, &Asked::Count, &Reply::Number(u64::MAX));
    reads(&empty(DECREMENT, MISSING), &Asked::Count, &Reply::Missing);
    reads(&empty(INCREMENT, NOT_A_NUMBER), &Asked::Count, &Reply::Refused(Refusal::NotANumber));
    reads(&empty(NOOP, DONE), &Asked::Nothing, &Reply::Done);
    let said = |words: &str| Reply::Refused(Refusal::Said(words.to_owned()));
    reads(&answer(GET, 0x20, 0, [b"", b"", b"Auth failure."]), &Asked::Value, &said("Auth failure."));
    reads(&empty(SET, 0x82), &Asked::Store, &said("status 0x82"));
}

fn quiet(key: &[u8], data: &[u8]) -> Vec<u8> {
    answer(GET_KEY_QUIETLY, DONE, 0, [&[0, 0, 0, 2], key, data])
}

#[test]
fn many_values_are_read_however_they_are_cut() {
    let asked = Asked::Many(keys(&["a", "b", "c", "b"]));
    let end = empty(NOOP, DONE);
    let (a, b) = (Some(value(b"1", 2, 0)), Some(value(b"2", 2, 0)));
    let wire = [quiet(b"a", b"1"), quiet(b"b", b"2"), quiet(b"b", b"2"), end.clone()].concat();
    reads(&wire, &asked, &Reply::Values(vec![a.clone(), b.clone(), None, b.clone()]));
    reads(&end, &asked, &Reply::Values(vec![None; 4]));
    let refused = answer(GET_KEY_QUIETLY, 0x82, 0, [b"", b"", b"Out of memory"]);
    let wire = [quiet(b"a", b"1"), refused, quiet(b"b", b"2"), end.clone()].concat();
    reads(&wire, &asked, &Reply::Refused(Refusal::Said("Out of memory".to_owned())));
    for wrong in [
        [quiet(b"b", b"2"), quiet(b"a", b"1")].concat(),
        [quiet(b"a", b"1"), quiet(b"a", b"1")].concat(),
        quiet(b"d", b"1"),
        quiet(b"", b"1"),
    ] {
        breaks(&[wrong, end.clone()].concat(), &asked);
    }
}

#[test]
fn a_decoder_that_has_read_many_values_begins_anew_with_the_next_request() {
    let mut decoder = Binary.decoder();
    let end = empty(NOOP, DONE);
    for (wire, expected) in [(quiet(b"a", b"1"), Some(value(b"1", 2, 0))), (Vec::new(), None)] {
        let mut input = BytesMut::from(&[wire, end.clone()].concat()[..]);
        let step = decoder.decode(&mut input, &Asked::Many(keys(&["a"])), 7);
        assert!(matches!(step, Ok(Step::Reply(Reply::Values(values))) if values == [expected]));
    }
}

#[test]
fn a_reply_to_another_request_breaks_the_connection() {
    let flags = [0; 4];
    breaks(&message(RESPONSE, GET, DONE, 8, 0, [&flags, b"", b"x"]), &Asked::Value);
    breaks(&message(RESPONSE, GET, MISSING, 6, 0, [b"", b"", b""]), &Asked::Value);
    breaks(&answer(GET, DONE, 0, [&flags, b"", b"x"]), &Asked::Store);
    breaks(&empty(SET, DONE), &Asked::Value);
    breaks(&empty(SET, DONE), &Asked::Change);
    breaks(&empty(DELETE, DONE), &Asked::Count);
    breaks(&empty(DELETE, DONE), &Asked::Nothing);
    breaks(&empty(NOOP, DONE), &Asked::Store);
    breaks(&answer(GET, DONE, 0, [&flags, b"a", b"x"]), &Asked::Many(keys(&["a"])));
}

#[test]
fn what_no_memcached_sends_breaks_the_connection() {
    breaks(b"EN\r\n", &Asked::Value);
    breaks(b"ERROR\r\n", &Asked::Value);
    breaks(&[0; 24], &Asked::Value);
    // A request instead of an answer.
    breaks(&message(REQUEST, GET, DONE, 7, 0, [b"", b"", b""]), &Asked::Value);
    breaks(&answer(GET, DONE, 0, [b"", b"", b"x"]), &Asked::Value);
    breaks(&answer(GET, DONE, 0, [b"\0\0\0", b"", b"x"]), &Asked::Value);
    breaks(&answer(INCREMENT, DONE, 0, [b"", b"", b"1"]), &Asked::Count);
    breaks(&empty(NOOP, MISSING), &Asked::Nothing);
    // More than a server may announce; a key and extras longer than the body.
    let mut announced = empty(GET, DONE);
    announced[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    breaks(&announced, &Asked::Value);
    let mut overlong = answer(GET, DONE, 0, [b"", b"", b"xy"]);
    overlong[4] = 3;
    breaks(&overlong, &Asked::Value);
}

#[test]
fn a_large_value_says_how_much_of_it_is_missing() {
    let mut announced = empty(GET, DONE);
    announced[8..12].copy_from_slice(&1_000_004_u32.to_be_bytes());
    let mut input = BytesMut::from(&announced[..]);
    let step = Binary.decoder().decode(&mut input, &Asked::Value, 7);
    assert!(matches!(step, Ok(Step::More(1_000_004))), "{step:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_take_what_is_not_there(
        body in prop::collection::vec(any::<u8>(), 0..80), opcode in 0_u8..0x24, honest in any::<bool>(), which in 0_usize..6,
    ) {
        let asked = [
            Asked::Value, Asked::Many(keys(&["a", "b"])), Asked::Store, Asked::Change, Asked::Count, Asked::Nothing,
        ];
        let wire = if honest { answer(opcode, 0, 0, [b"", b"", &body]) } else { [&[RESPONSE, opcode][..], &body].concat() };
        let mut input = BytesMut::from(&wire[..]);
        if let Ok(Step::More(bytes)) = Binary.decoder().decode(&mut input, &asked[which], 7) {
            prop_assert!(bytes > 0);
        }
        prop_assert!(input.len() <= wire.len());
    }
}

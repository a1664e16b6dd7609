//! The meta codec fed in pieces, and with what no memcached sends.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::super::super::value::Expiry;
use super::*;

fn keys(names: &[&str]) -> Keys {
    let mut keys = Keys::with_capacity(names.len());
    names.iter().for_each(|name| keys.push(name.as_bytes()));
    keys
}

fn value(data: &'static [u8], flags: u32) -> Value {
    Value { data: Bytes::from_static(data), flags, cas: None }
}

fn sent(request: &Request<'_>) -> String {
    let mut output = Output::default();
    Meta.encode(request, 7, &mut output);
    String::from_utf8_lossy(&output.to_vec()).into_owned()
}

/// The reply to `wire`, arriving in one piece; with what is left of it.
fn read(wire: &[u8], asked: &Asked) -> Result<(Option<Reply>, usize), Broken> {
    let mut input = BytesMut::from(wire);
    match Meta.decoder().decode(&mut input, asked, 7)? {
        Step::Reply(reply) => Ok((Some(reply), input.len())),
        Step::More(bytes) => {
            assert!(bytes > 0);
            Ok((None, input.len()))
        }
    }
}

/// The reply is the same wherever it is cut in two, and when it comes byte by byte; what follows it is left alone.
#[track_caller]
fn reads(wire: &[u8], asked: &Asked, expected: &Reply) {
    for cut in 0..wire.len() {
        let mut decoder = Meta.decoder();
        let mut input = BytesMut::from(&wire[..cut]);
        assert!(matches!(decoder.decode(&mut input, asked, 7), Ok(Step::More(1..))), "cut at {cut}");
        input.extend_from_slice(&wire[cut..]);
        input.extend_from_slice(b"HD O8\r\n");
        match decoder.decode(&mut input, asked, 7) {
            Ok(Step::Reply(reply)) => assert_eq!(&reply, expected, "cut at {cut}"),
            other => panic!("cut at {cut}: {other:?}"),
        }
        assert_eq!(&input[..], b"HD O8\r\n", "cut at {cut}");
    }
    let (mut decoder, mut input) = (Meta.decoder(), BytesMut::new());
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
    assert!(read(wire, asked).is_err(), "{:?}", String::from_utf8_lossy(wire));
}

#[test]
fn requests_are_written_as_the_protocol_says() {
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let expiry = Expiry::In(Duration::from_secs(60)).at(now);
    let data = Bytes::from_static(b"hello");
    let store = |how| sent(&Request::Store { how, key: b"k", data: &data, flags: 16, expiry });
    assert_eq!(sent(&Request::Get { key: b"k", with_cas: false }), "mg k f v O7\r\n");
    assert_eq!(sent(&Request::Get { key: b"k", with_cas: true }), "mg k f v c O7\r\n");
    assert_eq!(sent(&Request::GetAndTouch { key: b"k", expiry }), "mg k f v T60 O7\r\n");
    assert_eq!(store(Store::Set), "ms k 5 F16 T60 O7\r\nhello\r\n");
    assert_eq!(store(Store::Add), "ms k 5 ME F16 T60 O7\r\nhello\r\n");
    assert_eq!(store(Store::Replace), "ms k 5 MR F16 T60 O7\r\nhello\r\n");
    assert_eq!(store(Store::Append), "ms k 5 MA F16 T60 O7\r\nhello\r\n");
    assert_eq!(store(Store::Prepend), "ms k 5 MP F16 T60 O7\r\nhello\r\n");
    assert_eq!(store(Store::Cas(9)), "ms k 5 C9 F16 T60 O7\r\nhello\r\n");
    assert_eq!(sent(&Request::Touch { key: b"k", expiry: Expiry::In(Duration::ZERO).at(now) }), "mg k T-1 O7\r\n");
    assert_eq!(sent(&Request::Delete { key: b"k" }), "md k O7\r\n");
    let count = |direction| sent(&Request::Count { key: b"k", direction, delta: u64::MAX });
    assert_eq!(count(Direction::Up), "ma k v D18446744073709551615 O7\r\n");
    assert_eq!(count(Direction::Down), "ma k v MD D18446744073709551615 O7\r\n");
    assert_eq!(sent(&Request::Nothing), "mn\r\n");
    assert_eq!(sent(&Request::GetMany { keys: &keys(&["a", "b", "a"]) }), "get a b a\r\n");
}

#[test]
fn many_keys_are_asked_for_in_lines_that_servers_like() {
    let names: Vec<String> = (0..300).map(|number| format!("{number:0>width$}", width = 1 + number % 250)).collect();
    let keys = keys(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let wire = sent(&Request::GetMany { keys: &keys });
    let asked: Vec<&str> = wire.lines().flat_map(|line| line.strip_prefix("get ").unwrap().split(' ')).collect();
    assert_eq!(asked, names);
    assert!(wire.lines().all(|line| line.len() <= LONGEST_ASKED + 3) && wire.lines().count() > 10);
}

#[test]
fn every_reply_is_read_however_it_is_cut() {
    reads(b"VA 5 f16 O7\r\nhello\r\n", &Asked::Value, &Reply::Value(value(b"hello", 16)));
    reads(b"VA 0 f0 O7\r\n\r\n", &Asked::Value, &Reply::Value(value(b"", 0)));
    reads(b"VA 4 O7\r\n\r\n\r\n\r\n", &Asked::Value, &Reply::Value(value(b"\r\n\r\n", 0)));
    let versioned = Value { cas: Some(u64::MAX), ..value(b"x", u32::MAX) };
    reads(b"VA 1 f4294967295 c18446744073709551615 O7\r\nx\r\n", &Asked::Value, &Reply::Value(versioned));
    reads(b"EN\r\n", &Asked::Value, &Reply::Missing);
    reads(b"EN O7\r\n", &Asked::Value, &Reply::Missing);
    reads(b"HD O7\r\n", &Asked::Store, &Reply::Done);
    reads(b"NS O7\r\n", &Asked::Store, &Reply::NotStored);
    reads(b"EX O7\r\n", &Asked::Store, &Reply::Changed);
    reads(b"NF O7\r\n", &Asked::Store, &Reply::Missing);
    reads(b"HD O7\r\n", &Asked::Change, &Reply::Done);
    reads(b"NF O7\r\n", &Asked::Change, &Reply::Missing);
    reads(b"EN\r\n", &Asked::Change, &Reply::Missing);
    reads(b"VA 2 O7\r\n99\r\n", &Asked::Count, &Reply::Number(99));
    reads(b"NF O7\r\n", &Asked::Count, &Reply::Missing);
    reads(b"MN\r\n", &Asked::Nothing, &Reply::Done);
    let too_large = Reply::Refused(Refusal::TooLarge);
    reads(b"SERVER_ERROR object too large for cache\r\n", &Asked::Store, &too_large);
    let said = Reply::Refused(Refusal::Said("SERVER_ERROR out of memory storing object".to_owned()));
    reads(b"SERVER_ERROR out of memory storing object\r\n", &Asked::Store, &said);
    let no_number = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    reads(no_number, &Asked::Count, &Reply::Refused(Refusal::NotANumber));
}

#[test]
fn many_values_are_read_however_they_are_cut() {
    let asked = Asked::Many(keys(&["a", "b", "c", "b"]));
    let (a, b) = (Some(value(b"1", 2)), Some(value(b"END\r\n", 0)));
    let wire = b"VALUE a 2 1\r\n1\r\nVALUE b 0 5\r\nEND\r\n\r\nVALUE b 0 5\r\nEND\r\n\r\nEND\r\n";
    reads(wire, &asked, &Reply::Values(vec![a, b.clone(), None, b.clone()]));
    reads(b"END\r\n", &asked, &Reply::Values(vec![None; 4]));
    reads(b"VALUE c 0 5\r\nEND\r\n\r\nEND\r\n", &asked, &Reply::Values(vec![None, None, b, None]));
    let said = Reply::Refused(Refusal::Said("SERVER_ERROR out of memory".to_owned()));
    reads(b"SERVER_ERROR out of memory\r\n", &asked, &said);
}

#[test]
fn each_line_of_keys_has_an_end_of_its_own() {
    let names: Vec<String> = (0..20).map(|number| format!("{number:0>250}")).collect();
    let keys = keys(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let lines = sent(&Request::GetMany { keys: &keys }).lines().count();
    assert_eq!(lines, 3);
    // One value in the last line, of a key that stands there; it would be wrong in the first.
    let last = format!("VALUE {} 0 1\r\nx\r\n", names[19]);
    let mut expected = vec![None; 20];
    expected[19] = Some(value(b"x", 0));
    reads(format!("END\r\nEND\r\n{last}END\r\n").as_bytes(), &Asked::Many(keys.clone()), &Reply::Values(expected));
    breaks(format!("{last}END\r\nEND\r\nEND\r\n").as_bytes(), &Asked::Many(keys.clone()));
    breaks(b"END\r\nSERVER_ERROR out of memory\r\n", &Asked::Many(keys));
}

#[test]
fn a_reply_to_another_request_breaks_the_connection() {
    for (wire, asked) in [
        (&b"VA 1 f0 O8\r\nx\r\n"[..], Asked::Value),
        (b"VA 1 f0\r\nx\r\n", Asked::Value),
        (b"VA 1 f0 O\r\nx\r\n", Asked::Value),
        (b"VA 1 f0 O70\r\nx\r\n", Asked::Value),
        (b"VA 1 f0 O7 O8\r\nx\r\n", Asked::Value),
        (b"EN O8\r\n", Asked::Value),
        (b"HD O7\r\n", Asked::Value),
        (b"HD\r\n", Asked::Store),
        (b"HD O6\r\n", Asked::Store),
        (b"NF O6\r\n", Asked::Change),
        (b"VA 1 f0 O7\r\nx\r\n", Asked::Store),
        (b"VA 1 f0 O7\r\nx\r\n", Asked::Change),
        (b"END\r\n", Asked::Value),
        (b"HD O7\r\n", Asked::Nothing),
        (b"MN\r\n", Asked::Store),
    ] {
        breaks(wire, &asked);
    }
    let asked = || Asked::Many(keys(&["a", "b"]));
    for wire in [
        &b"VALUE c 0 1\r\nx\r\nEND\r\n"[..],
        b"VALUE b 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
        b"VALUE a 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
        b"VALUE a 0 1 5\r\nx\r\nEND\r\n",
        b"EN\r\n",
        b"VA 1 f0 O7\r\nx\r\n",
    ] {
        breaks(wire, &asked());
    }
}

#[test]
fn what_no_memcached_sends_breaks_the_connection() {
    for wire in [
        &b"\r\n"[..],
        b"\n",
        b"EN\n",
        b" EN\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR bad data chunk\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"VA\r\n",
        b"VA f0 O7\r\n",
        b"VA -1 f0 O7\r\n",
        b"VA +1 f0 O7\r\nx\r\n",
        b"VA 1x f0 O7\r\nx\r\n",
        b"VA 18446744073709551616 O7\r\n",
        b"VA 18446744073709551615 O7\r\n",
        b"VA 1073741825 O7\r\n",
        b"VA 1 f4294967296 O7\r\nx\r\n",
        b"VA 1 f-1 O7\r\nx\r\n",
        b"VA 1 c18446744073709551616 O7\r\nx\r\n",
        b"VA 1 f0 O7\r\nxy\r\n",
        b"VA 2 f0 O7\r\nx\r\nEN",
        &[b'x'; LONGEST_LINE + 1],
        &[0; 4096],
    ] {
        breaks(wire, &Asked::Value);
    }
    breaks(b"VA 1 O7\r\nx\r\n", &Asked::Count);
    breaks(b"VA 3 O7\r\n99 \r\n", &Asked::Count);
    breaks(b"VA 20 O7\r\n18446744073709551616\r\n", &Asked::Count);
}

#[test]
fn a_large_value_says_how_much_of_it_is_missing() {
    let mut input = BytesMut::from(&b"VA 1000000 f0 O7\r\nx"[..]);
    let step = Meta.decoder().decode(&mut input, &Asked::Value, 7);
    assert!(matches!(step, Ok(Step::More(1_000_001))), "{step:?}");
}

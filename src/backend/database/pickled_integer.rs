//! Python's pickle of an integer, written byte for byte as Python does and read strictly: the one kind of value that larder
//! and Django share in a database table. Every other pickle is somebody else's, and is never looked into.

/// Protocol 5, as Django writes (DB-4); the same opcodes are read in 2 to 4.
const PROTO: u8 = 0x80;
const PROTOCOL: u8 = 5;
const FRAME: u8 = 0x95;
const STOP: u8 = b'.';
const BININT1: u8 = b'K';
const BININT2: u8 = b'M';
const BININT: u8 = b'J';
const LONG1: u8 = 0x8a;

/// Python frames what is at least this long.
const SHORTEST_FRAME: usize = 4;

/// An integer of at most 128 bits, signed or not: what values of ours can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Integer {
    Signed(i128),
    /// Above the largest of the signed ones.
    Large(u128),
}

/// The pickle of an integer in decimal text. `None` where the text is not as Rust and Python write integers (needless
/// zeros, blanks, a plus), or has more than 128 bits.
pub(super) fn pickled(decimal: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(decimal).ok()?;
    let integer = match text.parse::<i128>() {
        Ok(number) => Integer::Signed(number),
        Err(_) => Integer::Large(text.parse().ok()?),
    };
    if decimal_of(integer) != text {
        return None;
    }
    let mut opcodes = Vec::with_capacity(20);
    match integer {
        Integer::Signed(number @ 0..=0xff) => opcodes.extend([BININT1, number as u8]),
        Integer::Signed(number @ 0..=0xffff) => {
            opcodes.push(BININT2);
            opcodes.extend((number as u16).to_le_bytes());
        }
        Integer::Signed(number) if i32::try_from(number).is_ok() => {
            opcodes.push(BININT);
            opcodes.extend((number as i32).to_le_bytes());
        }
        Integer::Signed(number) => push_long(&mut opcodes, &number.to_le_bytes(), number < 0),
        Integer::Large(number) => push_long(&mut opcodes, &number.to_le_bytes(), false),
    }
    opcodes.push(STOP);
    let mut pickle = vec![PROTO, PROTOCOL];
    if opcodes.len() >= SHORTEST_FRAME {
        pickle.push(FRAME);
        pickle.extend((opcodes.len() as u64).to_le_bytes());
    }
    pickle.extend(opcodes);
    Some(pickle)
}

/// LONG1: the fewest bytes of two's complement that keep the sign.
fn push_long(opcodes: &mut Vec<u8>, bytes: &[u8], is_negative: bool) {
    let filler = if is_negative { 0xff } else { 0 };
    let mut length = bytes.iter().rposition(|byte| *byte != filler).map_or(0, |last| last + 1);
    let says_negative = |length: usize| length > 0 && bytes[length - 1] & 0x80 != 0;
    let needs_sign = says_negative(length) != is_negative;
    length += usize::from(needs_sign);
    opcodes.extend([LONG1, length as u8]);
    opcodes.extend(bytes.iter().copied().chain(std::iter::repeat(filler)).take(length));
}

/// The decimal text of a pickled integer; `None` for every other pickle, for one that goes on behind its end, and for an
/// integer of more than 128 bits.
pub(super) fn decimal(pickle: &[u8]) -> Option<String> {
    let [PROTO, 2..=PROTOCOL, opcodes @ ..] = pickle else { return None };
    let opcodes = match opcodes {
        [FRAME, rest @ ..] => {
            let (length, framed) = rest.split_first_chunk::<8>()?;
            let is_all = u64::from_le_bytes(*length) == framed.len() as u64;
            is_all.then_some(framed)?
        }
        unframed => unframed,
    };
    let integer = match opcodes {
        [BININT1, number, STOP] => Integer::Signed((*number).into()),
        [BININT2, low, high, STOP] => Integer::Signed(u16::from_le_bytes([*low, *high]).into()),
        [BININT, a, b, c, d, STOP] => Integer::Signed(i32::from_le_bytes([*a, *b, *c, *d]).into()),
        [LONG1, length, bytes @ .., STOP] if bytes.len() == usize::from(*length) => long(bytes)?,
        _ => return None,
    };
    Some(decimal_of(integer))
}

fn long(bytes: &[u8]) -> Option<Integer> {
    let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let filler = if is_negative { 0xff } else { 0 };
    let (low, rest) = bytes.split_at(bytes.len().min(16));
    if rest.iter().any(|byte| *byte != filler) {
        return None;
    }
    let mut all = [filler; 16];
    all[..low.len()].copy_from_slice(low);
    if is_negative {
        let number = i128::from_le_bytes(all);
        return (number < 0).then_some(Integer::Signed(number));
    }
    let number = u128::from_le_bytes(all);
    Some(i128::try_from(number).map_or(Integer::Large(number), Integer::Signed))
}

fn decimal_of(integer: Integer) -> String {
    match integer {
        Integer::Signed(number) => number.to_string(),
        Integer::Large(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `pickle.dumps(number, 5).hex()` of Python 3.11.
    const PYTHONS: [(&str, &str); 18] = [
        ("0", "80054b002e"),
        ("1", "80054b012e"),
        ("42", "80054b2a2e"),
        ("255", "80054bff2e"),
        ("256", "80059504000000000000004d00012e"),
        ("65535", "80059504000000000000004dffff2e"),
        ("65536", "80059506000000000000004a000001002e"),
        ("-1", "80059506000000000000004affffffff2e"),
        ("-128", "80059506000000000000004a80ffffff2e"),
        ("-129", "80059506000000000000004a7fffffff2e"),
        ("2147483647", "80059506000000000000004affffff7f2e"),
        ("-2147483648", "80059506000000000000004a000000802e"),
        ("2147483648", "80059508000000000000008a0500000080002e"),
        ("-2147483649", "80059508000000000000008a05ffffff7fff2e"),
        ("9223372036854775807", "8005950b000000000000008a08ffffffffffffff7f2e"),
        ("-9223372036854775808", "8005950b000000000000008a0800000000000000802e"),
        ("9223372036854775808", "8005950c000000000000008a090000000000000080002e"),
        ("170141183460469231731687303715884105728", "80059514000000000000008a1100000000000000000000000000000080002e"),
    ];

    #[test]
    fn integers_are_written_as_python_writes_them() {
        for (number, hex) in PYTHONS {
            assert_eq!(pickled(number.as_bytes()).map(hex::encode).as_deref(), Some(hex), "{number}");
            assert_eq!(decimal(&hex::decode(hex).unwrap()).as_deref(), Some(number));
        }
    }

    #[test]
    fn older_protocols_are_read() {
        assert_eq!(decimal(b"\x80\x02K\x2a.").as_deref(), Some("42"));
        assert_eq!(decimal(b"\x80\x03J\xff\xff\xff\xff.").as_deref(), Some("-1"));
        assert_eq!(decimal(b"\x80\x04\x8a\0.").as_deref(), Some("0"));
    }

    #[test]
    fn what_python_would_not_write_is_not_pickled() {
        for odd in ["", "-", "+1", "007", "-0", "1 ", " 1", "1_0", "340282366920938463463374607431768211456", "١"] {
            assert_eq!(pickled(odd.as_bytes()), None, "{odd:?}");
        }
    }

    #[test]
    fn other_pickles_are_not_looked_into() {
        let others: [&[u8]; 16] = [
            b"",
            b"\x80",
            b"\x80\x05",
            b"\x80\x05.",
            b"\x80\x05K",
            b"\x80\x05K\x2a",
            b"\x80\x05K\x2a..",
            b"\x80\x05K\x2a.x",
            b"\x80\x01K\x2a.",
            b"\x80\x06K\x2a.",
            b"\x80\x05N.",
            b"\x80\x05\x88.",
            b"\x80\x05\x95\x03\0\0\0\0\0\0\0M\x00\x01.",
            b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\xffM\x00\x01.",
            b"\x80\x05\x8a\x05\x00\x01.",
            b"\x80\x05\x8a\x12\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01.",
        ];
        for other in others {
            assert_eq!(decimal(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn every_integer_comes_back(number: i128, large: u128, shift in 0u32..128) {
            for text in [(number >> shift).to_string(), (large >> shift).to_string()] {
                let pickle = pickled(text.as_bytes()).unwrap();
                prop_assert_eq!(decimal(&pickle), Some(text));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            decimal(&bytes);
            decimal(&[b"\x80\x05", &bytes[..]].concat());
        }
    }
}

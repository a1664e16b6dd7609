//! What a metadump says of one item, read off its line. Pure: the dump feeds it lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::percent::decoded_bytes;

/// One item of a memcached server, as [`Server::metadump`](super::super::Server::metadump) tells of it. Times are by the
/// server's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemInfo {
    /// Its key, decoded.
    pub key: Vec<u8>,
    /// From when on it is dead; `None` is never.
    pub expires_at: Option<SystemTime>,
    /// When it was last read, or else stored. memcached notes it once a minute at most.
    pub last_access: SystemTime,
    /// Its version.
    pub cas: u64,
    /// Whether it was ever read.
    pub was_read: bool,
    /// The slab class it lies in.
    pub class: u32,
    /// What it takes in the server, in bytes: key, value and the server's own notes.
    pub size: u64,
}

impl ItemInfo {
    /// Reads `key=… exp=… la=… cas=… fetch=… cls=… size=…`. Fields that are not known here are passed over.
    pub(super) fn read(line: &[u8]) -> Result<ItemInfo, String> {
        let text = std::str::from_utf8(line).map_err(|_| "a line of the dump is not text".to_owned())?;
        let field = |name: &str| {
            let value = text.split_ascii_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            value.ok_or_else(|| format!("a line of the dump has no {name}"))
        };
        let expires_at = match field("exp")? {
            "-1" => None,
            seconds => Some(time(number("exp", seconds)?)),
        };
        Ok(ItemInfo {
            key: decoded_bytes(field("key")?.as_bytes()).ok_or("a key of the dump is not percent-encoded")?,
            expires_at,
            last_access: time(number("la", field("la")?)?),
            cas: number("cas", field("cas")?)?,
            was_read: field("fetch")? == "yes",
            class: u32::try_from(number("cls", field("cls")?)?).map_err(|_| "the cls of a line is too large")?,
            size: number("size", field("size")?)?,
        })
    }
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    // A server whose clock was set back can say a time before 1970.
    if value.starts_with('-') && value[1..].parse::<u64>().is_ok() {
        return Ok(0);
    }
    value.parse().map_err(|_| format!("the {name} of a line of the dump is not a number"))
}

fn time(seconds: u64) -> SystemTime {
    // No clock shows a later one; a server that says so is wrong, not a reason to fail.
    UNIX_EPOCH + Duration::from_secs(seconds.min(u64::from(u32::MAX) * 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_memcached_1_6_18() {
        let line = b"key=caf%25%C3%A9 exp=1795403278 la=1795403178 cas=2 fetch=yes cls=1 size=67";
        let item = ItemInfo::read(line).unwrap();
        assert_eq!(item.key, "caf%\u{e9}".as_bytes());
        assert_eq!(item.expires_at, Some(time(1_795_403_278)));
        assert_eq!(item.last_access, time(1_795_403_178));
        assert_eq!((item.cas, item.was_read, item.class, item.size), (2, true, 1, 67));
    }

    #[test]
    fn what_later_servers_add_is_passed_over_and_never_is_never() {
        let line = b"key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=63 flags=0 ext=1";
        let item = ItemInfo::read(line).unwrap();
        assert_eq!((item.expires_at, item.was_read), (None, false));
    }

    #[test]
    fn what_is_no_line_of_a_dump_is_an_error_and_no_panic() {
        let good = "key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=63";
        for end in 0..good.len() - 1 {
            let _ = ItemInfo::read(&good.as_bytes()[..end]);
        }
        for bad in [
            "",
            "key=%4",
            "key=%zz exp=1 la=1 cas=1 fetch=no cls=1 size=1",
            "key=a exp=x la=1 cas=1 fetch=no cls=1 size=1",
        ] {
            assert!(ItemInfo::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let huge = "key=a exp=99999999999999999 la=18446744073709551615 cas=1 fetch=no cls=1 size=63";
        assert!(ItemInfo::read(huge.as_bytes()).is_ok());
    }
}

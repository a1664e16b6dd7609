//! What lies under a key, and for how long. Callers of the client make an [`Expiry`] and take a [`Value`];
//! the codecs write the one and read the other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::LONGEST_RELATIVE_EXPIRY;

/// What lies under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes. A small value is a part of what was read at once, up to 64 KiB, and keeps all of it in memory: copy
    /// what is kept for long.
    pub data: Bytes,
    /// The number stored beside them, by which clients say how to read them.
    pub flags: u32,
    /// The version of the item, for [`Client::cas`](super::Client::cas); only where it was asked for.
    pub cas: Option<u64>,
}

/// How long an item lives. memcached counts whole seconds: fractions are cut off, and less than one second is gone at once
/// (as Django converts timeouts, MEM-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Until the server needs the room.
    #[default]
    Never,
    /// For so long from now. Over 30 days it is sent as a point in time, counted by this machine's clock.
    In(Duration),
    /// Until this point in time.
    At(SystemTime),
}

/// An expiry as memcached reads it: 0 is never, below 0 is at once, up to 30 days are seconds from now, larger is seconds
/// since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExpiryTime(i32);

impl ExpiryTime {
    const NEVER: ExpiryTime = ExpiryTime(0);
    const AT_ONCE: ExpiryTime = ExpiryTime(-1);

    /// As the text and meta protocols write it.
    pub(crate) fn signed(self) -> i32 {
        self.0
    }

    /// As the binary protocol writes it, which has no negative numbers: what is to be gone at once expired early in 1970.
    pub(crate) fn unsigned(self) -> u32 {
        u32::try_from(self.0).unwrap_or(LONGEST_RELATIVE_EXPIRY.as_secs() as u32 + 1)
    }
}

impl Expiry {
    /// As memcached reads it, asked at `now`. It reads 32 bits: what is to live beyond January 2038 lives for ever.
    pub(crate) fn at(self, now: SystemTime) -> ExpiryTime {
        let until = match self {
            Expiry::Never => return ExpiryTime::NEVER,
            Expiry::In(time) if time.as_secs() == 0 => return ExpiryTime::AT_ONCE,
            Expiry::In(time) if time.as_secs() <= LONGEST_RELATIVE_EXPIRY.as_secs() => {
                return ExpiryTime(time.as_secs() as i32);
            }
            Expiry::In(time) => match now.checked_add(time) {
                Some(until) => until,
                None => return ExpiryTime::NEVER,
            },
            Expiry::At(until) if until <= now => return ExpiryTime::AT_ONCE,
            Expiry::At(until) => until,
        };
        let seconds = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match i32::try_from(seconds) {
            // A clock in 1970: what memcached would read as "from now" is long gone by any server's clock.
            Ok(seconds) if seconds as u64 <= LONGEST_RELATIVE_EXPIRY.as_secs() => ExpiryTime::AT_ONCE,
            Ok(seconds) => ExpiryTime(seconds),
            Err(_) => ExpiryTime::NEVER,
        }
    }
}

impl From<Duration> for Expiry {
    fn from(time: Duration) -> Expiry {
        Expiry::In(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS_30: u64 = 2_592_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn sent(expiry: Expiry) -> i32 {
        expiry.at(now()).signed()
    }

    #[test]
    fn lifetimes_are_sent_as_django_sends_them() {
        assert_eq!(sent(Expiry::Never), 0);
        assert_eq!(sent(Expiry::In(Duration::ZERO)), -1);
        assert_eq!(sent(Expiry::In(Duration::from_millis(999))), -1);
        assert_eq!(sent(Expiry::In(Duration::from_millis(1999))), 1);
        assert_eq!(sent(Expiry::In(Duration::from_secs(DAYS_30))), DAYS_30 as i32);
        assert_eq!(sent(Expiry::In(Duration::from_secs(DAYS_30 + 1))), 1_702_592_001);
    }

    #[test]
    fn points_in_time_are_sent_as_such_and_never_read_as_from_now() {
        assert_eq!(sent(Expiry::At(now() + Duration::from_secs(5))), 1_700_000_005);
        assert_eq!(sent(Expiry::At(now())), -1);
        assert_eq!(sent(Expiry::At(UNIX_EPOCH)), -1);
        let early = UNIX_EPOCH + Duration::from_secs(10);
        assert_eq!(Expiry::At(early + Duration::from_secs(10)).at(early).signed(), -1);
    }

    #[test]
    fn what_lives_beyond_the_servers_numbers_lives_for_ever() {
        assert_eq!(sent(Expiry::In(Duration::MAX)), 0);
        assert_eq!(sent(Expiry::In(Duration::from_secs(100 * 365 * 86_400))), 0);
        assert_eq!(sent(Expiry::At(UNIX_EPOCH + Duration::from_secs(i32::MAX as u64))), i32::MAX);
        assert_eq!(sent(Expiry::At(UNIX_EPOCH + Duration::from_secs(i32::MAX as u64 + 1))), 0);
    }

    #[test]
    fn without_negative_numbers_at_once_is_a_day_of_1970() {
        assert_eq!(Expiry::In(Duration::ZERO).at(now()).unsigned(), 2_592_001);
        assert_eq!(Expiry::In(Duration::from_secs(7)).at(now()).unsigned(), 7);
    }
}

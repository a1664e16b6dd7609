//! Counting up and down over a stored integer: what `incr` makes of an entry, decided without any I/O.
//! Backends that do not leave the counting to a server call it under their own lock.

use bytes::Bytes;

use super::{Stored, flags};
use crate::error::Error;

/// The number that `incr` makes of `stored`, and the entry to keep in its place.
///
/// # Errors
/// [`Error::NotANumber`] for anything but an integer (LOW-20), [`Error::Overflow`] where the number stored or the sum has
/// no place in 64 bits. The entry is to be left as it was.
///
/// ```
/// use larder::backend::{Stored, counted, flags};
///
/// let stored = Stored { data: "41".into(), flags: flags::INTEGER };
/// let (number, next) = counted("visits", &stored, 1)?;
/// assert_eq!((number, &next.data[..]), (42, &b"42"[..]));
/// # Ok::<(), larder::Error>(())
/// ```
pub fn counted(key: &str, stored: &Stored, delta: i64) -> Result<(i64, Stored), Error> {
    let number = stored_integer(stored).ok_or_else(|| Error::NotANumber { key: key.to_owned() })?;
    let sum = number.parse::<i64>().ok().and_then(|number| number.checked_add(delta));
    let sum = sum.ok_or_else(|| Error::Overflow { key: key.to_owned() })?;
    Ok((sum, Stored { data: Bytes::from(sum.to_string()), flags: flags::INTEGER }))
}

/// The decimal text of a stored integer of any size; `None` if it is something else.
fn stored_integer(stored: &Stored) -> Option<&str> {
    if stored.flags != flags::INTEGER {
        return None;
    }
    // A memcached server pads a number that became shorter with blanks (MEM-6).
    let text = std::str::from_utf8(&stored.data).ok()?.trim_end_matches(' ');
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

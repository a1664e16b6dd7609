//! Moments as the column `expires` holds them: text in UTC that SQLite keeps as it is and MySQL reads into its own type, and
//! PostgreSQL's own type; Django reads all of them back. The connections write and compare by it; nothing here is ever read.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};

use crate::clock::Timestamp;

/// When an entry expires that never does, as Django writes it (DB-5).
const NEVER: &str = "9999-12-31 23:59:59";
/// The same as a Unix time in seconds.
const NEVER_AS_SECONDS: i64 = 253_402_300_799;

/// A moment in UTC as PostgreSQL has it in a `timestamp with time zone`: it need not read a text for each statement.
pub(super) struct Microseconds(pub(super) Timestamp);

/// From 1970 to 2000, which PostgreSQL counts from, in seconds.
const POSTGRES_EPOCH: i64 = 946_684_800;

impl Microseconds {
    /// Since the beginning of the year 2000; what is less is cut.
    fn since_2000(&self) -> i64 {
        let unix = match self.0 {
            Timestamp::NEVER => NEVER_AS_SECONDS * 1_000_000,
            moment => (moment.as_nanos() / 1_000) as i64,
        };
        unix - POSTGRES_EPOCH * 1_000_000
    }
}

impl Type<Postgres> for Microseconds {
    fn type_info() -> PgTypeInfo {
        /// Of `timestamp with time zone`, in every PostgreSQL.
        const TIMESTAMPTZ: Oid = Oid(1184);
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for Microseconds {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.since_2000().to_be_bytes());
        Ok(IsNull::No)
    }
}

/// The text of a moment in UTC, cut to the microseconds that the columns keep. Without a fraction where it is zero, as
/// Python writes it, so that text sorts as time does.
pub(super) fn text_of(moment: Timestamp) -> String {
    if moment == Timestamp::NEVER {
        return NEVER.to_owned();
    }
    let (seconds, microseconds) = (moment.as_secs(), moment.as_nanos() / 1_000 % 1_000_000);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    // Digit by digit, as every statement on a live row has a moment, and to format one takes as long as to find a row.
    let mut text = *b"0000-00-00 00:00:00.000000";
    let date = [(0..4, year), (5..7, month), (8..10, day)];
    let time = [(11..13, hour), (14..16, minute), (17..19, second), (20..26, microseconds)];
    for (place, number) in date.into_iter().chain(time) {
        write_digits(&mut text[place], number);
    }
    let length = if microseconds > 0 { text.len() } else { NEVER.len() };
    text[..length].iter().copied().map(char::from).collect()
}

/// The last digits of a number, as many as there is room for. Years have four: no moment is later than the year 2554.
fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of the Gregorian calendar, that many days after 1970-01-01.
///
/// Counted in years that begin on the first of March, so that the leap day is the last day of its year and of its
/// four-year, hundred-year and four-hundred-year cycles.
fn civil(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 on, in cycles of 400 years.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // 153 days make five months, from March on.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let is_next_year = month >= 10;
    (cycle * 400 + year + u64::from(is_next_year), if is_next_year { month - 9 } else { month + 3 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_written_as_python_writes_them() {
        // As Python's `str(datetime.fromtimestamp(…, timezone.utc).replace(tzinfo=None))`.
        let moments = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_767_225_600, "2026-01-01 00:00:00"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (4_107_456_000, "2100-02-28 00:00:00"),
            (1_735_689_599, "2024-12-31 23:59:59"),
        ];
        for (seconds, text) in moments {
            assert_eq!(text_of(Timestamp::from_secs(seconds)), text);
        }
        assert_eq!(text_of(Timestamp::NEVER), NEVER);
    }

    #[test]
    fn microseconds_are_kept_and_less_is_cut() {
        let text = |nanoseconds| text_of(Timestamp::from_secs(1_767_225_600).after(Duration::from_nanos(nanoseconds)));
        assert_eq!(text(500_000_000), "2026-01-01 00:00:00.500000");
        assert_eq!(text(1_000), "2026-01-01 00:00:00.000001");
        assert_eq!(text(999), "2026-01-01 00:00:00");
        assert_eq!(text(1_999), "2026-01-01 00:00:00.000001");
    }

    #[test]
    fn postgres_counts_microseconds_from_its_own_beginning() {
        // As PostgreSQL's `extract(epoch from …::timestamptz - '2000-01-01+00') * 1000000`.
        let moments = [
            (Timestamp::from_secs(0), -946_684_800_000_000),
            (Timestamp::from_secs(946_684_800), 0),
            (Timestamp::from_secs(1_767_225_600).after(Duration::from_nanos(1_999)), 820_540_800_000_001),
            (Timestamp::NEVER, 252_455_615_999_000_000),
        ];
        for (moment, microseconds) in moments {
            assert_eq!(Microseconds(moment).since_2000(), microseconds);
        }
    }

    #[test]
    fn text_sorts_as_time_does() {
        let mut moments: Vec<Timestamp> =
            (0..3_000).map(|number| Timestamp::from_nanos(number * 6_148_914_691_236_500)).collect();
        moments.extend((0..100).map(|number| Timestamp::from_nanos(number * 333_333_000)));
        moments.sort();
        moments.push(Timestamp::NEVER);
        let texts: Vec<String> = moments.iter().map(|moment| text_of(*moment)).collect();
        assert!(texts.is_sorted(), "{texts:?}");
    }
}

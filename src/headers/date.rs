//! HTTP dates: writing the one form that is written today, reading the three that RFC 9110 section 5.6.7 allows.
//! The patch functions write them, the preconditions and the page floor's `Age` read them.

use http::HeaderValue;

use crate::clock::Timestamp;

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// By the day so many days after the first of January 1970, from 0 on.
const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

/// The moment as an HTTP date (IMF-fixdate), the fraction of a second cut off (HDR-11).
pub(crate) fn http_date(moment: Timestamp) -> HeaderValue {
    let (days, seconds) = (moment.as_secs() / 86_400, moment.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    // The first of January 1970 was a Thursday.
    let weekday = WEEKDAYS[(days % 7) as usize];
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(weekday);
    text[5..7].copy_from_slice(&two_digits(day));
    text[8..11].copy_from_slice(MONTHS[month as usize - 1]);
    text[8] = text[8].to_ascii_uppercase();
    text[12..14].copy_from_slice(&two_digits(year / 100));
    text[14..16].copy_from_slice(&two_digits(year % 100));
    text[17..19].copy_from_slice(&two_digits(seconds / 3_600));
    text[20..22].copy_from_slice(&two_digits(seconds / 60 % 60));
    text[23..25].copy_from_slice(&two_digits(seconds % 60));
    HeaderValue::from_bytes(&text).expect("a date is plain ASCII")
}

/// The last two digits of a number.
fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// Year, month and day of the day so many days after the first of January 1970. Years begin in March here, so that the leap
/// day is the last one of its year, and months of 30.6 days fall where they are.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let day_of_era = days % DAYS_OF_400_YEARS;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + days / DAYS_OF_400_YEARS * 400 + u64::from(month <= 2), month, day)
}

/// Seconds since the epoch of an HTTP date in any of its three forms, as Django reads them (CON-7).
///
/// The day of the week is not verified, months go in any case, `GMT` only as it is, and nothing may stand around it. A year
/// of two digits that would be more than 50 years after `now` belongs to the century before.
pub(crate) fn parse_http_date(text: &[u8], now: Timestamp) -> Option<i64> {
    let mut fields = imf_fixdate(text).or_else(|| rfc_850(text)).or_else(|| asctime(text))?;
    // Django takes a year below 100 for a short one, with however many digits it is written.
    if fields.year < 100 {
        fields.year = full_year(fields.year, now);
    }
    fields.seconds()
}

struct Fields<'a> {
    year: i64,
    month: &'a [u8],
    day: i64,
    time: &'a [u8],
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<Fields<'_>> {
    let (weekday, rest) = text.split_at_checked(3)?;
    let rest = rest.strip_prefix(b", ")?.strip_suffix(b" GMT")?;
    if !weekday.iter().all(is_word) || rest.len() != 20 || [rest[2], rest[6], rest[11]] != *b"   " {
        return None;
    }
    Some(Fields { day: number(&rest[..2])?, month: &rest[3..6], year: number(&rest[7..11])?, time: &rest[12..] })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc_850(text: &[u8]) -> Option<Fields<'_>> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let rest = text[comma..].strip_prefix(b", ")?.strip_suffix(b" GMT")?;
    let weekday = &text[..comma];
    if !(6..=9).contains(&weekday.len()) || !weekday.iter().all(is_word) {
        return None;
    }
    if rest.len() != 18 || [rest[2], rest[6], rest[9]] != *b"-- " {
        return None;
    }
    Some(Fields { day: number(&rest[..2])?, month: &rest[3..6], year: number(&rest[7..9])?, time: &rest[10..] })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Fields<'_>> {
    if text.len() != 24 || [text[3], text[7], text[10], text[19]] != *b"    " || !text[..3].iter().all(is_word) {
        return None;
    }
    let day = if text[8] == b' ' { &text[9..10] } else { &text[8..10] };
    Some(Fields { day: number(day)?, month: &text[4..7], year: number(&text[20..])?, time: &text[11..19] })
}

impl Fields<'_> {
    fn seconds(&self) -> Option<i64> {
        let month = MONTHS.iter().position(|name| self.month.eq_ignore_ascii_case(*name))?;
        let [h1, h2, b':', m1, m2, b':', s1, s2] = *self.time else { return None };
        let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
        let month = i64::try_from(month + 1).ok()?;
        let in_range = self.year >= 1
            && (1..=days_in_month(self.year, month)).contains(&self.day)
            && hour < 24
            && minute < 60
            && second < 60;
        in_range.then(|| days_since_epoch(self.year, month, self.day) * 86_400 + hour * 3_600 + minute * 60 + second)
    }
}

/// The year that a year of two digits stands for.
fn full_year(year: i64, now: Timestamp) -> i64 {
    let this_year = year_of(now);
    let century = this_year - this_year % 100;
    if year - this_year % 100 > 50 { year + century - 100 } else { year + century }
}

fn year_of(moment: Timestamp) -> i64 {
    let days = i64::try_from(moment.as_secs() / 86_400).unwrap_or(i64::MAX);
    let mut year = 1970 + days / 366;
    while days_since_epoch(year + 1, 1, 1) <= days {
        year += 1;
    }
    year
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01 in the Gregorian calendar, for years from 1 on.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let in_year: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    before * 365 + leap_days + in_year + day - 1 - 719_162
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn parse(text: &str) -> Option<i64> {
        parse_http_date(text.as_bytes(), NOW)
    }

    #[test]
    fn con_7_all_three_forms_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Xxx, 06 nOV 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse("Wed, 31 Dec 1969 23:59:59 GMT"), Some(-1));
        assert_eq!(parse("Tue, 29 Feb 2000 00:00:00 GMT"), Some(951_782_400));
    }

    #[test]
    fn con_7_years_of_two_digits_lie_at_most_50_years_ahead() {
        let seconds = |year| days_since_epoch(year, 1, 1) * 86_400;
        assert_eq!(parse("Monday, 01-Jan-73 00:00:00 GMT"), Some(seconds(2073)));
        assert_eq!(parse("Monday, 01-Jan-74 00:00:00 GMT"), Some(seconds(1974)));
        assert_eq!(parse("Mon, 01 Jan 0074 00:00:00 GMT"), Some(seconds(1974)));
    }

    #[test]
    fn con_7_what_is_no_date_is_nothing() {
        for text in [
            "",
            "0",
            "tomorrow",
            " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 gmt",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun Nov 06 08:49:37 1994 ",
            "Sun, 29 Feb 1900 00:00:00 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_six_centuries_is_written_as_httpdate_does() {
        for day in 0..=Timestamp::from_nanos(u64::MAX).as_secs() / 86_400 {
            let moment = Timestamp::from_secs(day * 86_400 + day * 7_919 % 86_400);
            assert_eq!(http_date(moment), httpdate::fmt_http_date(moment.into()), "{moment:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for seconds in [0, 951_782_399, 951_782_400, 1_709_164_800, 4_102_444_799, 18_000_000_000] {
            let written = http_date(Timestamp::from_nanos(seconds * 1_000_000_000 + 999));
            assert_eq!(parse_http_date(written.as_bytes(), NOW), Some(seconds as i64));
            let year = written.to_str().unwrap()[12..16].parse::<i64>().unwrap();
            assert_eq!(year_of(Timestamp::from_secs(seconds)), year);
        }
    }
}

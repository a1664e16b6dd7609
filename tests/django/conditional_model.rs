//! What Django 6.1 answers to conditional requests, said a second time and independently, with our departures to switch
//! on. `conditional.rs` proves with it that an answer of ours is exactly what the departures promise.

use md5::{Digest, Md5};
use serde_json::Value;

use super::{our_tag, pairs};

/// A way in which we answer otherwise than Django.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departing {
    /// Only a complete success gets a tag of its body.
    CompleteSuccess,
    /// HEAD is answered by validators after the handler, too; OPTIONS, TRACE and CONNECT have no preconditions.
    Methods,
    /// A tag may hold commas.
    Commas,
    /// Without a date, `If-Unmodified-Since` does not count.
    NeedsDate,
    /// `*` is any representation, also one that has a date alone.
    Star,
    /// A 304 keeps `Age`.
    Age,
    /// The tag of a body is its XXH3-128.
    FastHash,
}

use Departing::{Age, Commas, CompleteSuccess, FastHash, Methods, NeedsDate, Star};

/// In the order in which one that makes a difference by itself is named.
pub const ALL: &[Departing] = &[CompleteSuccess, Methods, Commas, NeedsDate, Star, Age, FastHash];

impl Departing {
    /// The name of its departure.
    pub const fn name(self) -> &'static str {
        match self {
            CompleteSuccess => "only-a-complete-success-gets-a-tag",
            Methods => "preconditions-of-a-method",
            Commas => "commas-inside-tags",
            NeedsDate => "if-unmodified-since-needs-a-date",
            Star => "a-star-is-any-representation",
            Age => "a-304-keeps-its-age",
            FastHash => "etag-is-a-fast-hash",
        }
    }
}

/// The departure that makes the difference, of the few that our answer needs: to the question with the tag that Django's
/// clients send and to the one with the tag that ours send.
pub fn explain(asked: &Asked) -> Option<&'static str> {
    let questions = [asked.clone(), asked.with_our_tag()];
    let is_enough = |ways: &[Departing]| questions.iter().all(|asked| asked.answer(ways) == asked.answer(ALL));
    let mut needed = ALL.to_vec();
    for departing in ALL.iter().rev() {
        let others: Vec<Departing> = needed.iter().copied().filter(|other| other != departing).collect();
        if is_enough(&others) {
            needed = others;
        }
    }
    let changes_alone = |departing: &&Departing| asked.answer(&[**departing]) != asked.answer(&[]);
    needed.iter().find(changes_alone).or(needed.first()).copied().map(Departing::name)
}

/// An answer, as a case expects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    view_called: bool,
    pub status: u16,
    /// With names in lower case, and sorted: the order of different names means nothing (RFC 9110 section 5.3).
    pub headers: Vec<(String, String)>,
    pub cookies: Vec<String>,
    pub body: String,
}

impl Answer {
    pub fn new(
        view_called: bool,
        status: u16,
        mut headers: Vec<(String, String)>,
        cookies: Vec<String>,
        body: String,
    ) -> Self {
        headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        headers.sort();
        Answer { view_called, status, headers, cookies, body }
    }

    pub fn of(expected: &Value) -> Self {
        let cookies = expected["set_cookie"].as_array().into_iter().flatten();
        let cookies = cookies.filter_map(Value::as_str).map(str::to_owned).collect();
        let body = expected["body"].as_str().unwrap_or_default().to_owned();
        let called = expected["view_called"] == true;
        Answer::new(called, status(&expected["status"]), pairs(&expected["headers"]), cookies, body)
    }
}

fn status(value: &Value) -> u16 {
    value.as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default()
}

/// What a case asks.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whether it is the decorator's business, or the middleware's.
    pub is_decorated: bool,
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub view: View,
    /// What the function answers, if there is one.
    pub etag: Option<Option<String>>,
    /// What the function answers, if there is one, in microseconds since the epoch.
    pub last_modified: Option<Option<i64>>,
}

/// What the view answers.
#[derive(Clone, Debug)]
pub struct View {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub is_streaming: bool,
    pub cookies: Vec<String>,
}

impl Asked {
    pub fn of(case: &Value) -> Self {
        let view = &case["view"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut headers = pairs(&view["headers"]);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            headers.insert(0, content_type());
        }
        let cookie = |cookie: &Value| format!("{}={}; Path=/", text(&cookie["name"]), text(&cookie["value"]));
        Asked {
            is_decorated: case["mode"] == "condition",
            method: text(&case["request"]["method"]),
            headers: pairs(&case["request"]["headers"]),
            view: View {
                status: status(&view["status"]),
                headers,
                body: text(&view["body"]),
                is_streaming: view["streaming"] == true,
                cookies: view["cookies"].as_array().into_iter().flatten().map(cookie).collect(),
            },
            etag: case.get("etag").map(|tag| tag.as_str().map(str::to_owned)),
            last_modified: case.get("last_modified").map(|date| date.as_str().and_then(microseconds)),
        }
    }

    /// The same question of a client that got our tag where Django's got Django's.
    pub fn with_our_tag(&self) -> Self {
        let mut asked = self.clone();
        asked.headers.iter_mut().for_each(|(_, value)| *value = with_our_tag_of(&self.view.body, value));
        asked
    }

    /// The answer, with these departures.
    pub fn answer(&self, ways: &[Departing]) -> Answer {
        if self.is_decorated { self.decorated(ways) } else { self.by_middleware(ways) }
    }

    fn by_middleware(&self, ways: &[Departing]) -> Answer {
        let mut headers = self.view.headers.clone();
        let as_it_is =
            |headers| Answer::new(true, self.view.status, headers, self.view.cookies.clone(), self.view.body.clone());
        let is_read = self.method == "GET" || (self.method == "HEAD" && ways.contains(&Methods));
        if !is_read {
            return as_it_is(headers);
        }
        let is_success = (200..300).contains(&self.view.status);
        let gets_tag = !ways.contains(&CompleteSuccess) || (is_success && self.view.status != 206);
        let has_body = !self.view.is_streaming && !self.view.body.is_empty();
        if self.method == "GET" && gets_tag && has_body && get(&headers, "etag").is_none() && !says_no_store(&headers) {
            let hash = if ways.contains(&FastHash) { our_tag } else { |body: &str| djangos_tag(body) };
            headers.push(("ETag".to_owned(), hash(&self.view.body)));
        }
        let etag = get(&headers, "etag").filter(|tag| !tag.is_empty());
        let date = get(&headers, "last-modified").and_then(|date| http_date(&date)).filter(|seconds| *seconds != 0);
        if !is_success || (etag.is_none() && date.is_none()) {
            return as_it_is(headers);
        }
        match self.outcome(etag.as_deref(), date, ways) {
            200 => as_it_is(headers),
            304 => {
                let mut kept =
                    vec!["cache-control", "content-location", "date", "etag", "expires", "last-modified", "vary"];
                if ways.contains(&Age) {
                    kept.push("age");
                }
                headers.retain(|(name, _)| kept.contains(&name.to_lowercase().as_str()));
                Answer::new(true, 304, headers, self.view.cookies.clone(), String::new())
            }
            failed => Answer::new(true, failed, vec![content_type()], Vec::new(), String::new()),
        }
    }

    fn decorated(&self, ways: &[Departing]) -> Answer {
        let etag = self.etag.clone().flatten();
        let etag = etag.map(|tag| if is_tag(&tag) { tag } else { format!("\"{tag}\"") });
        let date = self.last_modified.flatten().map(|micros| micros / 1_000_000).filter(|seconds| *seconds != 0);
        let outcome = self.outcome(etag.as_deref(), date, ways);
        let mut headers = match outcome {
            200 => self.view.headers.clone(),
            304 => Vec::new(),
            _ => vec![content_type()],
        };
        if ["GET", "HEAD"].contains(&self.method.as_str()) {
            for (name, value) in [("Last-Modified", date.map(written)), ("ETag", etag)] {
                if let (Some(value), None) = (value, get(&headers, name)) {
                    headers.push((name.to_owned(), value));
                }
            }
        }
        match outcome {
            200 => {
                let View { status, cookies, body, .. } = self.view.clone();
                Answer::new(true, status, headers, cookies, body)
            }
            status => Answer::new(false, status, headers, Vec::new(), String::new()),
        }
    }

    /// `get_conditional_response`: 200, 304 or 412.
    fn outcome(&self, etag: Option<&str>, date: Option<i64>, ways: &[Departing]) -> u16 {
        let is_ignored = ["OPTIONS", "TRACE", "CONNECT"].contains(&self.method.as_str());
        if is_ignored && ways.contains(&Methods) {
            return 200;
        }
        let is_there = etag.is_some() || (date.is_some() && ways.contains(&Star));
        let if_match = tags(&self.lines("if-match"), ways);
        let if_none_match = tags(&self.lines("if-none-match"), ways);
        // A WSGI server runs several lines together, which then are no date.
        let seconds = |name| http_date(&self.lines(name).join(",")).filter(|seconds| *seconds != 0);

        let holds = |tags: &[String]| match etag {
            _ if tags == ["*"] => is_there,
            None => false,
            Some(etag) => !etag.starts_with("W/") && tags.iter().any(|tag| tag == etag),
        };
        if !if_match.is_empty() && !holds(&if_match) {
            return 412;
        }
        if let (true, Some(since)) = (if_match.is_empty(), seconds("if-unmodified-since")) {
            let is_later = date.map_or(!ways.contains(&NeedsDate), |date| date > since);
            if is_later {
                return 412;
            }
        }
        let bare = |tag: &str| tag.trim_matches(['W', '/']).to_owned();
        let is_known = match etag {
            _ if if_none_match == ["*"] => is_there,
            None => false,
            Some(etag) => if_none_match.iter().any(|tag| bare(tag) == bare(etag)),
        };
        let is_read = ["GET", "HEAD"].contains(&self.method.as_str());
        if is_known {
            return if is_read { 304 } else { 412 };
        }
        match (seconds("if-modified-since"), date) {
            (Some(since), Some(date)) if if_none_match.is_empty() && is_read && date <= since => 304,
            _ => 200,
        }
    }

    /// The lines of a header of the request.
    fn lines(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str()).collect()
    }
}

fn content_type() -> (String, String) {
    ("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())
}

fn get(headers: &[(String, String)], name: &str) -> Option<String> {
    headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
}

fn says_no_store(headers: &[(String, String)]) -> bool {
    let control = get(headers, "cache-control").unwrap_or_default();
    let mut names = control.split(',').map(|part| part.split('=').next().unwrap_or_default().trim().to_lowercase());
    names.any(|name| name == "no-store")
}

/// The text with our tag of a body wherever Django's is.
pub fn with_our_tag_of(body: &str, text: &str) -> String {
    text.replace(djangos_tag(body).trim_matches('"'), our_tag(body).trim_matches('"'))
}

fn djangos_tag(body: &str) -> String {
    format!("\"{}\"", hex::encode(Md5::digest(body)))
}

/// `parse_etags`
fn tags(lines: &[&str], ways: &[Departing]) -> Vec<String> {
    if let [line] = lines
        && line.trim() == "*"
    {
        return vec!["*".to_owned()];
    }
    lines.iter().flat_map(|line| tags_of_line(line, ways)).collect()
}

fn tags_of_line(line: &str, ways: &[Departing]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut pieces = line.split(',');
    while let Some(piece) = pieces.next() {
        let mut part = piece.to_owned();
        // A tag that is not at its end goes on behind the comma, if that makes it one.
        if ways.contains(&Commas) && !is_tag(part.trim()) {
            let mut longer = part.clone();
            let following: Vec<&str> = pieces.clone().collect();
            for (taken, more) in following.iter().enumerate() {
                longer = format!("{longer},{more}");
                if is_tag(longer.trim()) {
                    part = longer;
                    pieces.nth(taken);
                    break;
                }
            }
        }
        parts.push(part.trim().to_owned());
    }
    parts.retain(|part| is_tag(part));
    parts
}

fn is_tag(text: &str) -> bool {
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.is_some_and(|inside| !inside.contains('"'))
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// `parse_http_date_safe`, in seconds since the epoch, for years of four digits and those of this century and the last.
fn http_date(text: &str) -> Option<i64> {
    let is_word = |word: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let (day, month, year, time) = if let Some(rest) = text.strip_suffix(" GMT") {
        let (weekday, rest) = rest.split_once(", ")?;
        let (date, time) = rest.rsplit_once(' ')?;
        let separator = if is_word(weekday, 6..=9) { '-' } else { ' ' };
        let fields: Vec<&str> = date.split(separator).collect();
        let [day, month, year] = fields[..] else { return None };
        let is_short = separator == '-';
        if (!is_short && !is_word(weekday, 3..=3)) || year.len() != if is_short { 2 } else { 4 } || day.len() != 2 {
            return None;
        }
        (day.to_owned(), month, year, time)
    } else {
        let fields: Vec<&str> = text.splitn(3, ' ').collect();
        let [weekday, month, rest] = fields[..] else { return None };
        if !is_word(weekday, 3..=3) || rest.len() != 16 {
            return None;
        }
        let (day, rest) = rest.split_at_checked(2)?;
        let (time, year) = rest.strip_prefix(' ')?.split_once(' ')?;
        (day.strip_prefix(' ').map_or(day.to_owned(), |digit| format!("0{digit}")), month, year, time)
    };
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? + 1;
    let mut year = number(year)?;
    if year < 100 {
        year += if year > 76 { 1900 } else { 2000 };
    }
    let seconds = clock_time(time)?;
    let days = days(year, month as i64, number(&day)?)?;
    Some(days * 86_400 + seconds)
}

fn clock_time(text: &str) -> Option<i64> {
    let fields: Vec<&str> = text.split(':').collect();
    let [hour, minute, second] = fields[..] else { return None };
    let in_range = |text: &str, end| number(text).filter(|number| text.len() == 2 && *number < end);
    Some(in_range(hour, 24)? * 3_600 + in_range(minute, 60)? * 60 + in_range(second, 60)?)
}

fn number(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Days from the epoch, counted month by month.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let in_month = |month| match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1 || !(1..=in_month(month)).contains(&day) {
        return None;
    }
    let in_years = |years: std::ops::Range<i64>| years.map(|year| 365 + i64::from(is_leap(year))).sum::<i64>();
    let before = if year < 1970 { -in_years(year..1970) } else { in_years(1970..year) };
    Some(before + (1..month).map(in_month).sum::<i64>() + day - 1)
}

/// `http_date`
fn written(seconds: i64) -> String {
    let (days_since, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970 + days_since.div_euclid(366);
    while days(year + 1, 1, 1).is_some_and(|first| first <= days_since) {
        year += 1;
    }
    let mut month = 12;
    while days(year, month, 1).is_some_and(|first| first > days_since) {
        month -= 1;
    }
    let day = days_since - days(year, month, 1).unwrap_or_default() + 1;
    let weekday = DAYS[days_since.rem_euclid(7) as usize];
    let name = MONTHS[month as usize - 1];
    let name = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    format!("{weekday}, {day:02} {name} {year:04} {:02}:{:02}:{:02} GMT", time / 3_600, time / 60 % 60, time % 60)
}

/// `datetime.fromisoformat(..)`, taken for UTC where it names no offset, in microseconds since the epoch.
fn microseconds(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let fields: Vec<i64> = date.split('-').map(number).collect::<Option<_>>()?;
    let [year, month, day] = fields[..] else { return None };
    let split = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (time, offset) = time.split_at(split);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let ahead = match offset.split_at_checked(1) {
        None | Some(("Z", _)) => 0,
        Some((sign, offset)) => {
            let seconds = clock_time(&format!("{offset}:00")).or_else(|| clock_time(offset))?;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    let seconds = days(year, month, day)? * 86_400 + clock_time(&time)? - ahead;
    Some(seconds * 1_000_000 + number(&format!("{fraction:0<6}"))?)
}

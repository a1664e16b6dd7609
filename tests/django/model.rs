//! What Django 6.1 does with `Cache-Control`, said a second time and independently, with our departures to switch on.
//! `headers.rs` proves with it that an answer of ours is exactly what the departure promises.

use serde_json::Value;

/// A way in which we answer otherwise than Django.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departing {
    /// A comma inside a quoted string separates nothing.
    QuotedStrings,
    /// Names of directives are compared and written in lower case.
    LowerCaseNames,
    /// A value that would come apart is quoted.
    WholeValues,
    /// A `max-age` that is no integer is ignored.
    UnparsableMaxAge,
    /// Seconds in a header are whole.
    WholeSeconds,
    /// Numbers out of 64 bits become the nearest ones in it.
    Saturating,
}

use Departing::{LowerCaseNames, QuotedStrings, Saturating, UnparsableMaxAge, WholeSeconds, WholeValues};

const ALL: [(Departing, &str); 6] = [
    (QuotedStrings, "quoted-strings-stay-whole"),
    (LowerCaseNames, "directive-names-are-lower-case"),
    (WholeValues, "a-value-stays-one-value"),
    (UnparsableMaxAge, "unparsable-max-age-is-ignored"),
    (WholeSeconds, "whole-seconds"),
    (Saturating, "ages-saturate"),
];

/// The departure that makes the difference, if Django is modelled right on this case and our answer is the one that the
/// model gives with all departures.
pub fn explain<T: PartialEq>(is_understood: bool, answer: impl Fn(&[Departing]) -> T, got: T) -> Option<&'static str> {
    let all = ALL.map(|(departing, _)| departing);
    if !is_understood || answer(&all) != got {
        return None;
    }
    let plain = answer(&[]);
    let changes_alone = |departing: Departing| answer(&[departing]) != plain;
    let is_needed =
        |departing: Departing| answer(&all.into_iter().filter(|other| *other != departing).collect::<Vec<_>>()) != got;
    let mut named = ALL.into_iter().filter(|(departing, _)| is_needed(*departing));
    let first_needed = named.clone().next();
    let both = named.find(|(departing, _)| changes_alone(*departing));
    both.or(first_needed).map(|(_, name)| name)
}

/// Python's `str(..)` of a JSON value.
pub fn python_str(value: &Value) -> String {
    match value {
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Python's `int(..)` of a text.
fn python_int(text: &str) -> Option<i128> {
    let text = text.trim_matches(|char: char| char.is_whitespace() || ('\x1c'..='\x1f').contains(&char));
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    let plain = text.replace('_', "");
    is_number.then(|| plain.parse().unwrap_or(if plain.starts_with('-') { i128::MIN } else { i128::MAX }))
}

/// The trimmed parts of a header that are not empty.
fn split(header: &str, ways: &[Departing]) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = header;
    while let Some(char) = rest.chars().next() {
        let part = parts.last_mut().expect("there is always one");
        let opens = char == '"' && part.matches('=').count() == 1 && part.ends_with('=');
        let quoted = if opens && ways.contains(&QuotedStrings) { quoted_length(rest) } else { None };
        let taken = quoted.unwrap_or(char.len_utf8());
        match char {
            ',' => parts.push(String::new()),
            _ => part.push_str(&rest[..taken]),
        }
        rest = &rest[taken..];
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (position, char) in text.char_indices().skip(1) {
        match char {
            '"' if !is_escaped => return Some(position + 1),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

/// Whether a directive of that name is in the header, by any reading.
pub fn has(header: &str, name: &str) -> bool {
    [&[][..], &[QuotedStrings]].iter().any(|ways| {
        split(header, ways).iter().any(|part| {
            let found = part.split('=').next().unwrap_or_default();
            found.trim().eq_ignore_ascii_case(name)
        })
    })
}

fn clamped(number: i128, ways: &[Departing]) -> i128 {
    if ways.contains(&Saturating) { number.clamp(i64::MIN.into(), i64::MAX.into()) } else { number }
}

/// `get_max_age`.
pub fn max_age(header: &str, ways: &[Departing]) -> Option<i128> {
    let parts = split(header, ways);
    let named = |part: &&String| part.split('=').next().unwrap_or_default().to_lowercase() == "max-age";
    match parts.iter().rev().find(named)?.split_once('=') {
        None => Some(1),
        Some((_, value)) => python_int(value).map(|age| clamped(age, ways)),
    }
}

/// `patch_cache_control`: the header, or the name of the exception.
pub fn patched(header: &str, args: &[(String, Value)], ways: &[Departing]) -> Result<String, &'static str> {
    let mut control = Control(Vec::new());
    for part in split(header, ways) {
        match part.split_once('=') {
            Some((name, value)) => control.put(&name.trim().to_lowercase(), Some(value.to_owned())),
            None => control.put(&part.to_lowercase(), None),
        }
    }
    let mut args: Vec<(String, Value)> = args.to_vec();
    for (name, value) in &mut args {
        if ways.contains(&LowerCaseNames) {
            *name = name.to_lowercase();
        }
        if name == "max_age" {
            if ways.contains(&WholeSeconds)
                && let Some(seconds) = value.as_f64().filter(|seconds| value.is_f64() && *seconds >= 0.0)
            {
                *value = Value::from(seconds as u64);
            }
            if let Some(present) = control.get("max-age") {
                *value = smaller(present, value, ways)?;
            }
        }
    }
    let is_given = |name: &str| args.iter().any(|(given, _)| given == name);
    if control.get("private").is_some() && is_given("public") {
        control.0.retain(|(name, _)| name != "private");
    } else if control.get("public").is_some() && is_given("private") {
        control.0.retain(|(name, _)| name != "public");
    }
    for (name, value) in &args {
        let value = (*value != true).then(|| whole_value(&python_str(value), ways));
        control.put(&name.replace('_', "-"), value);
    }
    Ok(control.text(ways))
}

/// `min(int(present), given)` of Python.
fn smaller(present: &Option<String>, given: &Value, ways: &[Departing]) -> Result<Value, &'static str> {
    let number = present.as_ref().map_or(Some(1), |text| python_int(text));
    let Some(number) = number else {
        return if ways.contains(&UnparsableMaxAge) { Ok(given.clone()) } else { Err("ValueError") };
    };
    let wanted = match given {
        Value::Bool(truth) => f64::from(u8::from(*truth)),
        Value::Number(wanted) => wanted.as_f64().ok_or("TypeError")?,
        _ => return Err("TypeError"),
    };
    // A number as text, because JSON has none of this size.
    Ok(if wanted < number as f64 { given.clone() } else { Value::from(clamped(number, ways).to_string()) })
}

fn whole_value(value: &str, ways: &[Departing]) -> String {
    let parts = split(&format!("x={value}"), &[QuotedStrings]);
    if !ways.contains(&WholeValues) || parts == [format!("x={value}")] && value.trim() == value {
        return value.to_owned();
    }
    quoted(value)
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Directives by name, each with one value, or, for `no-cache`, a set of them.
struct Control(Vec<(String, Vec<Option<String>>)>);

impl Control {
    fn get(&self, name: &str) -> Option<&Option<String>> {
        self.0.iter().find(|(found, _)| found == name).and_then(|(_, values)| values.last())
    }

    fn put(&mut self, name: &str, value: Option<String>) {
        match self.0.iter_mut().find(|(found, _)| found == name) {
            None => self.0.push((name.to_owned(), vec![value])),
            Some((_, values)) if name != "no-cache" => *values = vec![value],
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
        }
    }

    fn text(&self, ways: &[Departing]) -> String {
        let mut parts: Vec<(String, String)> = Vec::new();
        for (name, values) in &self.0 {
            if values.contains(&None) {
                parts.push((name.clone(), String::new()));
            } else {
                parts.extend(values.iter().flatten().map(|value| (format!("{name}="), value.clone())));
            }
        }
        let mut quotes_behind = 0;
        for (name, value) in parts.iter_mut().rev() {
            let quotes = name.matches('"').count() + value.matches('"').count();
            let is_open = value.starts_with('"') && quoted_length(value).is_none();
            if ways.contains(&WholeValues) && is_open && quotes_behind > 0 {
                *value = quoted(value);
            }
            quotes_behind += quotes;
        }
        parts.iter().map(|(name, value)| format!("{name}{value}")).collect::<Vec<_>>().join(", ")
    }
}

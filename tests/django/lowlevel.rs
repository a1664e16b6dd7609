//! Runs the sequences of `lowlevel.json` on a memory cache, and on a dummy one where Django's answers for it are known.
//! An answer that is not Django's must be the one that the model of our promises gives.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use larder::backend::{Dummy, Memory};
use larder::cache::{Timeout, Version};
use larder::{Cache, Error, KeyProblem, ManualClock, Timestamp};
use md5::{Digest, Md5};
use serde_json::Value;

use crate::harness::{Case, Departures, Judged, Summary, run};
use crate::key_warnings::KeyWarnings;
use crate::python_value::Python;
use crate::store_model::Model;

/// A setting that Django guesses the meaning of is refused.
const STRICT_SETTINGS: &str = "settings-are-read-strictly";
/// Keys, versions and values that only Python has.
pub const PYTHON_ONLY: &str = "python-only-types";

pub fn lowlevel(departures: &Departures) -> Summary {
    let warnings = KeyWarnings::listen();
    run("lowlevel", departures, |case| judge(case, &warnings))
}

fn judge(case: &Case, warnings: &KeyWarnings) -> Judged {
    let settings: BTreeMap<String, Settings> = case.value["caches"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(alias, raw)| (alias.clone(), Settings::new(alias, raw)))
        .collect();
    let Some(steps) = case.value["ops"].as_array().into_iter().flatten().map(Step::read).collect::<Option<Vec<_>>>()
    else {
        return Judged::OutOfScope(PYTHON_ONLY);
    };
    if let Some(raw) = settings.values().map(|settings| &settings.raw["timeout"]).find(|raw| !is_strict_timeout(raw)) {
        return refused_timeout(raw);
    }

    let locmem = expected(case, None);
    let on_memory = compare(case, &settings, &steps, &locmem, warnings, true);
    let bounded = settings.values().any(|settings| !settings.raw["max_entries"].is_null());
    if bounded || !matches!(on_memory, Judged::Same) {
        return on_memory;
    }
    compare(case, &settings, &steps, &expected(case, Some("dummy")), warnings, false)
}

/// What Django answered, step by step: with locmem, or with the backend that differs from it.
fn expected(case: &Case, backend: Option<&str>) -> Vec<Answer> {
    let answers = case.value.get("expected_6_1").unwrap_or(&case.value["expected"]).as_array();
    let differs = backend.map_or(&Value::Null, |backend| &case.value["differs"][backend]);
    let differing = |index: usize, answer| differs.get(index.to_string()).unwrap_or(answer);
    answers.into_iter().flatten().enumerate().map(|(index, answer)| Answer::read(differing(index, answer))).collect()
}

fn compare(
    case: &Case,
    settings: &BTreeMap<String, Settings>,
    steps: &[Step],
    expected: &[Answer],
    warnings: &KeyWarnings,
    keeps: bool,
) -> Judged {
    let beginning = (case.value["t0"].as_f64().unwrap_or(0.0) * 1e9) as u64;
    let mut ours = Ours::new(settings, keeps, Timestamp::from_nanos(beginning));
    let mut model = Model::new(settings, keeps, beginning);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let backend = if keeps { "memory" } else { "dummy" };
    let mut departed: Option<(String, String, Option<&'static str>)> = None;

    for (index, (step, expected)) in steps.iter().zip(expected).enumerate() {
        if !keeps && step.observes() {
            continue;
        }
        let got = runtime.block_on(ours.answer(step)).warned(warnings.take());
        let promised = model.answer(step, index);
        if got == *expected {
            continue;
        }
        let texts = (format!("step {index} on {backend}: {expected}"), format!("step {index} on {backend}: {got}"));
        if got != promised {
            return Judged::Differs { expected: texts.0, got: format!("{}, promised {promised}", texts.1), ours: None };
        }
        let because = model.notes.last().map(|(_, departure)| *departure);
        departed.get_or_insert((texts.0, texts.1, because));
    }
    match departed {
        None => Judged::Same,
        Some((expected, got, ours)) => Judged::Differs { expected, got, ours },
    }
}

/// A timeout of a cache that our settings have: none, never, or whole seconds.
fn is_strict_timeout(raw: &Value) -> bool {
    match raw {
        Value::Null => true,
        Value::String(text) => text.parse::<i64>().is_ok(),
        raw => raw.is_i64(),
    }
}

/// Settings come as text from `CACHE_URL`: there a timeout that is no whole number is an error that names it.
fn refused_timeout(raw: &Value) -> Judged {
    let text = raw.as_str().map_or_else(|| raw.to_string(), str::to_owned);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let answer = runtime.block_on(Cache::connect(&format!("memory://?timeout={text}")));
    let is_refused =
        matches!(&answer, Err(Error::Config(message)) if message.contains("timeout") && message.contains(&text));
    let got = answer.map_or_else(|error| error.to_string(), |cache| format!("{cache:?}"));
    let expected = "300 seconds, or whole seconds made of what there is".to_owned();
    Judged::Differs { expected, got, ours: is_refused.then_some(STRICT_SETTINGS) }
}

/// One entry of `CACHES`.
pub struct Settings {
    pub raw: Value,
    pub location: String,
}

impl Settings {
    fn new(alias: &str, raw: &Value) -> Self {
        Settings { raw: raw.clone(), location: raw["location"].as_str().unwrap_or(alias).to_owned() }
    }

    pub fn prefix(&self) -> &str {
        self.raw["key_prefix"].as_str().unwrap_or_default()
    }

    fn version(&self) -> String {
        version_text(&self.raw["version"]).unwrap_or_else(|| "1".to_owned())
    }

    /// The default timeout in seconds; `None` is never.
    pub fn timeout(&self) -> Option<f64> {
        match self.raw.get("timeout") {
            None => Some(300.0),
            Some(Value::String(text)) => text.parse().ok(),
            Some(raw) => raw.as_f64(),
        }
    }

    /// What Django makes of `MAX_ENTRIES` (CFG-4); `None` is its default. We have no such setting.
    pub fn max_entries(&self) -> Option<i64> {
        match &self.raw["max_entries"] {
            Value::String(text) => text.trim().parse().ok(),
            raw => raw.as_f64().map(|number| number as i64),
        }
    }

    fn cache(&self, memory: Option<&Memory>) -> Cache {
        let cache = memory.map_or_else(|| Cache::builder(Dummy::default()), |memory| Cache::builder(memory.clone()));
        let cache = cache.key_prefix(self.prefix()).version(self.version());
        let cache = cache.default_timeout(self.timeout().map_or(Timeout::Never, Timeout::from));
        let Some(name) = self.raw["key_function"].as_str().map(str::to_owned) else { return cache.build() };
        cache.key_function(move |key, prefix, version| key_function(&name, key, prefix, version)).build()
    }
}

/// The key functions that the vectors name.
pub fn key_function(name: &str, key: &str, prefix: &str, version: &str) -> String {
    match name {
        "dash" => format!("CUSTOM-{}", [prefix, version, key].join("-")),
        "md5" => hex::encode(Md5::digest(format!("{prefix}|{version}|{key}"))),
        "raw" => key.to_owned(),
        _ => panic!("the vectors know no key function {name:?}"),
    }
}

pub fn version_text(version: &Value) -> Option<String> {
    // serde_json has numbers beyond 64 bits as floats.
    let large = version.as_f64().filter(|number| number.fract() == 0.0 && number.abs() >= 2f64.powi(63));
    let large = || large.map(|number| (number as i128).to_string());
    let number = version.as_i64().map(|number| number.to_string());
    version.as_str().map(str::to_owned).or(number).or_else(large)
}

pub fn final_key(settings: &Settings, key: &str, version: &str) -> String {
    match settings.raw["key_function"].as_str() {
        Some(name) => key_function(name, key, settings.prefix(), version),
        None => format!("{}:{version}:{key}", settings.prefix()),
    }
}

/// What is wrong with a final key, as the rules KEY-7 to KEY-9 have it.
pub fn problems(final_key: &str) -> Vec<KeyProblem> {
    let long = (final_key.chars().count() > 250).then_some(KeyProblem::TooLong);
    let bad = final_key.chars().any(|c| c <= ' ' || c == '\u{7f}').then_some(KeyProblem::BadCharacters);
    long.into_iter().chain(bad).collect()
}

/// One operation.
pub struct Step {
    pub op: Value,
    pub alias: String,
}

impl Step {
    /// `None` if it holds what only Python has: keys that are not text, versions, integers that no type of ours holds.
    fn read(op: &Value) -> Option<Self> {
        let names = [&op["keys"], &op["items"]].into_iter().filter_map(Value::as_array).flatten();
        let mut names = names.map(|name| name.as_array().and_then(|pair| pair.first()).unwrap_or(name));
        let keys_are_text = op.get("key").is_none_or(Value::is_string) && names.all(Value::is_string);
        let versions_are_ours = op["version"].is_null() || version_text(&op["version"]).is_some();
        let items = op["items"].as_array().into_iter().flatten().filter_map(|pair| pair.get(1));
        let mut values = ["value", "callable", "default"].into_iter().filter_map(|name| op.get(name)).chain(items);
        let are_ours = keys_are_text && versions_are_ours && values.all(|value| Python::read(value).is_some());
        let alias = op["alias"].as_str().unwrap_or("default").to_owned();
        are_ours.then(|| Step { op: op.clone(), alias })
    }

    pub fn key(&self) -> &str {
        self.op["key"].as_str().unwrap_or_default()
    }

    pub fn version(&self, settings: &BTreeMap<String, Settings>) -> String {
        version_text(&self.op["version"]).unwrap_or_else(|| settings[&self.alias].version())
    }

    pub fn final_key(&self, settings: &BTreeMap<String, Settings>) -> String {
        final_key(&settings[&self.alias], self.key(), &self.version(settings))
    }

    /// In seconds; `None` is never.
    pub fn timeout(&self, settings: &BTreeMap<String, Settings>) -> Option<f64> {
        self.op.get("timeout").map_or_else(|| settings[&self.alias].timeout(), Value::as_f64)
    }

    pub fn value(&self, name: &str) -> Python {
        Python::read(&self.op[name]).unwrap_or(Python::Null)
    }

    /// Whether `get_or_set` was given a callable or a value.
    pub fn made_by(&self) -> &'static str {
        if self.op.get("callable").is_some() { "callable" } else { "value" }
    }

    /// The keys of `keys`, or the pairs of `items`.
    pub fn pairs(&self) -> Vec<(String, Python)> {
        let text = |key: &Value| key.as_str().unwrap_or_default().to_owned();
        let keys = self.op["keys"].as_array().into_iter().flatten().map(|key| (text(key), Python::Null));
        let items = self.op["items"].as_array().into_iter().flatten();
        keys.chain(items.map(|pair| (text(&pair[0]), Python::read(&pair[1]).unwrap_or(Python::Null)))).collect()
    }

    /// Whether it looks into the store from the side, which Django was only asked to do with locmem.
    fn observes(&self) -> bool {
        matches!(self.op["op"].as_str(), Some("keys" | "size" | "ttl"))
    }
}

/// The answer to one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The result, or the class of Python's exception that stands for our error. Its text is Python's own.
    outcome: Result<Python, &'static str>,
    calls: Option<u64>,
    warnings: Vec<KeyProblem>,
}

impl Answer {
    pub fn result(value: Python) -> Self {
        Answer { outcome: Ok(value), calls: None, warnings: Vec::new() }
    }

    pub fn error(class: &'static str) -> Self {
        Answer { outcome: Err(class), calls: None, warnings: Vec::new() }
    }

    pub fn warned(mut self, warnings: Vec<KeyProblem>) -> Self {
        self.warnings = warnings;
        self
    }

    /// How often the callable ran, where there was one.
    pub fn called(mut self, step: &Step, calls: u64) -> Self {
        self.calls = step.op.get("callable").map(|_| calls);
        self
    }

    fn read(value: &Value) -> Self {
        let outcome = match value["error"].as_str() {
            None => Ok(Python::read(&value["result"]).expect("a result that can be read")),
            Some("ValueError") => Err("ValueError"),
            Some("TypeError") => Err("TypeError"),
            Some(other) => panic!("an exception that no error of ours stands for: {other}"),
        };
        let warnings = value["key_warnings"].as_array().into_iter().flatten().map(|warning| match warning.as_str() {
            Some("too_long") => KeyProblem::TooLong,
            Some("bad_characters") => KeyProblem::BadCharacters,
            other => panic!("an unknown warning: {other:?}"),
        });
        Answer { outcome, calls: value["calls"].as_u64(), warnings: warnings.collect() }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(value) => write!(f, "{value:?}")?,
            Err(class) => f.write_str(class)?,
        }
        if let Some(calls) = self.calls {
            write!(f, ", {calls} calls")?;
        }
        if !self.warnings.is_empty() {
            write!(f, ", warned of {:?}", self.warnings)?;
        }
        Ok(())
    }
}

/// Our caches of one case.
struct Ours {
    caches: BTreeMap<String, (Cache, Option<Memory>)>,
    hands: ManualClock,
}

impl Ours {
    fn new(settings: &BTreeMap<String, Settings>, keeps: bool, beginning: Timestamp) -> Self {
        let hands = ManualClock::at(beginning);
        let mut stores: BTreeMap<&str, Memory> = BTreeMap::new();
        let mut cache = |settings: &'_ Settings, location| {
            let store = || Memory::builder().max_bytes(8 << 20).clock(hands.clock()).build();
            let memory = keeps.then(|| stores.entry(location).or_insert_with(store).clone());
            (settings.cache(memory.as_ref()), memory)
        };
        let caches = settings.iter().map(|(alias, one)| (alias.clone(), cache(one, one.location.as_str()))).collect();
        Ours { caches, hands }
    }

    async fn answer(&mut self, step: &Step) -> Answer {
        let op = &step.op;
        let (cache, memory) = &self.caches[&step.alias];
        let cache = match version_text(&op["version"]) {
            Some(version) => cache.version(Version::from(version)),
            None => cache.clone(),
        };
        let key = step.key();
        let timeout = match op.get("timeout") {
            None => Timeout::Default,
            Some(Value::Null) => Timeout::Never,
            Some(seconds) => seconds.as_i64().map_or_else(|| seconds.as_f64().unwrap_or(0.0).into(), Timeout::from),
        };
        let delta = op.get("delta").map_or(Some(1), Value::as_i64);
        let flag = |answer: Result<bool, Error>| answer.map(Python::Bool);
        let nothing = |answer: Result<(), Error>| answer.map(|()| Python::Null);
        let number = |answer: Result<i64, Error>| answer.map(|number| Python::Int(number.into()));
        let calls = Rc::new(RefCell::new(0));

        let outcome = match op["op"].as_str().unwrap_or_default() {
            "get" => cache.get(key).await.map(|found| found.unwrap_or_else(|| step.value("default"))),
            "set" => nothing(cache.set(key, step.value("value"), timeout).await),
            "add" => flag(cache.add(key, step.value("value"), timeout).await),
            "touch" => flag(cache.touch(key, timeout).await),
            "delete" => flag(cache.delete(key).await),
            "has_key" | "in" => flag(cache.contains(key).await),
            // The type of our argument lets no fraction through.
            "incr" | "decr" if delta.is_none() => Err(Error::NotANumber { key: key.to_owned() }),
            "incr" => number(cache.incr(key, delta.unwrap_or(1)).await),
            "decr" => number(cache.decr(key, delta.unwrap_or(1)).await),
            "incr_version" => number(cache.incr_version(key, delta.unwrap_or(1)).await),
            "decr_version" => number(cache.decr_version(key, delta.unwrap_or(1)).await),
            "get_or_set" => {
                let made = cache.get_or_set(key, timeout, || async {
                    *calls.borrow_mut() += 1;
                    step.value(step.made_by())
                });
                made.await
            }
            "get_many" => {
                let keys: Vec<String> = step.pairs().into_iter().map(|(key, _)| key).collect();
                cache.get_many::<Python>(&keys).await.map(|mut found| {
                    Python::Map(keys.iter().filter_map(|key| Some((Python::text(key), found.remove(key)?))).collect())
                })
            }
            "set_many" => {
                let failed = cache.set_many(step.pairs(), timeout).await;
                failed.map(|failed| Python::List(failed.into_iter().map(Python::Str).collect()))
            }
            "delete_many" => nothing(cache.delete_many(step.pairs().into_iter().map(|(key, _)| key)).await),
            "clear" => nothing(cache.clear().await),
            "close" => nothing(cache.close().await),
            "advance" => {
                self.hands.advance(Duration::from_secs_f64(op["seconds"].as_f64().unwrap_or(0.0)));
                Ok(Python::Null)
            }
            observer => Ok(observe(observer, memory.as_ref(), &cache, key)),
        };
        let answer = match outcome {
            Ok(value) => Answer::result(value),
            Err(Error::Missing { key: named }) if named == key => Answer::error("ValueError"),
            Err(Error::NotANumber { key: named }) if named == key => Answer::error("TypeError"),
            Err(Error::Overflow { key: named }) if named == key => Answer::error("OverflowError"),
            // A version that is text cannot be counted.
            Err(Error::Config(_)) => Answer::error("TypeError"),
            Err(other) => panic!("{op}: {other}"),
        };
        let calls = *calls.borrow();
        if op["op"] == "get_or_set" { answer.called(step, calls) } else { answer }
    }
}

fn observe(observer: &str, memory: Option<&Memory>, cache: &Cache, key: &str) -> Python {
    let memory = memory.expect("only a memory store is looked into");
    let mut live = memory.dump();
    live.sort();
    match observer {
        "keys" => Python::List(live.into_iter().map(|(key, _)| Python::Str(key)).collect()),
        "size" => Python::Int(memory.entries().into()),
        "ttl" => match live.into_iter().find(|(final_key, _)| *final_key == cache.make_key(key)) {
            None => Python::text("absent"),
            Some((_, Timestamp::NEVER)) => Python::Null,
            Some((_, expires_at)) => Python::Float(expires_at.since(cache.clock().now()).as_secs_f64()),
        },
        other => panic!("an unknown operation: {other}"),
    }
}

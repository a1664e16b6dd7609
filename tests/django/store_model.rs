//! What our cache promises to answer, as a plain model: a map, a clock, and a note wherever Django would do otherwise.
//! The low-level runner holds our real answers against it where they are not Django's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::lowlevel::{Answer, Settings, Step, final_key, problems};
use crate::python_value::Python;

pub const BOUNDED_BY_BYTES: &str = "bounded-by-bytes";
pub const DEAD_ARE_ABSENT: &str = "dead-entries-are-absent";
pub const SIXTY_FOUR_BITS: &str = "counters-have-64-bits";
pub const ONLY_INTEGERS: &str = "only-integers-count";
pub const CLEAR_KEEPS_TO_PREFIX: &str = "clear-keeps-to-its-prefix";
pub const WARNED_ONCE: &str = "one-warning-a-key";

/// Django's `MAX_ENTRIES` where it is not set.
const MAX_ENTRIES: i64 = 300;

struct Entry {
    value: Python,
    /// In nanoseconds; `None` is never.
    expires_at: Option<u64>,
}

#[derive(Default)]
struct Store {
    entries: BTreeMap<String, Entry>,
    /// Dead entries that Django still has and we have not.
    ghosts: BTreeSet<String>,
}

pub struct Model<'a> {
    settings: &'a BTreeMap<String, Settings>,
    keeps: bool,
    stores: BTreeMap<String, Store>,
    now: u64,
    step: usize,
    /// Where Django answers, or later will answer, otherwise: the step, and the name of the departure.
    pub notes: Vec<(usize, &'static str)>,
}

impl<'a> Model<'a> {
    pub fn new(settings: &'a BTreeMap<String, Settings>, keeps: bool, now: u64) -> Self {
        Model { settings, keeps, stores: BTreeMap::new(), now, step: 0, notes: Vec::new() }
    }

    fn note(&mut self, departure: &'static str) {
        self.notes.push((self.step, departure));
    }

    fn store(&mut self, step: &Step) -> &mut Store {
        self.stores.entry(self.settings[&step.alias].location.clone()).or_default()
    }

    /// A read: a dead entry that it meets is gone.
    fn read(&mut self, step: &Step, key: &str) -> Option<Python> {
        let now = self.now;
        let store = self.store(step);
        store.ghosts.remove(key);
        match store.entries.get(key)?.expires_at {
            Some(expires_at) if expires_at <= now => {
                store.entries.remove(key);
                None
            }
            _ => store.entries.get(key).map(|entry| entry.value.clone()),
        }
    }

    fn is_live(&mut self, step: &Step, key: &str) -> bool {
        let now = self.now;
        self.store(step).entries.get(key).is_some_and(|entry| entry.expires_at.is_none_or(|at| at > now))
    }

    fn write(&mut self, step: &Step, key: &str, value: Python, timeout: Option<f64>) {
        if !self.keeps {
            return;
        }
        let most = self.settings[&step.alias].max_entries().unwrap_or(MAX_ENTRIES);
        let store = self.store(step);
        if store.entries.len() + store.ghosts.len() >= usize::try_from(most).unwrap_or(0) {
            self.note(BOUNDED_BY_BYTES);
        }
        match self.expiry(timeout) {
            Some(at) if at == self.now => self.bury(step, key),
            expires_at => {
                let store = self.store(step);
                store.ghosts.remove(key);
                store.entries.insert(key.to_owned(), Entry { value, expires_at });
            }
        }
    }

    /// Django keeps a dead entry where we keep none.
    fn bury(&mut self, step: &Step, key: &str) {
        let store = self.store(step);
        store.entries.remove(key);
        store.ghosts.insert(key.to_owned());
    }

    fn expiry(&self, timeout: Option<f64>) -> Option<u64> {
        timeout.map(|seconds| self.now + (seconds.max(0.0) * 1e9).round() as u64)
    }

    fn remove(&mut self, step: &Step, key: &str) -> bool {
        let live = self.is_live(step, key);
        let store = self.store(step);
        if store.entries.remove(key).is_some() && !live || store.ghosts.remove(key) {
            self.note(DEAD_ARE_ABSENT);
        }
        live
    }

    fn count(&mut self, step: &Step, key: &str, delta: &Value, sign: i128) -> Answer {
        let Some(value) = self.read(step, key) else { return Answer::error("ValueError") };
        let delta = match delta {
            Value::Null => Some(1),
            delta => delta.as_i64(),
        };
        let Some(delta) = delta else {
            self.note(ONLY_INTEGERS);
            return Answer::error("TypeError");
        };
        match value {
            Python::Int(number) => {
                let sum = number + sign * i128::from(delta);
                if [number, sign * i128::from(delta), sum].iter().any(|number| i64::try_from(*number).is_err()) {
                    self.note(SIXTY_FOUR_BITS);
                    return Answer::error("OverflowError");
                }
                if let Some(entry) = self.store(step).entries.get_mut(key) {
                    entry.value = Python::Int(sum);
                }
                Answer::result(Python::Int(sum))
            }
            Python::Bool(_) | Python::Float(_) => {
                self.note(ONLY_INTEGERS);
                Answer::error("TypeError")
            }
            _ => Answer::error("TypeError"),
        }
    }

    fn move_version(&mut self, step: &Step, key: &str, sign: i64) -> Answer {
        let mut warnings = problems(key);
        let Some(value) = self.read(step, key) else { return Answer::error("ValueError").warned(warnings) };
        let Ok(version) = step.version(self.settings).parse::<i64>() else {
            return Answer::error("TypeError").warned(warnings);
        };
        let version = version + sign * step.op["delta"].as_i64().unwrap_or(1);
        let new = final_key(&self.settings[&step.alias], step.key(), &version.to_string());
        if !warnings.is_empty() {
            // Django warns of the old key for the read and once more for the removal.
            self.note(WARNED_ONCE);
        }
        warnings.extend(problems(&new));
        self.write(step, &new, value, self.settings[&step.alias].timeout());
        self.remove(step, key);
        Answer::result(Python::Int(version.into())).warned(warnings)
    }

    fn clear(&mut self, step: &Step) {
        let settings = &self.settings[&step.alias];
        let own = format!("{}:", settings.prefix());
        let everything = settings.prefix().is_empty() || settings.raw["key_function"].is_string();
        let store = self.store(step);
        store.ghosts.clear();
        store.entries.retain(|key, _| !everything && !key.starts_with(&own));
        if !store.entries.is_empty() {
            self.note(CLEAR_KEEPS_TO_PREFIX);
        }
    }

    /// What we promise to answer to the next step.
    pub fn answer(&mut self, step: &Step, index: usize) -> Answer {
        self.step = index;
        let operation = step.op["op"].as_str().unwrap_or_default();
        if let "get_many" | "set_many" | "delete_many" = operation {
            return self.answer_many(step, operation);
        }
        let key = &step.final_key(self.settings);
        let timeout = step.timeout(self.settings);
        let warnings = if step.op["key"].is_string() { problems(key) } else { Vec::new() };
        let answer = match operation {
            "get" => Answer::result(self.read(step, key).unwrap_or_else(|| step.value("default"))),
            "has_key" | "in" => Answer::result(Python::Bool(self.read(step, key).is_some())),
            "set" => {
                self.write(step, key, step.value("value"), timeout);
                Answer::result(Python::Null)
            }
            "add" => {
                let live = self.is_live(step, key);
                if !live {
                    self.write(step, key, step.value("value"), timeout);
                }
                Answer::result(Python::Bool(!live))
            }
            "touch" => {
                let live = self.is_live(step, key);
                let expires_at = self.expiry(timeout);
                if expires_at == Some(self.now) && self.store(step).entries.contains_key(key) {
                    self.bury(step, key);
                } else if live && let Some(entry) = self.store(step).entries.get_mut(key) {
                    entry.expires_at = expires_at;
                }
                Answer::result(Python::Bool(live))
            }
            "delete" => Answer::result(Python::Bool(self.remove(step, key))),
            "incr" => self.count(step, key, &step.op["delta"], 1),
            "decr" => self.count(step, key, &step.op["delta"], -1),
            "incr_version" => return self.move_version(step, key, 1),
            "decr_version" => return self.move_version(step, key, -1),
            "get_or_set" => match self.read(step, key) {
                Some(value) => Answer::result(value).called(step, 0),
                None => {
                    let value = step.value(step.made_by());
                    self.write(step, key, value.clone(), timeout);
                    // Django reads it again, and so finds what it has just stored dead.
                    self.store(step).ghosts.remove(key);
                    if !warnings.is_empty() {
                        self.note(WARNED_ONCE);
                    }
                    Answer::result(value).called(step, 1)
                }
            },
            "clear" => {
                self.clear(step);
                Answer::result(Python::Null)
            }
            "advance" => {
                self.now += (step.op["seconds"].as_f64().unwrap_or(0.0) * 1e9).round() as u64;
                Answer::result(Python::Null)
            }
            "keys" => {
                let now = self.now;
                let store = self.store(step);
                let live = store.entries.iter().filter(|(_, entry)| entry.expires_at.is_none_or(|at| at > now));
                return Answer::result(Python::List(live.map(|(key, _)| Python::text(key)).collect()));
            }
            "size" => {
                let size = self.store(step).entries.len();
                if !self.store(step).ghosts.is_empty() {
                    self.note(DEAD_ARE_ABSENT);
                }
                return Answer::result(Python::Int(size as i128));
            }
            "ttl" => {
                let (live, now) = (self.is_live(step, key), self.now);
                let remaining = match self.store(step).entries.get(key).map(|entry| entry.expires_at) {
                    Some(Some(at)) if live => Python::Float((at - now) as f64 / 1e9),
                    Some(None) => Python::Null,
                    _ => Python::text("absent"),
                };
                return Answer::result(remaining);
            }
            _ => Answer::result(Python::Null),
        };
        answer.warned(warnings)
    }

    fn answer_many(&mut self, step: &Step, operation: &str) -> Answer {
        let mut seen = BTreeSet::new();
        let mut warnings = Vec::new();
        let mut found = Vec::new();
        for (name, value) in step.pairs() {
            let key = final_key(&self.settings[&step.alias], &name, &step.version(self.settings));
            if !seen.insert(name.clone()) {
                if !problems(&key).is_empty() {
                    self.note(WARNED_ONCE);
                }
                continue;
            }
            warnings.extend(problems(&key));
            match operation {
                "get_many" => found.extend(self.read(step, &key).map(|value| (Python::Str(name), value))),
                "set_many" => self.write(step, &key, value, step.timeout(self.settings)),
                _ => drop(self.remove(step, &key)),
            }
        }
        let result = match operation {
            "get_many" => Python::Map(found),
            "set_many" => Python::List(Vec::new()),
            _ => Python::Null,
        };
        Answer::result(result).warned(warnings)
    }
}

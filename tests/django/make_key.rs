//! Runs `make_key.json`: the final key, what is wrong with it, and what backends of both kinds make of it.
//! Texts are not compared: Django quotes a key as Python writes it, we quote it as Rust does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::backend::{Backend, KeyRule, Reply, Stored};
use larder::cache::{LONGEST_KEY, Version, key_problems};
use larder::{Cache, Error, KeyProblem};
use serde_json::{Value, json};

use crate::harness::{Case, Departures, Judged, Summary, run};
use crate::key_warnings::KeyWarnings;
use crate::lowlevel::{PYTHON_ONLY, key_function, version_text};

pub fn make_key(departures: &Departures) -> Summary {
    let warnings = KeyWarnings::listen();
    run("make_key", departures, |case| judge(case, &warnings))
}

fn judge(case: &Case, warnings: &KeyWarnings) -> Judged {
    let value = &case.value;
    let (version, own_version) = (version_text(&value["version"]), version_text(&value["cache_version"]));
    let is_ours = |version: &Value| version.is_null() || version_text(version).is_some();
    let Some(key) = value["key"].as_str() else { return Judged::OutOfScope(PYTHON_ONLY) };
    if !is_ours(&value["version"]) || !is_ours(&value["cache_version"]) {
        return Judged::OutOfScope(PYTHON_ONLY);
    }
    let expected = value.get("expected_6_1").unwrap_or(&value["expected"]);

    let cache = |rule| {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let backend = Listening { rule, seen: Arc::clone(&seen) };
        let mut cache = Cache::builder(backend).key_prefix(value["key_prefix"].as_str().unwrap_or_default());
        if let Some(version) = &own_version {
            cache = cache.version(Version::from(version.as_str()));
        }
        if let Some(name) = value["key_function"].as_str().map(str::to_owned) {
            cache = cache.key_function(move |key, prefix, version| key_function(&name, key, prefix, version));
        }
        let cache = cache.build();
        (version.as_deref().map_or_else(|| cache.clone(), |version| cache.version(version)), seen)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (any, seen_by_any) = cache(KeyRule::Warn);
    let (strict, seen_by_strict) = cache(KeyRule::Refuse);

    let final_key = any.make_key(key);
    let found = runtime.block_on(any.get::<String>(key));
    let warned = warnings.take();
    let answer = runtime.block_on(strict.get::<String>(key));
    let (seen_by_any, seen_by_strict) = (taken(&seen_by_any), taken(&seen_by_strict));
    let refused = refusal(&answer, &final_key);

    // A key that is taken reaches the backend as it is; one that is refused does not reach it at all.
    let reached = found.is_ok()
        && seen_by_any == [final_key.as_str()]
        && seen_by_strict.iter().eq(refused.is_none().then_some(&final_key))
        && warnings.take().is_empty();
    let problems = key_problems(&final_key);
    let got = json!({
        "final_key": final_key,
        "length_chars": final_key.chars().count(),
        "problems": names(&problems),
        "warned": names(&warned),
        "refused": refused.map(|problem| names(&[problem])),
        "reached": reached,
    });
    let wanted = json!({
        "final_key": expected["final_key"],
        "length_chars": expected["length_chars"],
        "problems": expected["problems"],
        "warned": expected["problems"],
        "refused": (!expected["memcached_error"].is_null()).then(|| [&expected["problems"][0]]),
        "reached": true,
    });
    if got == wanted && expected["warnings"].as_array().map(Vec::len) == Some(warned.len()) {
        return Judged::Same;
    }
    Judged::Differs { expected: wanted.to_string(), got: got.to_string(), ours: None }
}

/// The problem that a strict backend's cache refused the key with, its message quoting the key and the limit (KEY-11).
fn refusal(answer: &Result<Option<String>, Error>, final_key: &str) -> Option<KeyProblem> {
    let Err(error @ Error::Key { key, problem }) = answer else { return None };
    let message = error.to_string();
    assert_eq!(key, final_key);
    assert!(message.contains(&format!("{final_key:?}")), "{message}");
    assert_eq!(message.contains(&LONGEST_KEY.to_string()), *problem == KeyProblem::TooLong, "{message}");
    Some(*problem)
}

fn names(problems: &[KeyProblem]) -> Vec<&'static str> {
    let name = |problem: &KeyProblem| if *problem == KeyProblem::TooLong { "too_long" } else { "bad_characters" };
    problems.iter().map(name).collect()
}

fn taken(seen: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut seen.lock().expect("nothing panics with it"))
}

/// A backend that writes down which keys it was asked for.
struct Listening {
    rule: KeyRule,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Backend for Listening {
    fn name(&self) -> &'static str {
        "listening"
    }

    fn key_rule(&self) -> KeyRule {
        self.rule
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.seen.lock().expect("nothing panics with it").push(key.to_owned());
        Reply::ready(Ok(None))
    }

    fn set<'a>(&'a self, _: &'a str, _: Stored, _: Option<Duration>) -> Reply<'a, ()> {
        unreachable!("only get is called")
    }

    fn add<'a>(&'a self, _: &'a str, _: Stored, _: Option<Duration>) -> Reply<'a, bool> {
        unreachable!("only get is called")
    }

    fn touch<'a>(&'a self, _: &'a str, _: Option<Duration>) -> Reply<'a, bool> {
        unreachable!("only get is called")
    }

    fn delete<'a>(&'a self, _: &'a str) -> Reply<'a, bool> {
        unreachable!("only get is called")
    }

    fn incr<'a>(&'a self, _: &'a str, _: i64) -> Reply<'a, Option<i64>> {
        unreachable!("only get is called")
    }

    fn clear<'a>(&'a self, _: &'a str) -> Reply<'a, ()> {
        unreachable!("only get is called")
    }
}

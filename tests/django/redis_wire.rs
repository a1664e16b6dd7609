//! `redis_wire.json`: what Django's `RedisCache` left in a real server after each call, against what larder leaves in one
//! after the same calls. It needs the feature `redis`, and a redis-server.

const FILE: &str = "redis_wire";

#[cfg(not(feature = "redis"))]
pub fn redis_wire(departures: &crate::harness::Departures) -> crate::harness::Summary {
    crate::harness::pass_over(FILE, FILE, |_| true, departures)
}

#[cfg(feature = "redis")]
pub use with_redis::redis_wire;

#[cfg(feature = "redis")]
mod with_redis {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use larder::backend::{Patience, Redis};
    use larder::cache::Version;
    use larder::{Cache, Error, Timeout};
    use serde_json::Value;

    use super::FILE;
    use crate::harness::{Case, Departures, Judged, Summary, run};
    use crate::python_value::Python;
    use crate::real;

    const NO_PICKLES: &str = "redis-values-are-no-pickles";
    const EXACT: &str = "redis-lifetimes-are-kept-to-the-millisecond";
    const ODD_KEYS: &str = "redis-refuses-odd-keys";
    const TOUCH: &str = "redis-touch-says-what-is-there";

    const REFUSED: &str = "the key is refused";

    /// What Python reads as `None`.
    const NONE: &[u8] = b"\x80\x04N.";

    pub fn redis_wire(departures: &Departures) -> Summary {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let server = real::Redis::start();
        run(FILE, departures, |case| runtime.block_on(judge(case, &server)))
    }

    /// Where a case departs from Django, on purpose.
    #[derive(Default)]
    struct Seen {
        no_pickles: bool,
        exact: bool,
        touch: bool,
    }

    async fn judge(case: &Case, server: &real::Redis) -> Judged {
        let mut raw = redis::Client::open(server.url()).and_then(|client| client.get_connection()).expect("it runs");
        redis::cmd("FLUSHALL").exec(&mut raw).expect("it is emptied");
        let params = &case.value["params"];
        let (default_timeout, version) =
            (params.get("TIMEOUT").map_or(Some(300.0), Value::as_f64), params["VERSION"].as_i64().unwrap_or(1));
        let long = Duration::from_secs(60);
        let cache = Cache::builder(Redis::open(&server.url()).expect("a URL"))
            .patience(Patience::default().connect(long).get(long).set(long))
            .key_prefix(params["KEY_PREFIX"].as_str().unwrap_or_default())
            .version(Version::from(version))
            .default_timeout(timeout_of(default_timeout))
            .build();
        let (mut seen, begun) = (Seen::default(), Instant::now());

        for step in case.value["steps"].as_array().into_iter().flatten() {
            let op = step["op"].as_str().unwrap_or_default();
            let call = Call { op, step, default_timeout };
            let ours = call.ask(&cache).await;
            if ours == Err(REFUSED) {
                return case.differs("the key is refused", Some(ODD_KEYS));
            }
            let djangos = match step["error"].as_str() {
                Some(class) => Err(class),
                None => Ok(Python::read(&step["result"]).expect("a value")),
            };
            match (&ours, &djangos) {
                _ if ours == djangos => {}
                // Django answers that it did it.
                (Ok(Python::Null), Ok(Python::Bool(true))) if op == "clear" => {}
                // PERSIST tells no more than whether there was a lifetime to take (RED-4).
                (Ok(Python::Bool(true)), Ok(Python::Bool(false))) if op == "touch" && call.timeout(1).is_none() => {
                    seen.touch = true;
                }
                // What Django cut to nothing lives on for a moment.
                (Ok(_), Ok(_)) if call.is_cut_to_nothing() => seen.exact = true,
                _ => return case.differs(&format!("{op}: {ours:?}, not {djangos:?}"), None),
            }
            let lies_there = stored(&mut raw);
            if let Err(broken) = compare(&step["stored"], &lies_there, &call, begun, &mut seen) {
                return case.differs(&format!("after {op}: {broken}"), None);
            }
        }
        match seen {
            Seen { touch: true, .. } => case.differs("true", Some(TOUCH)),
            Seen { exact: true, .. } => case.differs("the whole lifetime", Some(EXACT)),
            Seen { no_pickles: true, .. } => case.differs("the same, in other bytes", Some(NO_PICKLES)),
            _ => Judged::Same,
        }
    }

    /// Values and lifetimes by key; what never ends has none.
    type Stored = BTreeMap<Vec<u8>, (Vec<u8>, Option<Duration>)>;

    fn stored(raw: &mut redis::Connection) -> Stored {
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(raw).expect("keys");
        let mut stored = Stored::new();
        for key in keys {
            let value: Option<Vec<u8>> = redis::cmd("GET").arg(&key).query(raw).expect("a value");
            let left: i64 = redis::cmd("PTTL").arg(&key).query(raw).expect("a lifetime");
            if let (Some(value), -1 | 0..) = (value, left) {
                stored.insert(key, (value, u64::try_from(left).ok().map(Duration::from_millis)));
            }
        }
        stored
    }

    /// The same keys, integers and lifetimes; and where Django has a pickle, something that Django reads as `None`.
    fn compare(djangos: &Value, ours: &Stored, call: &Call<'_>, begun: Instant, seen: &mut Seen) -> Result<(), String> {
        let djangos: Vec<&Value> = djangos.as_array().into_iter().flatten().collect();
        let mut unexpected = ours.clone();
        for entry in djangos {
            let key = bytes(&entry["key"]);
            let shown = String::from_utf8_lossy(&key).into_owned();
            let end = entry["ttl"].as_f64();
            let Some((value, left)) = unexpected.remove(&key) else {
                // A second is soon over on a busy machine.
                if end.is_some_and(|end| begun.elapsed().as_secs_f64() >= end) {
                    continue;
                }
                return Err(format!("{shown} is not there"));
            };
            match &entry["value"] {
                Value::String(integer) if integer.as_bytes() == value => {}
                Value::String(integer) => return Err(format!("{shown} is {value:?}, not {integer}")),
                _ if value.starts_with(NONE) => seen.no_pickles = true,
                _ => return Err(format!("{shown} is {value:?}, which Django cannot read")),
            }
            let asked = call.timeout_of_kwargs().filter(|asked| asked.fract() != 0.0);
            if asked.is_some() {
                seen.exact = true;
            }
            let (most, least) = match (asked.or(end), left) {
                (None, None) => continue,
                (Some(end), Some(_)) => (end, end - begun.elapsed().as_secs_f64() - 0.01),
                (end, left) => return Err(format!("{shown} has {left:?} left, not {end:?}")),
            };
            let left = left.unwrap_or_default().as_secs_f64();
            if left > most || left < least {
                return Err(format!("{shown} has {left} seconds left, not {least} to {most}"));
            }
        }
        if call.is_cut_to_nothing() && !unexpected.is_empty() {
            seen.exact = true;
            unexpected.retain(|_, (_, left)| left.is_none_or(|left| left > Duration::from_secs(1)));
        }
        match unexpected.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("{} should not be there", String::from_utf8_lossy(key))),
        }
    }

    fn bytes(value: &Value) -> Vec<u8> {
        match Python::read(value) {
            Some(Python::Bytes(bytes)) => bytes,
            Some(Python::Str(text)) => text.into_bytes(),
            other => panic!("neither text nor bytes: {other:?}"),
        }
    }

    /// A call of Django's cache.
    struct Call<'a> {
        op: &'a str,
        step: &'a Value,
        default_timeout: Option<f64>,
    }

    impl Call<'_> {
        fn value(&self, position: usize) -> Python {
            self.step["args"].get(position).map_or(Python::Null, |value| Python::read(value).expect("a value"))
        }

        fn number(&self, position: usize) -> i64 {
            self.step["args"][position].as_i64().unwrap_or(1)
        }

        fn timeout_of_kwargs(&self) -> Option<f64> {
            self.step["kwargs"]["timeout"].as_f64()
        }

        /// Less than a second, of which Django makes nothing (RED-2).
        fn is_cut_to_nothing(&self) -> bool {
            self.timeout_of_kwargs().is_some_and(|asked| 0.0 < asked && asked < 1.0)
        }

        /// In seconds; `None` is never.
        fn timeout(&self, position: usize) -> Option<f64> {
            let given = self.step["kwargs"].get("timeout").or_else(|| self.step["args"].get(position));
            given.map_or(self.default_timeout, Value::as_f64)
        }

        async fn ask(&self, cache: &Cache) -> Result<Python, &'static str> {
            let version = self.step["kwargs"]["version"].as_i64();
            let cache = version.map_or_else(|| cache.clone(), |version| cache.version(Version::from(version)));
            let key = self.step["args"][0].as_str().unwrap_or_default();
            let time = |position| timeout_of(self.timeout(position));
            let number = |answer: Result<i64, Error>| answer.map(|number| Python::Int(number.into()));
            let answer = match self.op {
                "get" => cache.get(key).await.map(|found| found.unwrap_or(Python::Null)),
                "set" => cache.set(key, self.value(1), time(2)).await.map(|()| Python::Null),
                "add" => cache.add(key, self.value(1), time(2)).await.map(Python::Bool),
                "touch" => cache.touch(key, time(1)).await.map(Python::Bool),
                "delete" => cache.delete(key).await.map(Python::Bool),
                "has_key" => cache.contains(key).await.map(Python::Bool),
                "incr" => number(cache.incr(key, self.number(1)).await),
                "decr" => number(cache.decr(key, self.number(1)).await),
                "get_or_set" => cache.get_or_set(key, time(2), async || self.value(1)).await,
                "set_many" => {
                    let Python::Map(pairs) = self.value(0) else { panic!("set_many takes a map") };
                    let pairs = pairs.into_iter().map(|(key, value)| match key {
                        Python::Str(key) => (key, value),
                        other => panic!("no key: {other:?}"),
                    });
                    let refused = cache.set_many(pairs, time(1)).await;
                    refused.map(|keys| Python::List(keys.iter().map(|key| Python::text(key)).collect()))
                }
                "get_many" => {
                    let keys = self.step["args"][0].as_array().into_iter().flatten();
                    let keys: Vec<String> = keys.map(|key| key.as_str().unwrap_or_default().to_owned()).collect();
                    cache.get_many::<Python>(keys.clone()).await.map(|mut found| {
                        let found = keys.iter().filter_map(|key| Some((Python::text(key), found.remove(key)?)));
                        Python::Map(found.collect())
                    })
                }
                "clear" => cache.clear().await.map(|()| Python::Null),
                "close" => cache.close().await.map(|()| Python::Null),
                unknown => panic!("an unknown operation: {unknown}"),
            };
            answer.map_err(|error| match error {
                Error::NotANumber { .. } | Error::Overflow { .. } => "ResponseError",
                Error::Missing { .. } => "ValueError",
                Error::Key { .. } => REFUSED,
                other => panic!("{}: {other}", self.op),
            })
        }
    }

    fn timeout_of(seconds: Option<f64>) -> Timeout {
        match seconds {
            None => Timeout::Never,
            Some(seconds) if seconds <= 0.0 => Timeout::from(0),
            Some(seconds) => Timeout::from(Duration::from_millis((seconds * 1e3).round() as u64)),
        }
    }
}

//! `memcached_wire.json`: what Django's two memcached caches answered, sent and left on a server, against what larder does
//! with the same calls on a real memcached behind a recording proxy. It needs the feature `memcached`.

const FILE: &str = "memcached_wire";

#[cfg(not(feature = "memcached"))]
pub fn memcached_wire(departures: &crate::harness::Departures) -> crate::harness::Summary {
    crate::harness::pass_over(FILE, FILE, |_| true, departures)
}

#[cfg(feature = "memcached")]
pub use with_memcached::memcached_wire;

#[cfg(feature = "memcached")]
mod with_memcached {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use larder::memcached::{Client, Distribution};
    use larder::{Cache, Error, Timeout};
    use serde_json::Value;

    use super::FILE;
    use crate::harness::{Case, Departures, Judged, Summary, run};
    use crate::python_value::Python;
    use crate::real;

    /// The clock of Django's machine, which stood still.
    const NOW: i64 = 1_893_456_000;
    const THIRTY_DAYS: i64 = 2_592_000;
    /// Our clock goes on, on a machine that may be busy.
    const LATE: i64 = 120;

    /// Integers of pylibmc have other flags than those of the default client; both read both.
    const ONE_FLAG: &str = "memcached-integers-have-one-flag";
    const BOOLS: &str = "memcached-keeps-a-bool";
    const OVERFLOW: &str = "counters-have-64-bits";
    const REMOVES: &str = "memcached-touch-in-the-past-removes";
    const PICKLES: &str = "memcached-pickles";

    pub fn memcached_wire(departures: &Departures) -> Summary {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        // The first case of a kind that needs it starts the server: another folder need not have the file.
        let mut server = None;
        run(FILE, departures, |case| match case.value["kind"].as_str() {
            Some("distribution") => placed(case),
            _ => {
                let server = server.get_or_insert_with(real::Memcached::start);
                runtime.block_on(judge(case, server))
            }
        })
    }

    /// Which of the servers each key went to.
    fn placed(case: &Case) -> Judged {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let servers: Vec<String> = match &case.value["location"] {
            Value::Array(servers) => servers.iter().map(text).collect(),
            one => text(one).split([',', ';']).map(str::to_owned).collect(),
        };
        let distribution = match case.value["client"].as_str() {
            Some("pylibmc") => Distribution::Modula,
            _ => Distribution::Rendezvous,
        };
        let client = Client::builder().servers(servers.clone()).distribution(distribution).build().expect("a client");
        let mut wrong = String::new();
        for placed in case.expected().as_array().into_iter().flatten() {
            let key = text(&placed["final_key"]);
            let expected = placed["server"].as_u64().and_then(|server| servers.get(server as usize));
            let got = client.server_of(&key).expect("a good key").name();
            if expected.is_none_or(|expected| expected != got) {
                let _ = write!(wrong, "{key} on {got}; ");
            }
        }
        if wrong.is_empty() { Judged::Same } else { case.differs(&wrong, None) }
    }

    /// What a call gave.
    #[derive(Clone, Debug, PartialEq)]
    enum Answer {
        Value(Python),
        BadKey,
        Missing,
        NotCounted,
        Overflow,
        TooLarge,
        /// What the client of Python refused by itself.
        OfClient,
    }

    impl Answer {
        fn of_django(step: &Value) -> Answer {
            match step["error"].as_str() {
                None => Answer::Value(python(&step["result"])),
                Some("InvalidCacheKey") => Answer::BadKey,
                Some("ValueError") => Answer::Missing,
                Some("MemcacheClientError" | "ClientError") => Answer::NotCounted,
                Some("MemcacheServerError" | "TooBig") => Answer::TooLarge,
                Some(_) => Answer::OfClient,
            }
        }

        fn of_error(error: &Error) -> Answer {
            match error {
                Error::Key { .. } => Answer::BadKey,
                Error::Missing { .. } => Answer::Missing,
                Error::NotANumber { .. } => Answer::NotCounted,
                Error::Backend { .. } if error.to_string().contains("below zero") => Answer::NotCounted,
                Error::Overflow { .. } => Answer::Overflow,
                Error::TooLarge { .. } => Answer::TooLarge,
                other => panic!("{other}"),
            }
        }
    }

    fn python(value: &Value) -> Python {
        if let Some(length) = value["$strlen"].as_u64() {
            return Python::Str(value["char"].as_str().unwrap_or("a").repeat(length as usize));
        }
        Python::read(value).unwrap_or_else(|| panic!("no value of ours: {value}"))
    }

    /// How long an item was to live, as the server was told.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Lifetime {
        Never,
        Gone,
        Seconds(i64),
    }

    impl Lifetime {
        fn sent(exptime: i64, now: i64) -> Lifetime {
            match exptime {
                0 => Lifetime::Never,
                // pylibmc sends what is below zero as a number without a sign.
                _ if exptime < 0 || exptime > i64::from(i32::MAX) => Lifetime::Gone,
                _ if exptime > THIRTY_DAYS => Lifetime::Seconds(exptime - now),
                _ => Lifetime::Seconds(exptime),
            }
        }

        fn is_like(self, ours: Option<Lifetime>) -> bool {
            match (self, ours) {
                // What is to be gone at once we delete, or do not store at all.
                (Lifetime::Gone, ours) => ours.is_none_or(|ours| ours == Lifetime::Gone),
                (Lifetime::Seconds(django), Some(Lifetime::Seconds(ours))) => {
                    let late = if django > THIRTY_DAYS { LATE } else { 0 };
                    (django - late..=django + late).contains(&ours)
                }
                (django, ours) => Some(django) == ours,
            }
        }
    }

    /// The lifetimes in what a client sent, by key. Django's clients speak the classic protocol.
    fn lifetimes_of_django(wire: &[u8]) -> BTreeMap<String, Lifetime> {
        let mut lifetimes = BTreeMap::new();
        for line in String::from_utf8_lossy(wire).split("\r\n") {
            let words: Vec<&str> = line.split(' ').collect();
            let exptime = match words[..] {
                ["set" | "add", _, _, exptime, _] | ["touch", _, exptime] => exptime,
                _ => continue,
            };
            if let Ok(exptime) = exptime.parse() {
                lifetimes.insert(words[1].to_owned(), Lifetime::sent(exptime, NOW));
            }
        }
        lifetimes
    }

    /// The same of what ours sent, which speaks the meta protocol: `T` stands before an exptime, nothing is never.
    fn lifetimes_of_ours(wire: &[u8]) -> BTreeMap<String, Lifetime> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as i64;
        let mut lifetimes = BTreeMap::new();
        for line in String::from_utf8_lossy(wire).split("\r\n") {
            let mut words = line.split(' ');
            let (Some(command), Some(key)) = (words.next(), words.next()) else { continue };
            let exptime = words.find_map(|word| word.strip_prefix('T')?.parse().ok());
            if command == "ms" || command == "mg" && exptime.is_some() {
                lifetimes.insert(key.to_owned(), Lifetime::sent(exptime.unwrap_or(0), now));
            }
        }
        lifetimes
    }

    /// What lies under a key: flags and bytes.
    type Item = (u32, Vec<u8>);

    fn item(server: &real::Memcached, key: &str) -> Option<Item> {
        let answer = server.say(format!("get {key}\r\n"));
        let head = answer.split(|byte| *byte == b'\r').next()?;
        let words: Vec<&str> = std::str::from_utf8(head).ok()?.split(' ').collect();
        let ["VALUE", _, flags, size] = words[..] else { return None };
        let (flags, size): (u32, usize) = (flags.parse().ok()?, size.parse().ok()?);
        let data = &answer[head.len() + 2..][..size];
        // The server pads a number that became shorter.
        let data = if flags & 6 != 0 { data.trim_ascii_end() } else { data };
        Some((flags, data.to_vec()))
    }

    /// Bytes, which the vectors write as text where they are ASCII.
    fn bytes(value: &Value) -> Vec<u8> {
        match python(value) {
            Python::Bytes(bytes) => bytes,
            Python::Str(text) => text.into_bytes(),
            other => panic!("no bytes: {other:?}"),
        }
    }

    fn item_of_django(stored: &Value) -> (String, Item) {
        let flags = stored["flags"].as_u64().and_then(|flags| u32::try_from(flags).ok()).expect("flags");
        let key = String::from_utf8(bytes(&stored["key"])).expect("a key of text");
        (key, (flags, bytes(&stored["value"])))
    }

    async fn judge(case: &Case, server: &real::Memcached) -> Judged {
        server.say("flush_all\r\n");
        let proxy = real::Proxy::to(server.socket_address()).await;
        let cache = Cache::connect(&url(&case.value["params"], &proxy)).await.expect("a URL");
        let steps = case.value["steps"].as_array().expect("steps");
        let stored = steps.iter().flat_map(|step| step["stored"].as_array().into_iter().flatten());
        let keys: BTreeSet<String> = stored.map(|stored| item_of_django(stored).0).collect();

        let mut account = Account { is_pylibmc: case.value["client"] == "pylibmc", ..Account::default() };
        for (index, step) in steps.iter().enumerate() {
            proxy.forget();
            let got = match call(&cache, step).await {
                Ok(value) => Answer::Value(value),
                Err(error) => Answer::of_error(&error),
            };
            let sent = proxy.asked();
            let answered = account.answered(step, &Answer::of_django(step), &got);
            let lay = step["stored"].is_null() || account.stored(step, &keys, server);
            let lived = step["wire"].is_null() || account.sent(step, &sent);
            for (what, is_ours) in [("the answer", answered), ("what is stored", lay), ("a lifetime", lived)] {
                if !is_ours {
                    let expected = format!("step {index}, {what}: {step}");
                    let lying: Vec<_> = keys.iter().map(|key| (key, item(server, key))).collect();
                    let got = format!("{got:?}, stored {lying:?}, sent {:?}", String::from_utf8_lossy(&sent));
                    return Judged::Differs { expected, got, ours: None };
                }
            }
        }
        match (account.has_pickles, account.departure) {
            (true, _) => Judged::OutOfScope(PICKLES),
            (false, None) => Judged::Same,
            (false, Some(name)) => case.differs("as promised", Some(name)),
        }
    }

    /// What was seen so far, and what follows from it.
    #[derive(Default)]
    struct Account {
        is_pylibmc: bool,
        has_pickles: bool,
        departure: Option<&'static str>,
        /// Keys where we left something else than Django did, and what.
        ours: BTreeMap<String, Option<Item>>,
        /// Those whose value was set to a `bool`.
        bools: BTreeMap<String, bool>,
    }

    impl Account {
        fn departs(&mut self, name: &'static str) -> bool {
            self.departure.get_or_insert(name);
            true
        }

        /// Whether an answer is Django's, or one that is promised.
        fn answered(&mut self, step: &Value, django: &Answer, ours: &Answer) -> bool {
            let key = step["args"][0].as_str().unwrap_or_default().to_owned();
            if let ("set" | "add", Value::Bool(value)) = (op(step), &step["args"][1]) {
                self.bools.insert(key.clone(), *value);
            }
            if same(django, ours) {
                return true;
            }
            let final_key = step["stored"][0]["key"].as_str().unwrap_or_default().to_owned();
            match (op(step), django, ours) {
                // The server went round; ours takes it back and says so.
                ("incr", Answer::Value(Python::Int(_)), Answer::Overflow) => {
                    self.ours.insert(final_key, Some((2, u64::MAX.to_string().into_bytes())));
                    self.departs(OVERFLOW)
                }
                ("get", _, Answer::Value(Python::Int(number))) if self.departure == Some(OVERFLOW) => {
                    *number == i128::from(u64::MAX)
                }
                ("touch", Answer::OfClient, Answer::Value(Python::Bool(was_there))) => {
                    let was_stored = step["stored"]
                        .as_array()
                        .is_some_and(|stored| stored.iter().any(|stored| stored["key"] == format!(":1:{key}")));
                    self.ours.insert(format!(":1:{key}"), None);
                    *was_there == was_stored && self.departs(REMOVES)
                }
                ("get", Answer::Value(_), Answer::Value(Python::Null)) => {
                    self.departure == Some(REMOVES) && self.ours.contains_key(&format!(":1:{key}"))
                }
                // pylibmc makes an integer of a bool.
                ("get", Answer::Value(Python::Int(_)), Answer::Value(Python::Bool(ours))) => {
                    self.is_pylibmc && self.bools.get(&key) == Some(ours) && self.departs(BOOLS)
                }
                ("incr", Answer::Value(Python::Int(_)), Answer::NotCounted) => {
                    self.is_pylibmc && self.bools.contains_key(&key) && self.departs(BOOLS)
                }
                _ => false,
            }
        }

        /// Whether what is stored is Django's, or what is promised.
        fn stored(&mut self, step: &Value, keys: &BTreeSet<String>, server: &real::Memcached) -> bool {
            let stored: BTreeMap<String, Item> =
                step["stored"].as_array().into_iter().flatten().map(item_of_django).collect();
            keys.iter().all(|key| {
                let ours = item(server, key);
                if let Some(promised) = self.ours.get(key) {
                    return ours == *promised;
                }
                match (stored.get(key), ours) {
                    (django, ours) if django == ours.as_ref() => true,
                    (Some((4, django)), Some((2, ours))) => *django == ours && self.departs(ONE_FLAG),
                    (Some((1, _)), Some((33, ours))) => {
                        self.has_pickles = true;
                        ours.starts_with(b"\x80\x04N.")
                    }
                    (Some((2, _)), Some((33, ours))) if self.is_pylibmc && !self.bools.is_empty() => {
                        ours.starts_with(b"\x80\x04N.") && self.departs(BOOLS)
                    }
                    _ => false,
                }
            })
        }

        /// Whether the lifetimes that were sent are Django's.
        fn sent(&self, step: &Value, ours: &[u8]) -> bool {
            let wire = bytes(&step["wire"]);
            if wire.is_empty() && step["error"] == "InvalidCacheKey" && !ours.is_empty() {
                return false;
            }
            let ours = lifetimes_of_ours(ours);
            let django = lifetimes_of_django(&wire);
            django.iter().all(|(key, lifetime)| lifetime.is_like(ours.get(key).copied()))
                && ours.keys().all(|key| django.contains_key(key))
        }
    }

    fn op(step: &Value) -> &str {
        step["op"].as_str().unwrap_or_default()
    }

    /// Equal, maps in whatever order.
    fn same(django: &Answer, ours: &Answer) -> bool {
        match (django, ours) {
            (Answer::Value(Python::Map(django)), Answer::Value(Python::Map(ours))) => {
                django.len() == ours.len() && django.iter().all(|pair| ours.contains(pair))
            }
            (django, ours) => django == ours,
        }
    }

    fn url(params: &Value, proxy: &real::Proxy) -> String {
        let patient = "connect_timeout=60s&get_timeout=60s&set_timeout=60s";
        let mut url = format!("memcached://{}?{patient}", proxy.address());
        for (name, option) in [("KEY_PREFIX", "key_prefix"), ("VERSION", "version"), ("TIMEOUT", "timeout")] {
            let value = match params.get(name) {
                None => continue,
                Some(Value::Null) => "never".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
            };
            let _ = write!(url, "&{option}={value}");
        }
        url
    }

    async fn call(cache: &Cache, step: &Value) -> Result<Python, Error> {
        let argument = |position: usize, name: &str| step["args"].get(position).or_else(|| step["kwargs"].get(name));
        let version = |position| match argument(position, "version") {
            Some(version) => cache.version(version.as_i64().expect("a number")),
            None => cache.clone(),
        };
        let timeout = |position| match argument(position, "timeout") {
            None => Timeout::Default,
            Some(Value::Null) => Timeout::Never,
            Some(seconds) => Timeout::After(Duration::from_secs_f64(seconds.as_f64().expect("seconds").max(0.0))),
        };
        let key = step["args"][0].as_str().unwrap_or_default();
        let keys = || step["args"][0].as_array().into_iter().flatten().filter_map(Value::as_str);
        let delta = || argument(1, "delta").map_or(1, |delta| delta.as_i64().expect("a number"));
        let number = |number: i64| Python::Int(number.into());
        Ok(match op(step) {
            "set" => version(3).set(key, python(&step["args"][1]), timeout(2)).await.map(|()| Python::Null)?,
            "add" => Python::Bool(version(3).add(key, python(&step["args"][1]), timeout(2)).await?),
            "get" => {
                let default = argument(1, "default").map_or(Python::Null, python);
                version(2).get::<Python>(key).await?.unwrap_or(default)
            }
            "touch" => Python::Bool(version(2).touch(key, timeout(1)).await?),
            "delete" => Python::Bool(version(1).delete(key).await?),
            "has_key" => Python::Bool(version(1).contains(key).await?),
            "incr" => number(version(2).incr(key, delta()).await?),
            "decr" => number(version(2).decr(key, delta()).await?),
            "incr_version" => number(version(2).incr_version(key, delta()).await?),
            "decr_version" => number(version(2).decr_version(key, delta()).await?),
            "get_many" => {
                let found = version(1).get_many::<Python>(keys()).await?;
                Python::Map(found.into_iter().map(|(key, value)| (Python::Str(key), value)).collect())
            }
            "set_many" => {
                let Python::Map(pairs) = python(&step["args"][0]) else { panic!("no map: {step}") };
                let pairs = pairs.into_iter().map(|(key, value)| match key {
                    Python::Str(key) => (key, value),
                    other => panic!("no key: {other:?}"),
                });
                let failed = version(2).set_many(pairs, timeout(1)).await?;
                Python::List(failed.into_iter().map(Python::Str).collect())
            }
            "delete_many" => version(1).delete_many(keys()).await.map(|()| Python::Null)?,
            "clear" => cache.clear().await.map(|()| Python::Null)?,
            "close" => cache.close().await.map(|()| Python::Null)?,
            other => panic!("unknown operation {other:?}"),
        })
    }
}

//! `storage.json`, the kinds `db` and `createcachetable`: what Django's database cache left in its SQLite table after each
//! call, against the table that larder leaves after the same calls. It needs the feature `database`.

const FILE: &str = "storage";
const TITLE: &str = "storage_db";

fn is_ours(kind: &str) -> bool {
    matches!(kind, "db" | "createcachetable")
}

#[cfg(not(feature = "database"))]
pub fn storage_db(departures: &crate::harness::Departures) -> crate::harness::Summary {
    crate::harness::pass_over(FILE, TITLE, is_ours, departures)
}

#[cfg(feature = "database")]
pub use with_database::storage_db;

#[cfg(feature = "database")]
mod with_database {
    use std::collections::{BTreeMap, BTreeSet};
    use std::process::Command;
    use std::time::Duration;

    use larder::backend::Database;
    use larder::cache::Version;
    use larder::{Cache, Error, ManualClock, Timeout, Timestamp};
    use serde_json::{Value, json};

    use super::{FILE, TITLE, is_ours};
    use crate::harness::{Case, Departures, Judged, Summary, run_some};
    use crate::python_value::Python;

    const END_EXACTLY: &str = "database-entries-end-exactly";
    const NO_PICKLES: &str = "database-values-are-no-pickles";
    const CULLS: &str = "database-culls-those-that-end-soonest";

    pub fn storage_db(departures: &Departures) -> Summary {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let tables = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite://{}/tables.db", tables.path().display());
        let mut made = BTreeSet::new();
        run_some(FILE, TITLE, is_ours, departures, |case| match case.value["kind"].as_str() {
            Some("createcachetable") => runtime.block_on(create(case, &url, &mut made)),
            _ => runtime.block_on(judge(case)),
        })
    }

    /// The statements that the command prints, or the tables that it makes.
    async fn create(case: &Case, url: &str, made: &mut BTreeSet<String>) -> Judged {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named: Vec<String> = case.value["args"].as_array().into_iter().flatten().map(text).collect();
        let caches = case.value["caches"].as_object().into_iter().flatten().map(|(_, cache)| cache);
        let databases = caches.filter(|cache| text(&cache["BACKEND"]).ends_with(".DatabaseCache"));
        let of_settings: Vec<String> = databases.map(|cache| text(&cache["LOCATION"])).collect();
        let options = &case.value["options"];
        let verbosity = options["verbosity"].as_u64().unwrap_or(1);
        let mut printed = String::new();
        for table in if named.is_empty() { of_settings } else { named } {
            let database = Database::builder(url).and_then(|builder| builder.table(&table).build()).expect("a table");
            let is_there = made.contains(&table);
            if is_there {
                if verbosity > 0 {
                    printed.push_str(&format!("Cache table '{table}' already exists.\n"));
                }
            } else if options["dry_run"] == true {
                database.table_sql().iter().for_each(|statement| printed.push_str(&format!("{statement};\n")));
            } else {
                assert!(database.create_table().await.expect("it is made"));
                if verbosity > 1 {
                    printed.push_str(&format!("Cache table '{table}' created.\n"));
                }
                made.insert(table);
            }
        }
        let expected = case.expected()["stdout"].as_str().unwrap_or_default();
        if printed == expected { Judged::Same } else { case.differs(&printed, None) }
    }

    /// A row as far as both sides have it: the moment in microseconds, none for never.
    type Rows = BTreeMap<String, (String, Option<u64>)>;

    /// What larder promises to keep: the same map, with exact moments.
    struct Model {
        entries: BTreeMap<String, (Python, Option<u64>)>,
        now: u64,
    }

    impl Model {
        fn live(&self, key: &str) -> Option<&Python> {
            let (value, end) = self.entries.get(key)?;
            end.is_none_or(|end| self.now < end).then_some(value)
        }

        fn store(&mut self, key: &str, value: Python, timeout: Option<f64>) {
            let end = timeout.map(|seconds| self.now as f64 + seconds * 1e6);
            match end {
                Some(end) if end <= self.now as f64 => self.entries.remove(key),
                end => self.entries.insert(key.to_owned(), (value, end.map(|end| end.round() as u64))),
            };
        }
    }

    async fn judge(case: &Case) -> Judged {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("cache.db").display().to_string();
        let now = (case.value["now"].as_f64().expect("a time") * 1e6).round() as u64;
        let hands = ManualClock::at(Timestamp::from_nanos(now * 1_000));
        let builder = || Database::builder(&format!("sqlite://{path}")).expect("a URL").clock(hands.clock());
        let database = builder().build().expect("a table");
        database.create_table().await.expect("it is made");
        let params = &case.value["params"];
        let default_timeout = params.get("TIMEOUT").map_or(Some(300.0), Value::as_f64);
        let version = params["VERSION"].as_i64().unwrap_or(1);
        let prefix = params["KEY_PREFIX"].as_str().unwrap_or_default();
        let cache = Cache::builder(database)
            .key_prefix(prefix)
            .version(Version::from(version))
            .default_timeout(timeout_of(default_timeout))
            .build();
        let mut model = Model { entries: BTreeMap::new(), now };
        let bounds = params["OPTIONS"]["MAX_ENTRIES"].as_u64();
        let (mut end_exactly, mut no_pickles) = (false, false);

        for step in case.value["steps"].as_array().into_iter().flatten() {
            let op = step["op"].as_str().unwrap_or_default();
            if op == "advance" {
                let by = step["args"][0].as_f64().unwrap_or_default();
                model.now += (by * 1e6).round() as u64;
                hands.set(Timestamp::from_nanos(model.now * 1_000));
                continue;
            }
            let version = step["kwargs"]["version"].as_i64().unwrap_or(version);
            let call = Call { op, args: &step["args"], default_timeout, version, prefix };
            let ours = call.ask(&cache).await;
            let promised = call.predict(&mut model);
            if ours != promised {
                return case.differs(&format!("{op}: {ours:?}, where larder promises {promised:?}"), None);
            }
            let rows = rows(&path);
            if let Err(broken) = are_promised(&rows, &model) {
                return case.differs(&format!("after {op}: {broken}"), None);
            }
            let djangos = match step["error"].as_str() {
                Some(class) => Err(class.to_owned()),
                None => Ok(Python::read(&step["result"]).expect("a value")),
            };
            end_exactly |= ours != djangos;
            if bounds.is_none() {
                let djangos = djangos_rows(&step["rows"]);
                // Where both have an integer, it is the same text.
                for (key, (text, _)) in &djangos {
                    let is_integer = matches!(model.entries.get(key), Some((Python::Int(_), _)));
                    if let (true, Some((ours, _))) = (is_integer, rows.get(key))
                        && ours != text
                    {
                        return case.differs(&format!("after {op}: {key} is {ours}, not {text}"), None);
                    }
                }
                end_exactly |= ends(&rows) != ends(&djangos);
                no_pickles |= rows != djangos;
            }
        }
        if let Some(bounds) = bounds {
            let kept = builder().max_entries(bounds).build().expect("a table");
            kept.cull().await.expect("it is culled");
            let left = rows(&path).len() as u64;
            let got = json!({"rows after a cull": left}).to_string();
            return case.differs(&got, (left <= bounds).then_some(CULLS));
        }
        match (end_exactly, no_pickles) {
            (false, false) => Judged::Same,
            (false, true) => case.differs("the same, in other values", Some(NO_PICKLES)),
            (true, _) => case.differs("the same, to the microsecond", Some(END_EXACTLY)),
        }
    }

    fn ends(rows: &Rows) -> Vec<(&String, Option<u64>)> {
        rows.iter().map(|(key, (_, end))| (key, *end)).collect()
    }

    /// A call of Django's cache.
    struct Call<'a> {
        op: &'a str,
        args: &'a Value,
        default_timeout: Option<f64>,
        version: i64,
        prefix: &'a str,
    }

    type Outcome = Result<Python, String>;

    impl Call<'_> {
        fn key(&self) -> &str {
            self.args[0].as_str().unwrap_or_default()
        }

        fn value(&self, position: usize) -> Python {
            self.args.get(position).map_or(Python::Null, |value| Python::read(value).expect("a value"))
        }

        /// In seconds; `None` is never.
        fn timeout(&self, position: usize) -> Option<f64> {
            self.args.get(position).map_or(self.default_timeout, Value::as_f64)
        }

        fn final_key(&self, key: &str, version: i64) -> String {
            format!("{}:{version}:{key}", self.prefix)
        }

        fn keys(&self) -> Vec<String> {
            let keys = self.args[0].as_array().into_iter().flatten();
            keys.map(|key| key.as_str().unwrap_or_default().to_owned()).collect()
        }

        async fn ask(&self, cache: &Cache) -> Outcome {
            let cache = cache.version(Version::from(self.version));
            let key = self.key();
            let number = |answer: Result<i64, Error>| answer.map(|number| Python::Int(number.into()));
            let answer = match self.op {
                "get" => cache.get(key).await.map(|found| found.unwrap_or_else(|| self.value(1))),
                "set" => cache.set(key, self.value(1), timeout_of(self.timeout(2))).await.map(|()| Python::Null),
                "add" => cache.add(key, self.value(1), timeout_of(self.timeout(2))).await.map(Python::Bool),
                "touch" => cache.touch(key, timeout_of(self.timeout(1))).await.map(Python::Bool),
                "delete" => cache.delete(key).await.map(Python::Bool),
                "has_key" => cache.contains(key).await.map(Python::Bool),
                "incr" => number(cache.incr(key, self.args[1].as_i64().unwrap_or(1)).await),
                "decr" => number(cache.decr(key, self.args[1].as_i64().unwrap_or(1)).await),
                "incr_version" => number(cache.incr_version(key, self.args[1].as_i64().unwrap_or(1)).await),
                "decr_version" => number(cache.decr_version(key, self.args[1].as_i64().unwrap_or(1)).await),
                "get_or_set" => cache.get_or_set(key, timeout_of(self.timeout(2)), async || self.value(1)).await,
                "get_many" => cache.get_many::<Python>(self.keys()).await.map(|mut found| {
                    let mut pairs: Vec<_> = self.keys();
                    pairs.dedup();
                    Python::Map(pairs.iter().filter_map(|key| Some((Python::text(key), found.remove(key)?))).collect())
                }),
                "clear" => cache.clear().await.map(|()| Python::Null),
                unknown => panic!("an unknown operation: {unknown}"),
            };
            answer.map_err(|error| match error {
                Error::NotANumber { .. } => "TypeError".to_owned(),
                Error::Missing { .. } => "ValueError".to_owned(),
                other => panic!("{}: {other}", self.op),
            })
        }

        fn predict(&self, model: &mut Model) -> Outcome {
            let key = self.final_key(self.key(), self.version);
            let live = model.live(&key).cloned();
            Ok(match self.op {
                "get" => live.unwrap_or_else(|| self.value(1)),
                "set" => {
                    model.store(&key, self.value(1), self.timeout(2));
                    Python::Null
                }
                "add" if live.is_none() => {
                    model.store(&key, self.value(1), self.timeout(2));
                    Python::Bool(true)
                }
                "add" => Python::Bool(false),
                "touch" => {
                    let was_there = live.is_some();
                    if let Some(value) = live {
                        model.store(&key, value, self.timeout(1));
                    }
                    Python::Bool(was_there)
                }
                "delete" => {
                    if live.is_some() {
                        model.entries.remove(&key);
                    }
                    Python::Bool(live.is_some())
                }
                "has_key" => Python::Bool(live.is_some()),
                "incr" | "decr" => {
                    let delta = i128::from(self.args[1].as_i64().unwrap_or(1));
                    match live {
                        None => return Err("ValueError".to_owned()),
                        Some(Python::Int(number)) => {
                            let sum = if self.op == "incr" { number + delta } else { number - delta };
                            if let Some((value, _)) = model.entries.get_mut(&key) {
                                *value = Python::Int(sum);
                            }
                            Python::Int(sum)
                        }
                        Some(_) => return Err("TypeError".to_owned()),
                    }
                }
                "incr_version" | "decr_version" => {
                    let delta = self.args[1].as_i64().unwrap_or(1);
                    let version = if self.op == "incr_version" { self.version + delta } else { self.version - delta };
                    let Some(value) = live else { return Err("ValueError".to_owned()) };
                    model.store(&self.final_key(self.key(), version), value, self.default_timeout);
                    model.entries.remove(&key);
                    Python::Int(version.into())
                }
                "get_or_set" => match live {
                    Some(value) => value,
                    None => {
                        model.store(&key, self.value(1), self.timeout(2));
                        self.value(1)
                    }
                },
                "get_many" => {
                    let mut keys = self.keys();
                    keys.dedup();
                    let found = keys.iter().filter_map(|key| {
                        Some((Python::text(key), model.live(&self.final_key(key, self.version))?.clone()))
                    });
                    Python::Map(found.collect())
                }
                "clear" => {
                    model.entries.clear();
                    Python::Null
                }
                unknown => panic!("an unknown operation: {unknown}"),
            })
        }
    }

    fn timeout_of(seconds: Option<f64>) -> Timeout {
        match seconds {
            None => Timeout::Never,
            Some(seconds) if seconds <= 0.0 => Timeout::from(0),
            Some(seconds) => Timeout::from(Duration::from_micros((seconds * 1e6).round() as u64)),
        }
    }

    /// Whether the rows are those of the model: keys, moments to the microsecond, and values of the right kind.
    fn are_promised(rows: &Rows, model: &Model) -> Result<(), String> {
        let promised: Vec<_> = model.entries.iter().map(|(key, (_, end))| (key, *end)).collect();
        if ends(rows) != promised {
            return Err(format!("the rows are {:?}, where larder promises {promised:?}", ends(rows)));
        }
        for (key, (text, _)) in rows {
            // A pickle of protocol 5 in base64, or one of None and the mark of our first version.
            let beginning = if matches!(model.entries[key].0, Python::Int(_)) { "gAV" } else { "gAROLgE" };
            if !text.starts_with(beginning) {
                return Err(format!("{key} is {text}, which does not begin with {beginning}"));
            }
        }
        Ok(())
    }

    /// The table, read by SQLite's own program.
    fn rows(path: &str) -> Rows {
        let select = "SELECT cache_key, value, expires FROM my_cache_table";
        let output = Command::new("sqlite3").args(["-json", "-cmd", ".timeout 60000", path, select]).output();
        let output = output.expect("sqlite3 is not installed: apt-get install sqlite3");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if output.stdout.is_empty() {
            return Rows::new();
        }
        djangos_rows(&serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    fn djangos_rows(rows: &Value) -> Rows {
        let text = |row: &Value, column: &str| row[column].as_str().unwrap_or_default().to_owned();
        let rows = rows.as_array().into_iter().flatten();
        rows.map(|row| (text(row, "cache_key"), (text(row, "value"), microseconds(&text(row, "expires"))))).collect()
    }

    /// The moment of `2026-01-01 00:05:00.5`; none where it is Django's for never.
    fn microseconds(text: &str) -> Option<u64> {
        if text == "9999-12-31 23:59:59" {
            return None;
        }
        let fields: Vec<u64> = text.split(['-', ' ', ':', '.']).map(|field| field.parse().expect("a number")).collect();
        let (year, month, day) = (fields[0], fields[1], fields[2]);
        let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let of_years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
        let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let days = of_years + lengths[..month as usize - 1].iter().sum::<u64>() + day - 1;
        let seconds = ((days * 24 + fields[3]) * 60 + fields[4]) * 60 + fields[5];
        Some(seconds * 1_000_000 + fields.get(6).copied().unwrap_or_default())
    }
}

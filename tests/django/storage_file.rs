//! `storage.json`, the kinds `file…`: what Django's file cache left in its directory, and what larder leaves after the same
//! calls; and Django's own files in larder's directory, which are nobody's business there. It needs the feature `file`.

const FILE: &str = "storage";
const TITLE: &str = "storage_file";

fn is_ours(kind: &str) -> bool {
    kind.starts_with("file")
}

#[cfg(not(feature = "file"))]
pub fn storage_file(departures: &crate::harness::Departures) -> crate::harness::Summary {
    crate::harness::pass_over(FILE, TITLE, is_ours, departures)
}

#[cfg(feature = "file")]
pub use with_files::storage_file;

#[cfg(feature = "file")]
mod with_files {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use larder::backend::Files;
    use larder::cache::Version;
    use larder::{Cache, ManualClock, Timeout, Timestamp};
    use md5::Md5;
    use serde_json::Value;
    use sha2::{Digest, Sha256};

    use super::{FILE, TITLE, is_ours};
    use crate::harness::{Case, Departures, Judged, Summary, run_some};
    use crate::python_value::Python;

    const OWN_FORM: &str = "file-entries-have-a-form-of-their-own";
    const EXACT: &str = "file-entries-end-exactly";
    const OLDEST: &str = "file-culls-the-dead-and-the-oldest";

    pub fn storage_file(departures: &Departures) -> Summary {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        run_some(FILE, TITLE, is_ours, departures, |case| {
            let around = tempfile::tempdir().expect("a temporary folder");
            let place = Place { root: around.path().join("made").join("cache") };
            runtime.block_on(async {
                match case.value["kind"].as_str() {
                    Some("file") => store(case, &place).await,
                    Some("file_cull") => cull(case, &place).await,
                    Some("file_read") => read(case, &place).await,
                    Some("file_touch") => touch(case, &place).await,
                    other => panic!("an unknown kind: {other:?}"),
                }
            })
        })
    }

    struct Place {
        root: PathBuf,
    }

    impl Place {
        fn cache(&self, case: &Case, hands: &ManualClock) -> Cache {
            let params = &case.value["params"];
            let files = Files::builder(&self.root).clock(hands.clock()).build().expect("a path");
            Cache::builder(files)
                .key_prefix(params["KEY_PREFIX"].as_str().unwrap_or_default())
                .version(Version::from(params["VERSION"].as_i64().unwrap_or(1)))
                .default_timeout(timeout_of(default_timeout(case)))
                .build()
        }

        /// Where an entry lies.
        fn file(&self, final_key: &str) -> PathBuf {
            let name = hex::encode(Sha256::digest(final_key));
            self.root.join(&name[..2]).join(format!("{name}.larder"))
        }

        /// Where Django would have it.
        fn djangos_file(&self, final_key: &str) -> PathBuf {
            self.root.join(format!("{}.djcache", hex::encode(Md5::digest(final_key))))
        }

        fn count(&self) -> u64 {
            let folders = fs::read_dir(&self.root).into_iter().flatten().flatten();
            let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
            files.filter(|file| file.path().extension().is_some_and(|extension| extension == "larder")).count() as u64
        }
    }

    fn hands(case: &Case) -> ManualClock {
        let now = case.value["now"].as_f64().unwrap_or(1_767_225_600.5);
        ManualClock::at(Timestamp::from_nanos((now * 1e9) as u64))
    }

    fn timeout_of(seconds: Option<f64>) -> Timeout {
        match seconds {
            None => Timeout::Never,
            Some(seconds) if seconds <= 0.0 => Timeout::from(0),
            Some(seconds) => Timeout::from(Duration::from_micros((seconds * 1e6).round() as u64)),
        }
    }

    /// In seconds; `None` is never.
    fn default_timeout(case: &Case) -> Option<f64> {
        case.value["params"].get("TIMEOUT").map_or(Some(300.0), Value::as_f64)
    }

    fn mode(path: &Path) -> String {
        format!("0o{:o}", fs::metadata(path).expect("it is there").permissions().mode() & 0o777)
    }

    /// What must be the same: the modes of file and directories, the end, and that Django's name for the key is Django's.
    /// What is not, is a form of our own that holds the whole key.
    async fn store(case: &Case, place: &Place) -> Judged {
        let (key, value) =
            (case.value["key"].as_str().expect("a key"), Python::read(&case.value["value"]).expect("a value"));
        let hands = hands(case);
        let cache = place.cache(case, &hands);
        let final_key = cache.make_key(key);
        let djangos = place.djangos_file(&final_key);
        let name = djangos.file_name().expect("a name").to_string_lossy().into_owned();
        let expected = case.expected();
        if expected["filename"] != name.as_str() {
            return case.differs(&format!("{final_key:?}, whose file would be {name}"), None);
        }
        // Django's own file of this key is there already, and stays as it is.
        fs::create_dir_all(&place.root).expect("it is ours");
        for folder in [&place.root, place.root.parent().expect("there is one")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("it is ours");
        }
        fs::write(&djangos, b"Django's").expect("it is ours");

        let (timeout, seconds) = match &case.value["timeout"] {
            Value::String(_) => (Timeout::Default, default_timeout(case)),
            seconds => (timeout_of(seconds.as_f64()), seconds.as_f64()),
        };
        if cache.get::<Python>(key).await.expect("a miss").is_some() {
            return case.differs("a hit on Django's file", None);
        }
        cache.set(key, value.clone(), timeout).await.expect("it is stored");
        let file = place.file(&final_key);
        if seconds.is_some_and(|seconds| seconds <= 0.0) {
            return case.differs("nothing is stored", (!file.exists()).then_some(EXACT));
        }
        let content = fs::read(&file).expect("it is there");
        let has_the_key = content.windows(final_key.len()).any(|bytes| bytes == final_key.as_bytes());
        let modes = [&file, file.parent().expect("it has one"), &place.root].map(mode);
        let is_right = has_the_key
            && modes[0] == expected["file_mode"]
            && modes[1..].iter().all(|mode| expected["dir_modes"][0] == mode.as_str())
            && fs::read(&djangos).is_ok_and(|content| content == b"Django's")
            && cache.get(key).await.expect("a hit") == Some(value);
        if !is_right {
            return case.differs(&format!("modes {modes:?}"), None);
        }
        // Alive until a nanosecond before the end, and not at the end.
        if let Some(seconds) = seconds {
            let end = hands.clock().now().after(Duration::from_micros((seconds * 1e6).round() as u64)).as_nanos();
            let djangos = expected["expiry"].as_f64().unwrap_or_default();
            if (end as f64 / 1e9 - djangos).abs() > 1e-5 {
                return case.differs(&format!("its end is {end}"), None);
            }
            for (time, lives) in [(end - 1, true), (end, false)] {
                hands.set(Timestamp::from_nanos(time));
                if cache.contains(key).await.expect("an answer") != lives {
                    return case.differs(&format!("at {time} it is alive: {}", !lives), None);
                }
            }
        }
        case.differs("the same, in a file of another form", Some(OWN_FORM))
    }

    /// Never more than `MAX_ENTRIES`, and what was just stored is there; which others are, is another matter.
    async fn cull(case: &Case, place: &Place) -> Judged {
        let (most, sets) =
            (case.value["max_entries"].as_u64().expect("a number"), case.value["sets"].as_u64().expect("a number"));
        let Ok(files) = Files::builder(&place.root).max_entries(most).build() else {
            // To keep nothing there is the dummy.
            return case.differs("refused", (most == 0).then_some(OLDEST));
        };
        let cache = Cache::new(files);
        let mut counts = Vec::new();
        for number in 0..sets {
            let key = format!("k{number}");
            cache.set(&key, number, Timeout::Never).await.expect("it is stored");
            counts.push(place.count());
            if place.count() > most || !cache.contains(&key).await.expect("an answer") {
                return case.differs(&format!("{counts:?}"), None);
            }
        }
        let expected: Vec<u64> =
            case.expected()["file_counts"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        if counts == expected { Judged::Same } else { case.differs(&format!("{counts:?}"), Some(OLDEST)) }
    }

    /// Django's content, under Django's name and under ours: a miss both times, no error, and left as it is.
    async fn read(case: &Case, place: &Place) -> Judged {
        let key = case.value["key"].as_str().expect("a key");
        let cache = place.cache(case, &hands(case));
        let final_key = cache.make_key(key);
        let Some(Python::Bytes(content)) = Python::read(&serde_json::json!({"$bytes": case.value["content"]})) else {
            panic!("no content")
        };
        for file in [place.djangos_file(&final_key), place.file(&final_key)] {
            fs::create_dir_all(file.parent().expect("it has one")).expect("it is ours");
            fs::write(&file, &content).expect("it is ours");
            let got = cache.get::<Python>(key).await;
            if !matches!(got, Ok(None)) || !fs::read(&file).is_ok_and(|left| left == content) {
                return case.differs(&format!("{got:?} of {}", file.display()), None);
            }
        }
        let expected = case.expected();
        let is_the_same = expected["get"] == "miss" && expected["file_exists_after"] == true;
        if is_the_same { Judged::Same } else { case.differs("a miss, and left alone", Some(OWN_FORM)) }
    }

    async fn touch(case: &Case, place: &Place) -> Judged {
        let key = case.value["key"].as_str().expect("a key");
        let hands = hands(case);
        let cache = place.cache(case, &hands);
        let timeout = |name: &str| timeout_of(case.value[name].as_f64());
        cache.set(key, "v", timeout("set_timeout")).await.expect("it is stored");
        let expected = case.expected();
        let touched = cache.touch(key, timeout("touch_timeout")).await.expect("an answer");
        let got = cache.get::<String>(key).await.expect("an answer").unwrap_or_else(|| "miss".to_owned());
        if expected["result"] != touched || expected["get"] != got.as_str() {
            return case.differs(&format!("{touched}, {got}"), None);
        }
        // A new file in the place of the old one: nothing stale is left behind it.
        case.differs("the same, in a file of another form", Some(if got == "miss" { EXACT } else { OWN_FORM }))
    }
}

//! The real Django, in a Python of the tests' own: `django_side.py` does what it is told, one JSON line after the other.

use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The keys of pages are those of Django 5.2.19 and later (PGK-10).
const PACKAGES: [&str; 5] =
    ["Django>=5.2.19,<5.3", "pymemcache==4.*", "pylibmc==1.6.*", "python-memcached==1.62", "redis>=5"];

/// A running Django. It ends when this is dropped and when the test process ends: its standard input closes.
pub struct Django {
    child: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Django {
    /// Makes the virtual environment when it is not there yet, and starts Django in it.
    pub fn start() -> Self {
        Django::with_settings(&json!({}))
    }

    /// The same with these settings, for a site whose every URL is a page that says how often pages were rendered.
    pub fn with_settings(settings: &Value) -> Self {
        let mut child = Command::new(python())
            .args(["-u", "-c", include_str!("django_side.py")])
            .env("DJANGO_SETTINGS", settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let words = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Django { child, words, answers }
    }

    /// Makes a cache of this backend, such as `PyMemcacheCache`, under a name. `settings` are what Django has in `CACHES`.
    pub fn make_cache(&mut self, name: &str, backend: &str, settings: Value) {
        self.ask(json!({"do": "make_cache", "name": name, "backend": backend, "settings": settings}));
    }

    /// A page of the site, through its cache middleware: `{"status", "headers", "body"}`.
    pub fn get_page(&mut self, url: &str, headers: Value) -> Value {
        self.ask(json!({"do": "get_page", "url": url, "headers": headers}))
    }

    /// Calls a method of a cache. Bytes are written `{"bytes": "hex"}` both ways.
    pub fn call(&mut self, cache: &str, method: &str, arguments: Value) -> Value {
        self.ask(json!({"do": "call", "cache": cache, "method": method, "arguments": arguments}))
    }

    /// Sends one order and waits for its result. An exception of Django's is a panic that shows it.
    pub fn ask(&mut self, order: Value) -> Value {
        self.try_ask(order).unwrap_or_else(|exception| panic!("Django raised {exception}"))
    }

    /// The same, with the exception as an error.
    pub fn try_ask(&mut self, order: Value) -> Result<Value, String> {
        let words = self.words.as_mut().expect("it is not closed before the end");
        writeln!(words, "{order}").expect("Django reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("Django writes");
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("Django ended: {order}"));
        match answer.get("exception").and_then(Value::as_str) {
            Some(exception) => Err(exception.to_owned()),
            None => Ok(answer["result"].take()),
        }
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.child.wait();
    }
}

/// The interpreter of a virtual environment that has Django and its cache clients. It is made once and kept under
/// `target/`; where the packages come from is pip's to decide (PyPI, or what `PIP_FIND_LINKS` names).
pub fn python() -> &'static Path {
    try_python().unwrap_or_else(|why| panic!("{why}"))
}

/// The same, or why there is none.
pub fn try_python() -> Result<&'static Path, &'static str> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let mut name = std::hash::DefaultHasher::new();
        PACKAGES.hash(&mut name);
        let target = option_env!("CARGO_TARGET_TMPDIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/target"));
        let home = Path::new(target).join(format!("python-{:016x}", name.finish()));
        if !home.join("bin/python").is_file() {
            make_environment(&home)?;
        }
        Ok(home.join("bin/python"))
    });
    python.as_deref().map_err(String::as_str)
}

/// Made aside and put in its place in one step: several test programs may do it at once.
fn make_environment(home: &Path) -> Result<(), String> {
    let aside = home.with_extension(std::process::id().to_string());
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv"]).arg(&aside), "python3-venv is not installed: apt-get install python3-venv")?;
    let mut pip = Command::new(aside.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run(&mut pip, "pip cannot install Django and its clients: is there a network, or PIP_FIND_LINKS?")?;
    if std::fs::rename(&aside, home).is_err() {
        let _ = std::fs::remove_dir_all(&aside);
        if !home.is_dir() {
            return Err(format!("{} cannot be made", home.display()));
        }
    }
    Ok(())
}

fn run(command: &mut Command, advice: &str) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{advice} ({error})"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{advice}\n{}", String::from_utf8_lossy(&output.stderr))),
    }
}

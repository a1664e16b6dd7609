//! Runs the built command in an environment of its own, plainly or on a terminal.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

#[cfg(feature = "redis")]
use super::real::Redis;
use super::real::{Memcached, find_program, new_folder};

const LARDER: &str = env!("CARGO_BIN_EXE_larder");

/// What a run of the command came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Run {
            code: output.status.code().expect("it was not killed"),
            out: output.stdout,
            err: String::from_utf8(output.stderr).expect("what people read is text"),
        }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text was asked for")
    }

    pub fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    /// Each line of JSON.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.lines().into_iter().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Done, and nothing to complain of.
    #[track_caller]
    pub fn done(self) -> Self {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        self
    }
}

fn command(cache_url: &str) -> Command {
    let mut command = Command::new(LARDER);
    command.env_clear().env("CACHE_URL", cache_url);
    command
}

/// Runs it on the cache of this URL (none where it is empty), with nothing on standard input.
pub fn larder<A: AsRef<OsStr>>(cache_url: &str, arguments: &[A]) -> Run {
    Run::of(command(cache_url).args(arguments).stdin(Stdio::null()).output().expect("larder runs"))
}

/// The same with more in its environment.
pub fn larder_in(environment: &[(&str, &str)], arguments: &[&str]) -> Run {
    let mut command = command("");
    Run::of(
        command.envs(environment.iter().copied()).args(arguments).stdin(Stdio::null()).output().expect("larder runs"),
    )
}

/// The same with something on standard input.
pub fn larder_told(cache_url: &str, arguments: &[&str], input: &[u8]) -> Run {
    let mut child = command(cache_url)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("larder runs");
    child.stdin.take().expect("it is a pipe").write_all(input).expect("larder reads");
    Run::of(child.wait_with_output().expect("larder ends"))
}

/// Runs it on a terminal where a person types `input`; everything that the terminal showed is in `out`.
pub fn on_a_terminal(cache_url: &str, arguments: &[&str], input: &str) -> Run {
    let script = find_program("script").expect("script is not installed: apt-get install bsdutils");
    let line = [&[LARDER], arguments].concat().iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let mut child = Command::new(script)
        .args(["-qec", &line, "/dev/null"])
        .env("CACHE_URL", cache_url)
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script runs");
    // The question comes first: what is typed before it would still be read, but a person does not type so.
    let mut keyboard = child.stdin.take().expect("it is a pipe");
    keyboard.write_all(input.as_bytes()).expect("script reads");
    keyboard.flush().expect("script reads");
    let output = child.wait_with_output();
    drop(keyboard);
    Run::of(output.expect("script ends"))
}

/// A store that keeps what one run of the command stored for the next.
pub struct Store {
    pub name: &'static str,
    pub url: String,
    /// Ends with the test.
    _server: Option<Box<dyn std::any::Any>>,
}

impl Store {
    /// The URL with more options.
    pub fn with(&self, options: &str) -> String {
        let mark = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{mark}{options}", self.url)
    }
}

/// Every store that the general commands are run on.
pub fn stores() -> Vec<Store> {
    let folder = Arc::new(new_folder("cli"));
    let memcached = Memcached::start();
    let mut stores = vec![
        Store { name: "memcached", url: memcached.url(), _server: Some(Box::new(memcached)) },
        Store {
            name: "sqlite",
            url: format!("sqlite://{}?create_table=yes", folder.join("cache.db").display()),
            _server: Some(Box::new(Arc::clone(&folder))),
        },
    ];
    #[cfg(feature = "file")]
    stores.push(Store {
        name: "file",
        url: format!("file://{}", folder.join("files").display()),
        _server: Some(Box::new(Arc::clone(&folder))),
    });
    #[cfg(feature = "redis")]
    {
        let redis = Redis::start();
        stores.push(Store { name: "redis", url: redis.url(), _server: Some(Box::new(redis)) });
    }
    stores
}

//! pylibmc, Python's fastest client, where it is there or can be installed.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::load::{KEYS, MANY, Work};
use super::real::{Memcached, try_python};

pub struct Pylibmc<'a>(&'a Memcached);

impl<'a> Pylibmc<'a> {
    pub fn of(server: &'a Memcached) -> Self {
        Pylibmc(server)
    }

    /// Operations per second of so many threads; none where pylibmc is not there.
    pub fn measure(&self, work: Work, threads: usize, time: Duration) -> Option<f64> {
        let kind = match work {
            Work::Get(_) => "get",
            Work::Set(_) => "set",
            Work::GetMany(_) => "get_many",
        };
        let numbers = [work.size(), threads, KEYS, MANY].map(|number| number.to_string());
        let output = Command::new(try_python().ok()?)
            .args(["-c", include_str!("pylibmc_side.py"), &self.0.address(), kind])
            .args(numbers)
            .arg(time.as_secs_f64().to_string())
            .output()
            .expect("python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    }
}

/// Which pylibmc takes part, or why none does.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| match try_python() {
        Err(_) => "no pylibmc (it cannot be installed here)".to_owned(),
        Ok(python) => {
            let output = Command::new(python).args(["-c", "import pylibmc; print(pylibmc.__version__)"]).output();
            let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            format!("pylibmc {}", version.unwrap_or_default())
        }
    })
}

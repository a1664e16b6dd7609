//! How long a backend may take, and when it is left alone for a while: plain settings.
//! Backends say what they need, builders and URLs change it, the guard keeps to it.

use std::time::Duration;

use crate::backend::url::StoreUrl;
use crate::error::Error;

/// How long the calls of a backend may take that can be slow or down, and when it is left alone for a while.
///
/// A call that takes longer is [`Error::Timeout`]. After several failures on end, timeouts included, every call is
/// [`Error::Unavailable`] at once, until a pause has passed: then one call is let through, and by what becomes of it the
/// backend is back, or left alone for a pause twice as long. The page floor makes a miss of either.
///
/// ```
/// use larder::backend::{Memory, Patience};
/// use std::time::Duration;
///
/// let cache = larder::Cache::builder(Memory::new())
///     .patience(Patience::default().get(Duration::from_millis(200)).failures(0))
///     .build();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    pub(super) connect: Duration,
    pub(super) get: Duration,
    pub(super) set: Duration,
    pub(super) failures: u32,
    pub(super) pause: Duration,
    pub(super) longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_millis(250),
            get: Duration::from_millis(50),
            set: Duration::from_millis(250),
            failures: 5,
            pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// The options by which a URL changes it.
    pub(crate) const OPTIONS: [&'static str; 5] =
        ["connect_timeout", "get_timeout", "set_timeout", "breaker_failures", "breaker_pause"];

    /// How much longer a call may take that may have to connect, which are the first one and those after a failure. 250 ms
    /// by default.
    pub fn connect(mut self, time: Duration) -> Self {
        self.connect = time;
        self
    }

    /// How long `get`, `get_many` and `contains` may take; as much again for every hundred keys more. 50 ms by default.
    pub fn get(mut self, time: Duration) -> Self {
        self.get = time;
        self
    }

    /// How long everything may take that writes; as much again for every hundred keys more. 250 ms by default. `clear`
    /// takes what it takes.
    pub fn set(mut self, time: Duration) -> Self {
        self.set = time;
        self
    }

    /// How many failures on end make the guard leave the backend alone; 5 by default, 0 for never.
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// How long it is left alone first: 2 seconds by default, a little more by chance, so that not all processes come back
    /// at once. The pause doubles each time it was in vain, up to 30 seconds, or to this where it is longer.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.longest_pause = self.longest_pause.max(pause);
        self.pause = pause;
        self
    }

    /// Changed by what a URL says.
    ///
    /// # Errors
    /// [`Error::Config`] for a value that cannot be read.
    pub(crate) fn changed_by(mut self, url: &mut StoreUrl) -> Result<Self, Error> {
        let [connect, get, set, failures, pause] = Patience::OPTIONS;
        self.connect = url.take_time(connect)?.unwrap_or(self.connect);
        self.get = url.take_time(get)?.unwrap_or(self.get);
        self.set = url.take_time(set)?.unwrap_or(self.set);
        self.failures = url.take_number(failures)?.unwrap_or(self.failures);
        match url.take_time(pause)? {
            Some(pause) => Ok(self.pause(pause)),
            None => Ok(self),
        }
    }
}

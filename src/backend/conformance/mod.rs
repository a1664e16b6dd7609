//! The contract of [`Backend`] as a suite that any backend can be held against, ours and yours.
//! The author of a backend calls [`check`] in one test; feature `conformance`.
//!
//! ```
//! use larder::backend::Memory;
//! use larder::backend::conformance::{Exceptions, check};
//!
//! # #[tokio::main] async fn main() {
//! let report = check(async |clock| Memory::builder().max_bytes(16 << 20).clock(clock).build(), Exceptions::none()).await;
//! println!("{}", report.unwrap());
//! # }
//! ```
//!
//! Run it on a multi-threaded runtime (`#[tokio::test(flavor = "multi_thread")]`), or the races are no races. The store
//! it is given is emptied: let it be one of its own.

mod lifetimes;
mod races;
mod values;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Backend, Stored};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::error::Error;

/// Where the clock of a check stands at its beginning.
const BEGINNING: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What a backend does not do, and says so in its documentation. Checks that need it are left out, and the report says
/// which.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exceptions {
    stores_nothing: bool,
    real_time: bool,
    clears_everything: bool,
    counts_unsigned: bool,
}

impl Exceptions {
    /// It does everything.
    pub fn none() -> Self {
        Exceptions::default()
    }

    /// It keeps nothing, as [`Dummy`](super::Dummy): instead of everything else, it is checked that it does so everywhere.
    pub fn stores_nothing(mut self) -> Self {
        self.stores_nothing = true;
        self
    }

    /// Its entries expire by a clock that cannot be handed to it, such as a server's, in whole seconds at the coarsest.
    /// One check then waits for four seconds; those that need an exact moment or a long time are left out.
    pub fn real_time(mut self) -> Self {
        self.real_time = true;
        self
    }

    /// Its `clear` cannot tell keys apart, and removes everything.
    pub fn clears_everything(mut self) -> Self {
        self.clears_everything = true;
        self
    }

    /// Its server counts by itself, as memcached does: down to zero and no further, nothing that is below zero already, and
    /// digits of any type. What it is checked for instead: exact sums from zero on, and that no sum beyond 63 bits stays.
    pub fn counts_unsigned(mut self) -> Self {
        self.counts_unsigned = true;
        self
    }
}

/// The rules that a backend keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The rules that were checked and held.
    pub kept: Vec<&'static str>,
    /// The rules that were left out, because of [`Exceptions`] or of what the backend says of itself.
    pub left_out: Vec<&'static str>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules kept", self.kept.len())?;
        if !self.left_out.is_empty() {
            write!(f, ", {} left out: {}", self.left_out.len(), self.left_out.join("; "))?;
        }
        Ok(())
    }
}

/// The rules that a backend breaks, each with what it did.
#[derive(Clone, PartialEq, Eq)]
pub struct Broken {
    /// The backend's name.
    pub backend: &'static str,
    /// Each broken rule, and what was seen.
    pub rules: Vec<(&'static str, String)>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the backend {:?} breaks {} rules of the contract:", self.backend, self.rules.len())?;
        self.rules.iter().try_for_each(|(rule, seen)| write!(f, "\n- {rule}: {seen}"))
    }
}

/// As [`Display`](fmt::Display), so that an `unwrap` in a test can be read.
impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Broken {}

/// Why a check failed.
struct Seen(String);

impl From<Error> for Seen {
    fn from(error: Error) -> Self {
        Seen(format!("an unexpected error: {error}"))
    }
}

type Checked = Result<(), Seen>;

/// One check's backend, clock and part of the key space.
struct Trial<B> {
    backend: Arc<B>,
    hands: ManualClock,
    exceptions: Exceptions,
    name: String,
}

impl<B> Trial<B> {
    /// A final key that no other check uses.
    fn key(&self, key: &str) -> String {
        format!("conformance:{}:{key}", self.name)
    }

    fn advance(&self, by: Duration) {
        self.hands.advance(by);
    }
}

/// A check fails with what it saw where the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($seen:tt)+) => {
        if !$condition {
            return Err($crate::backend::conformance::Seen(format!($($seen)+)));
        }
    };
}
/// A check fails where a call does not answer as it should.
macro_rules! answers {
    ($answer:expr, $expected:expr, $($what:tt)+) => {{
        let (answer, expected) = ($answer, $expected);
        if answer != expected {
            return Err($crate::backend::conformance::Seen(format!("{}: expected {}, got {}", format_args!($($what)+), $crate::backend::conformance::shown(&expected), $crate::backend::conformance::shown(&answer))));
        }
    }};
}
use {answers, ensure};

/// A value in a message, shortened where it is long.
fn shown(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{} … ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

fn stored(data: impl Into<bytes::Bytes>, flags: u32) -> Stored {
    Stored { data: data.into(), flags }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Holds a backend against the contract. `make` makes one that tells the time by the given clock; it is called once for
/// each rule, and may return another handle on the same store.
///
/// # Errors
/// [`Broken`] with every rule that it breaks.
pub async fn check<B: Backend>(make: impl AsyncFn(Clock) -> B, exceptions: Exceptions) -> Result<Report, Broken> {
    let mut report = Report::default();
    let mut broken = Broken { backend: "", rules: Vec::new() };

    macro_rules! hold {
        ($(($rule:literal, $check:path, $applies:expr)),* $(,)?) => {$(
            let hands = ManualClock::at(BEGINNING);
            let clock = if exceptions.real_time { Clock::system() } else { hands.clock() };
            let backend = Arc::new(make(clock).await);
            broken.backend = backend.name();
            let name = stringify!($check).rsplit(' ').next().unwrap_or_default().to_owned();
            let trial = Trial { backend, hands, exceptions, name };
            let applies: fn(&Trial<B>) -> bool = $applies;
            if applies(&trial) {
                match $check(&trial).await {
                    Ok(()) => report.kept.push($rule),
                    Err(Seen(seen)) => broken.rules.push(($rule, seen)),
                }
            } else {
                report.left_out.push($rule);
            }
        )*};
    }

    if exceptions.stores_nothing {
        hold![("a store that keeps nothing answers so everywhere", values::keeps_nothing, |_| true)];
    } else {
        hold![
            ("what was stored comes back, bytes and flags", values::round_trip, |_| true),
            ("a set replaces value, flags and lifetime", values::replaces, |_| true),
            ("large values come back whole", values::large, |_| true),
            ("a value over the limit is TooLarge and leaves nothing", values::too_large, values::has_a_limit),
            ("calls on a missing key say so", values::missing, |_| true),
            ("a deleted key is missing", values::deleted, |_| true),
            ("add stores only where nothing is", values::add, |_| true),
            ("incr counts integers", values::incr, |trial| !trial.exceptions.counts_unsigned),
            ("incr leaves alone what it cannot count", values::incr_refuses, |trial| !trial.exceptions.counts_unsigned),
            ("incr counts from zero on", values::incr_unsigned, |trial| trial.exceptions.counts_unsigned),
            ("bulk calls answer in the order asked", values::bulk, |_| true),
            ("any key that travels is a key", values::portable_keys, |_| true),
            ("any text is a key", values::hostile_keys, values::takes_any_key),
            ("entries expire by the clock that was given", lifetimes::clock, on_the_clock),
            ("an entry is dead from the very instant on", lifetimes::exact, on_the_clock),
            ("what never expires does not", lifetimes::never, on_the_clock),
            ("lifetimes may be longer than thirty days", lifetimes::long, on_the_clock),
            ("touch gives a new lifetime", lifetimes::touch, on_the_clock),
            ("incr and a failing add keep the lifetime", lifetimes::kept, on_the_clock),
            ("a dead entry is absent to every call", lifetimes::dead_is_absent, on_the_clock),
            ("entries expire in real time", lifetimes::real_time, |trial| trial.exceptions.real_time),
            ("of concurrent adds one wins", races::add, |_| true),
            ("concurrent incrs lose nothing", races::incr, |_| true),
            ("a dropped call gives nobody else's answer", races::dropped, |_| true),
            ("after close it works again", values::close, |_| true),
            ("clear of a prefix keeps to it", values::clear_prefix, |trial| !trial.exceptions.clears_everything),
            ("clear of nothing empties it", values::clear, |_| true),
        ];
    }
    // What only stands in for rules that are left out is not missing where they are kept.
    report.left_out.retain(|rule| *rule != "incr counts from zero on");
    if broken.rules.is_empty() { Ok(report) } else { Err(broken) }
}

fn on_the_clock<B>(trial: &Trial<B>) -> bool {
    !trial.exceptions.real_time
}

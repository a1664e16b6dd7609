//! How long a value is to live, in the words of Django's `timeout` argument (LOW-5).
//! Every storing call of the cache takes `impl Into<Timeout>`; the backend below knows only what `Lifetime` says.

use std::time::Duration;

/// How long a value lives. Whole or fractional seconds, a [`Duration`] and an `Option` of one (`None` is never, as in
/// Django) turn into it.
///
/// Zero and negative numbers mean "gone at once": a `set` with them removes what was there.
///
/// ```
/// use larder::cache::Timeout;
/// use std::time::Duration;
///
/// assert_eq!(Timeout::from(30), Timeout::After(Duration::from_secs(30)));
/// assert_eq!(Timeout::from(0.5), Timeout::After(Duration::from_millis(500)));
/// assert_eq!(Timeout::from(-1), Timeout::After(Duration::ZERO));
/// assert_eq!(Timeout::from(None), Timeout::Never);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timeout {
    /// The default timeout of the cache: 300 seconds unless its builder says otherwise (CFG-3).
    #[default]
    Default,
    /// It never expires.
    Never,
    /// It is dead that long after it was stored, from that very instant on.
    After(Duration),
}

/// Django's `TIMEOUT` setting when it is not set: 300 seconds (CFG-3).
pub(crate) const DEFAULT: Timeout = Timeout::After(Duration::from_secs(300));

/// A timeout as a backend sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// It is not to be there at all.
    Over,
    /// It lives that long; `None` is for ever. Never zero.
    Lives(Option<Duration>),
}

impl Timeout {
    pub(super) fn lifetime(self, default: Timeout) -> Lifetime {
        match self {
            Timeout::Default if default == Timeout::Default => DEFAULT.lifetime(DEFAULT),
            Timeout::Default => default.lifetime(default),
            Timeout::Never => Lifetime::Lives(None),
            Timeout::After(Duration::ZERO) => Lifetime::Over,
            Timeout::After(duration) => Lifetime::Lives(Some(duration)),
        }
    }
}

impl From<Duration> for Timeout {
    fn from(duration: Duration) -> Self {
        Timeout::After(duration)
    }
}

impl From<Option<Duration>> for Timeout {
    /// `None` is never.
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Timeout::Never, Timeout::After)
    }
}

impl From<f64> for Timeout {
    /// Seconds. What is not a number is gone at once; what is too large for a [`Duration`] never expires.
    fn from(seconds: f64) -> Self {
        if seconds.is_nan() || seconds <= 0.0 {
            return Timeout::After(Duration::ZERO);
        }
        Duration::try_from_secs_f64(seconds).map_or(Timeout::Never, Timeout::After)
    }
}

macro_rules! from_seconds {
    ($($number:ty),*) => {$(
        impl From<$number> for Timeout {
            /// Seconds; negative ones are gone at once.
            fn from(seconds: $number) -> Self {
                Timeout::After(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
            }
        }
    )*};
}

from_seconds!(i32, u32, i64, u64);

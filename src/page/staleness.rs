//! What a page is worth once its time is up, and shortly before: pure functions of times, headers and one random number.
//! The policy asks what a response grants, the stores what a page still is, the service whether to make it anew.

use std::time::Duration;

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::frame::Page;
use super::policy::is_fresh;
use super::site::Site;
use super::text::Found;
use super::visit::Visit;
use crate::clock::Timestamp;
use crate::headers::CacheControl;

/// For how many seconds after its expiry a page is still of use (RFC 5861).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grace {
    /// It is answered at once, while it is made anew.
    pub(crate) while_revalidate: u32,
    /// It is answered where the handler fails.
    pub(crate) if_error: u32,
}

/// What a layer was told of its pages; `None` where it was told nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GraceRules {
    pub(crate) while_revalidate: Option<u32>,
    pub(crate) if_error: Option<u32>,
}

/// What a response agrees to beyond its lifetime.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Terms {
    pub(crate) grace: Grace,
    /// The part of its lifetime that it may be kept longer.
    jitter: f64,
}

/// What a page is worth at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// As good as when it was made.
    Fresh,
    /// Stale, and good enough while it is made anew.
    WhileRevalidate,
    /// Stale, and better than an error.
    IfError,
    /// Nothing.
    Dead,
}

impl Grace {
    /// What a response grants by its own directives, else by the layer's rules (RFC 5861 sections 3 and 4).
    ///
    /// Nothing where it must not be used once stale (RFC 9111 section 4.2.4). `s-maxage` alone says that of shared caches,
    /// too, so the layer's rules do not go against it; a directive of RFC 5861 beside it is the origin's own word.
    pub(crate) fn of(control: &CacheControl, rules: GraceRules) -> Self {
        if must_not_outlive(control) {
            return Grace::default();
        }
        let rules = if control.has("s-maxage") { GraceRules::default() } else { rules };
        let seconds = |own: Option<u64>, rule: Option<u32>| match own {
            Some(own) => u32::try_from(own).unwrap_or(u32::MAX).min(LONGEST),
            None => rule.unwrap_or(0),
        };
        Grace {
            while_revalidate: seconds(control.stale_while_revalidate_seconds(), rules.while_revalidate),
            if_error: seconds(control.stale_if_error_seconds(), rules.if_error),
        }
    }

    /// From when on a page that expires then is of no use at all.
    pub(crate) fn end(self, expires_at: Timestamp) -> Timestamp {
        after(expires_at, self.while_revalidate.max(self.if_error))
    }

    /// What a page that expires then is worth at `now`. A period is over at its very end, as a lifetime is (MID-22).
    pub(crate) fn worth(self, expires_at: Timestamp, now: Timestamp) -> Worth {
        if is_fresh(expires_at, now) {
            Worth::Fresh
        } else if now < after(expires_at, self.while_revalidate) {
            Worth::WhileRevalidate
        } else if now < after(expires_at, self.if_error) {
            Worth::IfError
        } else {
            Worth::Dead
        }
    }
}

impl Terms {
    /// What a response with these headers agrees to, under a layer's rules.
    pub(crate) fn of(headers: &HeaderMap, rules: GraceRules, jitter: Option<f64>) -> Self {
        let control = CacheControl::from_headers(headers);
        let jitter = jitter.filter(|_| !must_not_outlive(&control)).unwrap_or(0.0);
        Terms { grace: Grace::of(&control, rules), jitter }
    }

    /// How long a page of that lifetime is kept for fresh.
    pub(crate) fn kept_for(&self, lifetime: Duration) -> Duration {
        if self.jitter > 0.0 { jittered(lifetime, self.jitter, chance()) } else { lifetime }
    }
}

impl GraceRules {
    /// These, and those of `other` where these say nothing.
    pub(crate) fn or(self, other: GraceRules) -> Self {
        GraceRules {
            while_revalidate: self.while_revalidate.or(other.while_revalidate),
            if_error: self.if_error.or(other.if_error),
        }
    }
}

impl Page {
    /// What it is worth at `now`.
    pub(crate) fn worth(&self, now: Timestamp) -> Worth {
        self.grace.worth(self.expires_at, now)
    }

    /// Whether it may stand in for an error at `now`.
    pub(crate) fn is_better_than_an_error(&self, now: Timestamp) -> bool {
        now < after(self.expires_at, self.grace.if_error)
    }

    /// From when on it is of no use at all.
    pub(crate) fn dead_at(&self) -> Timestamp {
        self.grace.end(self.expires_at)
    }
}

impl Site {
    /// Whether a fresh page is to be made anew ahead of time, by this layer's rules and by chance.
    pub(crate) fn is_due_early(&self, page: &Page, now: Timestamp) -> bool {
        let beta = self.settings.early_refresh;
        beta.is_some_and(|beta| {
            let is_due = |chance| is_due_early(page.expires_at, now, page.cost, beta, chance);
            is_due(LEAST_CHANCE) && is_due(1.0 - chance())
        })
    }
}

impl Visit {
    /// How long it waits before a stale page stands in; `None` where there is no end to it, or no such page.
    pub(crate) fn patience(&self, site: &Site) -> Option<Duration> {
        let stale = self.stale.as_ref().filter(|_| !self.is_refresh)?;
        site.settings.patience.filter(|_| stale.page.is_better_than_an_error(stale.now))
    }

    /// The stale page that it is answered with at once, while that is made anew. Without a runtime and its timers nothing
    /// could be made behind.
    pub(crate) fn answered_meanwhile(&self, site: &Site) -> Option<Box<Found>> {
        let stale = self.stale.as_ref()?;
        let is_good_enough =
            stale.page.worth(stale.now) == Worth::WhileRevalidate && site.cache().page_flights().can_wait();
        is_good_enough.then(|| stale.clone())
    }
}

/// Takes out of a request what asks for less than the whole page, or for nothing where its visitor has it already: the
/// page that is made anew by it is for everybody.
pub(crate) fn ask_for_the_whole(headers: &mut HeaderMap) {
    const ASK_FOR_LESS: [HeaderName; 6] =
        [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];
    for name in ASK_FOR_LESS {
        headers.remove(name);
    }
}

/// How long a page can be of use after its expiry, in seconds: a year, as no page is stored for ever (MID-18).
const LONGEST: u32 = 365 * 24 * 60 * 60;

/// A duration as whole seconds, a fraction counted as one, at most a year.
pub(crate) fn whole_seconds(duration: Duration) -> u32 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    u32::try_from(seconds).unwrap_or(u32::MAX).min(LONGEST)
}

fn after(time: Timestamp, seconds: u32) -> Timestamp {
    time.after(Duration::from_secs(u64::from(seconds)))
}

/// Whether a response forbids that it is used past its lifetime (RFC 9111 sections 5.2.2.2, 5.2.2.4 and 5.2.2.8).
fn must_not_outlive(control: &CacheControl) -> bool {
    control.is_must_revalidate() || control.is_proxy_revalidate() || control.is_no_cache()
}

/// A lifetime with jitter: `lifetime * (1 + fraction * chance)`, for `chance` in `0..1`.
fn jittered(lifetime: Duration, fraction: f64, chance: f64) -> Duration {
    let factor = 1.0 + fraction * chance;
    Duration::try_from_secs_f64(lifetime.as_secs_f64() * factor).unwrap_or(lifetime)
}

/// The milliseconds from one moment to another, begun ones included.
pub(crate) fn cost(begun: Timestamp, ended: Timestamp) -> u32 {
    u32::try_from(ended.since(begun).as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// Whether a fresh page is to be made anew ahead of time: `now - cost * beta * ln(chance) >= expires_at`, for `chance` in
/// `0..=1` (XFetch; Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015).
///
/// `cost` is the milliseconds that it took to make it. A page is due the more likely the nearer its expiry and the dearer
/// it is: with `beta` 1, that far ahead of it as it took to make it, for one request in `e`.
fn is_due_early(expires_at: Timestamp, now: Timestamp, cost: u32, beta: f64, chance: f64) -> bool {
    let ahead = -(f64::from(cost) / 1000.0 * beta * chance.ln());
    ahead > 0.0 && ahead >= expires_at.since(now).as_secs_f64()
}

/// Whether a response with that status is an error that a stale page may stand in for (RFC 5861 section 4). 408 is what
/// a time limit inside of the cache answers (`tower_http::timeout`), where a gateway would say 504.
pub(crate) fn is_error(status: StatusCode) -> bool {
    const ERRORS: [StatusCode; 5] = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    ERRORS.contains(&status)
}

/// Whether a response with that status says that there is no such page any more, so that a stale one must not be answered
/// again. Other answers that are not stored (a cookie for this visitor, too many requests) say nothing of the page.
pub(crate) fn is_gone(status: StatusCode) -> bool {
    const GONE: [StatusCode; 4] =
        [StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::MOVED_PERMANENTLY, StatusCode::PERMANENT_REDIRECT];
    GONE.contains(&status)
}

/// A random number from 0 on and below 1.
fn chance() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish() >> (u64::BITS - f64::MANTISSA_DIGITS);
    random as f64 * LEAST_CHANCE
}

/// The step between two random numbers: no chance is smaller, but none at all.
const LEAST_CHANCE: f64 = f64::EPSILON / 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRY: Timestamp = Timestamp::from_secs(1_000);
    const LAYER: GraceRules = GraceRules { while_revalidate: Some(5), if_error: Some(50) };

    fn granted(control: &str, rules: GraceRules) -> (u32, u32) {
        let grace = Grace::of(&control.parse().unwrap(), rules);
        (grace.while_revalidate, grace.if_error)
    }

    #[test]
    fn a_response_says_how_long_it_is_of_use_and_else_the_layer_does() {
        let nothing = GraceRules::default();
        assert_eq!(granted("max-age=60", nothing), (0, 0));
        assert_eq!(granted("max-age=60", LAYER), (5, 50));
        assert_eq!(granted("stale-while-revalidate=30, stale-if-error=60", nothing), (30, 60));
        assert_eq!(granted("stale-while-revalidate=30", LAYER), (30, 50));
        assert_eq!(granted("stale-while-revalidate=0, stale-if-error=0", LAYER), (0, 0));
        assert_eq!(granted("stale-while-revalidate=soon, stale-if-error", LAYER), (5, 50), "that is no number");
        assert_eq!(granted("stale-if-error=99999999999999999999", nothing), (0, LONGEST));
    }

    #[test]
    fn what_must_be_revalidated_is_of_no_use_when_stale() {
        for forbidden in ["must-revalidate", "Proxy-Revalidate", "no-cache", "no-cache=\"link\""] {
            assert_eq!(granted(forbidden, LAYER), (0, 0), "{forbidden}");
            let both = format!("stale-while-revalidate=30, stale-if-error=60, {forbidden}");
            assert_eq!(granted(&both, LAYER), (0, 0), "{both}");
        }
    }

    #[test]
    fn s_maxage_goes_before_the_layer_and_not_before_the_response_itself() {
        assert_eq!(granted("s-maxage=60", LAYER), (0, 0));
        assert_eq!(granted("s-maxage=60, stale-while-revalidate=30", LAYER), (30, 0));
    }

    #[test]
    fn an_inner_layer_goes_before_an_outer_one() {
        let inner = GraceRules { while_revalidate: Some(0), if_error: None };
        assert_eq!(inner.or(LAYER), GraceRules { while_revalidate: Some(0), if_error: Some(50) });
    }

    #[test]
    fn a_page_goes_through_its_periods() {
        let worth = |while_revalidate, if_error, late: i64| {
            let now = Timestamp::from_nanos(EXPIRY.as_nanos().wrapping_add_signed(late));
            Grace { while_revalidate, if_error }.worth(EXPIRY, now)
        };
        const SECOND: i64 = 1_000_000_000;
        assert_eq!(worth(5, 50, -1), Worth::Fresh);
        assert_eq!(worth(5, 50, 0), Worth::WhileRevalidate);
        assert_eq!(worth(5, 50, 5 * SECOND - 1), Worth::WhileRevalidate);
        assert_eq!(worth(5, 50, 5 * SECOND), Worth::IfError);
        assert_eq!(worth(5, 50, 50 * SECOND - 1), Worth::IfError);
        assert_eq!(worth(5, 50, 50 * SECOND), Worth::Dead);
        assert_eq!(worth(0, 0, 0), Worth::Dead);
        assert_eq!(worth(50, 5, 20 * SECOND), Worth::WhileRevalidate);
        assert_eq!(Grace { while_revalidate: 7, if_error: 3 }.end(EXPIRY), Timestamp::from_secs(1_007));
        let endless = Grace { while_revalidate: LONGEST, if_error: LONGEST };
        assert_eq!(endless.worth(Timestamp::NEVER, Timestamp::from_secs(2_000)), Worth::Fresh);
    }

    #[test]
    fn what_must_be_revalidated_lives_no_longer_by_jitter() {
        let kept = |control: &'static str| {
            let headers = HeaderMap::from_iter([(http::header::CACHE_CONTROL, control.parse().unwrap())]);
            let kept = Terms::of(&headers, GraceRules::default(), Some(1.0)).kept_for(Duration::from_secs(60));
            (60.0..120.0).contains(&kept.as_secs_f64()).then_some(kept > Duration::from_secs(60))
        };
        assert_eq!(kept("max-age=60"), Some(true));
        assert_eq!(kept("max-age=60, must-revalidate"), Some(false));
    }

    #[test]
    fn costs_are_whole_milliseconds() {
        let cost = |nanos| cost(EXPIRY, Timestamp::from_nanos(EXPIRY.as_nanos() + nanos));
        assert_eq!([0, 1, 1_000_000, 1_000_001].map(cost), [0, 1, 1, 2]);
        assert_eq!(super::cost(EXPIRY, Timestamp::NEVER), u32::MAX);
        assert_eq!(super::cost(EXPIRY, Timestamp::from_secs(1)), 0, "the clock was set back");
    }

    #[test]
    fn fractions_of_a_second_count_as_one() {
        let seconds = [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)];
        for (milliseconds, whole) in seconds {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), whole);
        }
        assert_eq!(whole_seconds(Duration::MAX), LONGEST);
    }

    #[test]
    fn a_lifetime_grows_by_its_part_of_the_fraction() {
        let minute = Duration::from_secs(60);
        assert_eq!(jittered(minute, 0.1, 0.0), minute);
        assert_eq!(jittered(minute, 0.1, 0.5), Duration::from_secs(63));
        assert_eq!(jittered(minute, 0.0, 0.9), minute);
        assert_eq!(jittered(Duration::MAX, 1.0, 0.9), Duration::MAX, "what is out of range stays as it is");
    }

    #[test]
    fn a_page_is_due_early_by_its_cost_and_by_chance() {
        // 2 s to make, 1 s before its expiry: due where -2 ln(chance) >= 1, so for chances of at most 0.6065.
        let due = |beta, chance| is_due_early(EXPIRY, Timestamp::from_secs(999), 2_000, beta, chance);
        assert!(due(1.0, 0.606) && !due(1.0, 0.607));
        assert!(due(2.0, 0.778) && !due(2.0, 0.779), "a greater beta is earlier");
        assert!(!due(0.0, 0.0001), "off");
        assert!(due(1.0, 0.0) && !due(1.0, 1.0), "certain and impossible");
        assert!(!is_due_early(EXPIRY, Timestamp::from_secs(999), 0, 1.0, 0.0001), "what costs nothing is not due");
        assert!(!is_due_early(EXPIRY, Timestamp::from_secs(1), 2_000, 1.0, 0.0001), "far ahead");
    }

    #[test]
    fn as_many_pages_are_due_early_as_the_formula_says() {
        let mut due = 0;
        for _ in 0..100_000 {
            due += u32::from(is_due_early(EXPIRY, Timestamp::from_secs(999), 1_000, 1.0, 1.0 - chance()));
        }
        // One in e, give or take seven standard deviations.
        assert!((35_700..37_900).contains(&due), "{due}");
    }
}

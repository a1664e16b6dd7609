//! Which `Vary` values the pages of a site lately had, so that a page can be asked for before it is known which it has.
//! The text store asks for such pages together with what is known of the URL: a hit is then one round trip.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::key_scheme::KeyScheme;

/// A few `Vary` values, the newest first. A clone is another handle on the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Likely(Arc<ArcSwap<Vec<LikelyVary>>>);

/// A `Vary` value, and what of it goes into textual keys, so that this is not read out of it for each request.
#[derive(Clone, Debug, Default)]
pub(crate) struct LikelyVary {
    text: Option<String>,
    names: Vec<String>,
    names_beside_language: Vec<String>,
}

impl LikelyVary {
    fn of(vary: Option<&str>, scheme: KeyScheme) -> Self {
        let names = |language_is_keyed| scheme.header_names(vary, language_is_keyed);
        LikelyVary { text: vary.map(str::to_owned), names: names(false), names_beside_language: names(true) }
    }

    /// The value; `None` where there was no such header.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// What [`KeyScheme::header_names`] makes of it.
    pub(crate) fn names(&self, language_is_keyed: bool) -> &[String] {
        if language_is_keyed { &self.names_beside_language } else { &self.names }
    }
}

/// How many there are. Each is one more key in every look-up, and most sites have one or two.
const MOST: usize = 3;

/// A longer value is no common one, and would not be worth its place.
const LONGEST: usize = 512;

impl Default for Likely {
    /// No `Vary` at all.
    fn default() -> Self {
        Likely(Arc::new(ArcSwap::from_pointee(vec![LikelyVary::default()])))
    }
}

impl Likely {
    /// The values.
    pub(crate) fn values(&self) -> Arc<Vec<LikelyVary>> {
        self.0.load_full()
    }

    /// Takes note of a value that a page had; the oldest goes for it.
    pub(crate) fn note(&self, vary: Option<&str>, scheme: KeyScheme) {
        let is_noted = |values: &[LikelyVary]| values.iter().any(|value| value.text() == vary);
        if vary.is_some_and(|vary| vary.len() > LONGEST) || is_noted(&self.0.load()) {
            return;
        }
        self.0.rcu(|values| {
            let mut values = Vec::clone(values);
            if !is_noted(&values) {
                values.insert(0, LikelyVary::of(vary, scheme));
                values.truncate(MOST);
            }
            values
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(likely: &Likely) -> Vec<Option<String>> {
        likely.values().iter().map(|value| value.text.clone()).collect()
    }

    #[test]
    fn the_newest_few_values_are_kept() {
        let likely = Likely::default();
        assert_eq!(values(&likely), [None]);
        for vary in ["Cookie", "Accept", "Cookie", "Origin"] {
            likely.note(Some(vary), KeyScheme::Sha256);
        }
        assert_eq!(values(&likely), ["Origin", "Accept", "Cookie"].map(|vary| Some(vary.to_owned())));
    }

    #[test]
    fn a_flood_of_values_takes_no_room() {
        let likely = Likely::default();
        for number in 0..10_000 {
            likely.note(Some(&format!("x-{number}")), KeyScheme::Sha256);
            likely.note(Some(&"x".repeat(10_000)), KeyScheme::Sha256);
        }
        assert_eq!(values(&likely).len(), MOST);
        assert!(values(&likely).iter().flatten().all(|vary| vary.len() <= LONGEST));
    }
}

//! Which keys had a large value when they were last seen: a hint by which the lanes keep large values apart, so that they do
//! not hold up small ones. A wrong hint costs a little time and nothing else.

use super::marks::{Mark, Marks};

/// From this size on a value is large, in bytes.
pub(crate) const LARGE: usize = 16 * 1024;

/// What is known of the sizes of values.
pub(crate) struct Sizes(Marks);

impl Sizes {
    pub(crate) fn new() -> Sizes {
        Sizes(Marks::new())
    }

    /// Whether the key's value was large.
    pub(crate) fn is_large(&self, mark: Mark) -> bool {
        self.0.has(mark.group())
    }

    /// Takes note of a size, in bytes.
    pub(crate) fn note(&self, mark: Mark, size: usize) {
        self.0.put(mark.group(), size >= LARGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_size_counts() {
        let (sizes, mark) = (Sizes::new(), Mark::of(b"key"));
        for (size, is_large) in [(0, false), (LARGE, true), (LARGE * 2, true), (LARGE - 1, false)] {
            sizes.note(mark, size);
            assert_eq!(sizes.is_large(mark), is_large, "{size}");
        }
    }
}

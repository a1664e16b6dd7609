//! A line of the text protocols, word by word. The meta decoder reads with it.

/// A line without its end, and how far it was read.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Line<'a> {
    pub(super) fn new(whole: &'a [u8]) -> Line<'a> {
        Line { whole, rest: whole }
    }

    /// The first word of the line.
    pub(super) fn word(&self) -> &'a [u8] {
        let end = self.whole.iter().position(|byte| *byte == b' ').unwrap_or(self.whole.len());
        &self.whole[..end]
    }

    /// The next word.
    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|byte| *byte != b' ')?;
        let rest = &self.rest[start..];
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        self.rest = &rest[end..];
        Some(&rest[..end])
    }

    /// The next word as a letter and what follows it.
    pub(super) fn next_flag(&mut self) -> Option<(u8, &'a [u8])> {
        self.next().and_then(|word| word.split_first()).map(|(sign, number)| (*sign, number))
    }

    /// Whether no word is left but the first.
    pub(super) fn is_single(&self) -> bool {
        self.word().len() == self.whole.trim_ascii_end().len()
    }

    /// Whether every word was read, the first one included.
    pub(super) fn is_at_end(&mut self) -> bool {
        if self.rest.len() == self.whole.len() {
            return self.is_single();
        }
        self.rest.trim_ascii().is_empty()
    }

    /// Whether these words stand behind the first.
    pub(super) fn says(&self, words: &str) -> bool {
        self.whole[self.word().len()..].trim_ascii().starts_with(words.as_bytes())
    }

    /// All of it.
    pub(super) fn whole(&self) -> &'a [u8] {
        self.whole
    }

    /// The beginning of the line, where it is the server's word about an error.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.whole[..self.whole.len().min(100)]).into_owned()
    }
}

/// A decimal number of digits alone.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

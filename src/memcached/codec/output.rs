//! Bytes on their way to a server: small pieces are gathered in one buffer, large values are passed on as they are.
//! The codecs write here, the connection takes from here.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// From this size on a value is passed on instead of copied, in bytes.
const PASSED_ON: usize = 8 * 1024;

/// From this size on a value takes so long to hand to the system that a server can wake meanwhile, in bytes.
const WORTH_A_HEAD_START: usize = 16 * 1024;

/// Bytes in the order in which they go out.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// What goes first.
    before: VecDeque<Bytes>,
    /// What goes after it, and grows.
    last: BytesMut,
    /// All of it, in bytes.
    length: usize,
}

impl Output {
    /// Adds some bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Adds a value, without a copy where it is large.
    pub(crate) fn put_data(&mut self, data: &Bytes) {
        if data.len() < PASSED_ON {
            return self.put(data);
        }
        if !self.last.is_empty() {
            self.before.push_back(self.last.split().freeze());
        }
        self.before.push_back(data.clone());
        self.length += data.len();
    }

    /// Adds a number in decimal digits.
    pub(crate) fn put_decimal(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.put(&digits[start..]);
    }

    /// Makes room for so many bytes at once.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.last.reserve(bytes);
    }

    /// All of it, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first pieces, `most` bytes at most, for one write; how many of `slices` were filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>], most: usize) -> usize {
        let pieces = self.before.iter().map(|piece| &piece[..]).chain(std::iter::once(&self.last[..]));
        let (mut filled, mut left) = (0, most);
        for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            let piece = &piece[..piece.len().min(left)];
            if piece.is_empty() {
                break;
            }
            *slice = IoSlice::new(piece);
            filled += 1;
            left -= piece.len();
        }
        filled
    }

    /// How many bytes of the first piece go before a large value, if the second piece is one.
    pub(crate) fn before_a_large_value(&self) -> Option<usize> {
        let (head, value) = (self.before.front()?.len(), self.before.get(1)?.len());
        (head < WORTH_A_HEAD_START && value >= WORTH_A_HEAD_START).then_some(head)
    }

    /// Forgets the first bytes: they are written.
    pub(crate) fn advance(&mut self, mut bytes: usize) {
        self.length = self.length.saturating_sub(bytes);
        while let Some(first) = self.before.front_mut() {
            if bytes < first.len() {
                return first.advance(bytes);
            }
            bytes -= first.len();
            self.before.pop_front();
        }
        self.last.advance(bytes.min(self.last.len()));
    }

    /// Everything in one piece; for handshakes and tests.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.length);
        self.before.iter().for_each(|piece| all.put_slice(piece));
        all.put_slice(&self.last);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(output: &mut Output, at_a_time: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = output.slices(&mut slices, 5000);
            let joined: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            assert!((1..=5000).contains(&joined.len()));
            let taken = at_a_time.min(joined.len());
            all.extend_from_slice(&joined[..taken]);
            output.advance(taken);
        }
        all
    }

    #[test]
    fn pieces_go_out_in_order_however_little_is_written_at_a_time() {
        let large = Bytes::from(vec![b'x'; PASSED_ON]);
        let expected = [b"ms a 8192\r\n", &large[..], b"\r\nms b 8192\r\n", &large[..], b"\r\n"].concat();
        for at_a_time in [61, 8191, 8192, 1 << 20] {
            let mut output = Output::default();
            output.put(b"ms a ");
            output.put_decimal(8192);
            output.put(b"\r\n");
            output.put_data(&large);
            output.put(b"\r\nms b 8192\r\n");
            output.put_data(&large);
            output.put_data(&Bytes::from_static(b"\r\n"));
            assert_eq!((output.len(), output.to_vec() == expected), (expected.len(), true));
            assert!(written(&mut output, at_a_time) == expected, "{at_a_time}");
        }
    }

    #[test]
    fn only_a_large_value_behind_something_small_has_a_head_start() {
        let value = |length: usize| Bytes::from(vec![b'x'; length]);
        let output = |head: usize, length: usize| {
            let mut output = Output::default();
            output.put(&vec![b'h'; head]);
            output.put_data(&value(length));
            output
        };
        assert_eq!(output(30, WORTH_A_HEAD_START).before_a_large_value(), Some(30));
        assert_eq!(output(30, WORTH_A_HEAD_START - 1).before_a_large_value(), None);
        assert_eq!(output(WORTH_A_HEAD_START, WORTH_A_HEAD_START).before_a_large_value(), None);
        assert_eq!(output(0, WORTH_A_HEAD_START).before_a_large_value(), None);
        let mut begun = output(30, WORTH_A_HEAD_START);
        begun.advance(10);
        assert_eq!(begun.before_a_large_value(), Some(20));
        begun.advance(20);
        assert_eq!(begun.before_a_large_value(), None);
    }

    #[test]
    fn numbers_are_decimal() {
        let mut output = Output::default();
        for number in [0, 7, 10, u64::MAX] {
            output.put_decimal(number);
            output.put(b" ");
        }
        assert_eq!(output.to_vec(), b"0 7 10 18446744073709551615 ");
    }
}

//! Lengths and pieces: the few bytes a stored page is put together from and taken apart into.
//! The frame, the head and the variant write with it; reading never trusts a length.

/// Writes a number in as few bytes as it needs (LEB128).
pub(super) fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8 & 0x7F) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes a piece behind its length.
pub(super) fn write_piece(out: &mut Vec<u8>, piece: &[u8]) {
    write_number(out, piece.len() as u64);
    out.extend_from_slice(piece);
}

/// Takes pieces off the front of bytes that may be anything.
pub(super) struct Pieces<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Pieces { bytes, position: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let piece = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(piece)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        // Nearly every number is one byte.
        if let Some(byte @ 0..0x80) = self.bytes.get(self.position) {
            self.position += 1;
            return Some(u64::from(*byte));
        }
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(super) fn piece(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// Where the next byte would be taken from.
    pub(super) fn position(&self) -> usize {
        self.position
    }
}

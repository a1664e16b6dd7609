//! Highest random weight, as pymemcache computes it: every server is scored with the key, the highest score wins.
//! Scores are MurmurHash3 of `{server}-{key}`, over the characters and not over the bytes of the text.

use super::Node;

#[derive(Clone, Debug)]
pub(super) struct Rendezvous {
    nodes: Vec<Named>,
}

#[derive(Clone, Debug)]
struct Named {
    name: String,
    /// Has read `{name}-`.
    begun: Murmur3,
}

impl Rendezvous {
    pub(super) fn new(nodes: &[Node]) -> Self {
        let named = |node: &Node| {
            let name = match node.port {
                Some(port) => format!("{}:{port}", node.host),
                None => node.host.clone(),
            };
            let begun = Murmur3::default().read_text(format!("{name}-").as_bytes());
            Named { name, begun }
        };
        Rendezvous { nodes: nodes.iter().map(named).collect() }
    }

    pub(super) fn server_of(&self, key: &[u8]) -> usize {
        self.server_among(key, |_| true).unwrap_or(0)
    }

    /// The highest score of those that are up; of two servers with one score the one with the larger name, and of two
    /// with one name the first.
    pub(super) fn server_among(&self, key: &[u8], is_up: impl Fn(usize) -> bool) -> Option<usize> {
        let scored = self.nodes.iter().enumerate().filter(|(server, _)| is_up(*server)).map(|(server, node)| {
            let score = node.begun.read_text(key).finish();
            (score, &node.name, std::cmp::Reverse(server))
        });
        scored.max().map(|(_, _, std::cmp::Reverse(server))| server)
    }
}

/// MurmurHash3, 32 bits, seed 0, which can be fed in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Murmur3 {
    hash: u32,
    /// Up to three bytes that do not fill a word yet, little-endian.
    pending: u32,
    length: u32,
}

impl Murmur3 {
    /// Reads a text as Python does: one unit a character, of which the low eight bits count. What is no UTF-8 counts as
    /// its bytes.
    fn read_text(self, text: &[u8]) -> Self {
        if !text.is_ascii()
            && let Ok(text) = str::from_utf8(text)
        {
            return text.chars().fold(self, |hash, character| hash.read((character as u32 & 0xff) as u8));
        }
        text.iter().fold(self, |hash, byte| hash.read(*byte))
    }

    fn read(mut self, byte: u8) -> Self {
        let position = self.length % 4;
        self.pending |= u32::from(byte) << (8 * position);
        self.length = self.length.wrapping_add(1);
        if position == 3 {
            self.hash = (self.hash ^ scrambled(self.pending)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
            self.pending = 0;
        }
        self
    }

    fn finish(self) -> u32 {
        let mut hash = self.hash;
        if !self.length.is_multiple_of(4) {
            hash ^= scrambled(self.pending);
        }
        hash ^= self.length;
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        hash ^ hash >> 16
    }
}

fn scrambled(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published values of MurmurHash3_x86_32 with seed 0.
    #[test]
    fn murmur3_is_the_published_one() {
        for (text, hash) in [("", 0), ("test", 0xba6b_d213), ("Hello, world!", 0xc036_3e43)] {
            assert_eq!(Murmur3::default().read_text(text.as_bytes()).finish(), hash, "{text:?}");
        }
    }
}

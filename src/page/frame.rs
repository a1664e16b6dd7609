//! A stored page: one contiguous buffer of variant, head and body with the times beside it, and the frame that carries
//! it through a byte store. The shelf keeps pages as they are, the text store as frames.

use bytes::{BufMut, Bytes};
use http::StatusCode;

use super::pieces::Pieces;
use super::staleness::Grace;
use super::tags::Tagged;
use crate::cache::TagName;
use crate::cache::stamps::Stamp;
use crate::clock::Timestamp;

/// A page as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) stored_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// Seconds it was old when it was stored (its own `Age`).
    pub(crate) age: u32,
    pub(crate) status: StatusCode,
    /// It answers a HEAD; there is no body.
    pub(crate) is_head: bool,
    /// Its `Cache-Control` says `public`: it may answer requests with credentials.
    pub(crate) is_public: bool,
    /// How long it is of use after its expiry.
    pub(crate) grace: Grace,
    /// Milliseconds that it took to make it.
    pub(crate) cost: u32,
    /// Its tags, where it lies in this process's memory and has some.
    pub(crate) tagged: Option<Box<Tagged>>,
    variant: u32,
    head: u32,
    buffer: Bytes,
}

/// What is known of a page before its pieces.
pub(crate) struct PageFacts {
    pub(crate) stored_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) age: u32,
    pub(crate) status: StatusCode,
    pub(crate) is_head: bool,
    pub(crate) is_public: bool,
    pub(crate) grace: Grace,
    pub(crate) cost: u32,
    pub(crate) tagged: Option<Box<Tagged>>,
}

impl Page {
    /// Puts a page together. `prefix` is variant and head, in that order, `variant` the length of the first. Gives the body
    /// back where they are too long for any page.
    pub(crate) fn new(facts: PageFacts, prefix: &[u8], variant: usize, body: Vec<Bytes>) -> Result<Self, Vec<Bytes>> {
        let head = prefix.len().checked_sub(variant).and_then(|head| u32::try_from(head).ok());
        let (Ok(variant), Some(head)) = (u32::try_from(variant), head) else { return Err(body) };
        let size = body.iter().map(Bytes::len).sum::<usize>();
        let mut buffer = Vec::with_capacity(prefix.len() + size);
        buffer.extend_from_slice(prefix);
        // Each piece goes as soon as it is copied.
        body.into_iter().for_each(|piece| buffer.extend_from_slice(&piece));
        Ok(Page {
            stored_at: facts.stored_at,
            expires_at: facts.expires_at,
            age: facts.age,
            status: facts.status,
            is_head: facts.is_head,
            is_public: facts.is_public,
            grace: facts.grace,
            cost: facts.cost,
            tagged: facts.tagged,
            variant,
            head,
            buffer: buffer.into(),
        })
    }

    /// The values the page varies on; see [`super::variant`].
    pub(crate) fn variant(&self) -> &[u8] {
        &self.buffer[..self.variant as usize]
    }

    /// The header block; see [`super::head`].
    pub(crate) fn head(&self) -> Bytes {
        self.buffer.slice(self.variant as usize..self.body_start())
    }

    /// The body, without a copy.
    pub(crate) fn body(&self) -> Bytes {
        self.buffer.slice(self.body_start()..)
    }

    /// Bytes of variant, head, body and tags.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len() + self.tagged.as_ref().map_or(0, |tagged| tagged.size())
    }

    /// Whether it answers the same requests of its address as `other` does.
    pub(crate) fn is_for_the_same(&self, other: &Page) -> bool {
        self.is_head == other.is_head && self.variant() == other.variant()
    }

    /// Whether it answers the same requests as `other`, and was made later.
    pub(crate) fn is_newer_than(&self, other: &Page) -> bool {
        self.is_for_the_same(other) && self.stored_at > other.stored_at
    }

    /// Seconds the page is old at `now` (RFC 9111, section 4.2.3).
    pub(crate) fn age_at(&self, now: Timestamp) -> u64 {
        now.since(self.stored_at).as_secs() + u64::from(self.age)
    }

    fn body_start(&self) -> usize {
        self.variant as usize + self.head as usize
    }
}

/// A page as a byte store has it: with the address it belongs to, the generation of the list that knows it, and the stamps
/// that must be in their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) generation: u64,
    /// The stamp of its URL.
    pub(crate) stamp: Stamp,
    /// The stamps of its tags.
    pub(crate) tags: Vec<(TagName, Stamp)>,
    pub(crate) address: Bytes,
    pub(crate) page: Page,
}

/// It begins as a pickle of `None`: a Django that shares the store takes a frame for a miss.
const MAGIC: [u8; 8] = *b"\x80\x04N.lard";
const VERSION: u8 = 3;
const CHECKED_FROM: usize = MAGIC.len() + 1 + 4;
const HEAD_BIT: u8 = 1;
const PUBLIC_BIT: u8 = 2;
/// Bytes of a tag's name and stamp.
const TAG: usize = 16 + 8;

impl Frame {
    /// The bytes of a frame.
    pub(crate) fn write(&self) -> Bytes {
        let page = &self.page;
        let mut out =
            Vec::with_capacity(CHECKED_FROM + 73 + TAG * self.tags.len() + self.address.len() + page.buffer.len());
        out.put_slice(&MAGIC);
        out.put_u8(VERSION);
        out.put_u32_le(0);
        out.put_u64_le(self.generation);
        out.put_u64_le(page.stored_at.as_nanos());
        out.put_u64_le(page.expires_at.as_nanos());
        out.put_u32_le(page.age);
        out.put_u16_le(page.status.as_u16());
        out.put_u8(u8::from(page.is_head) * HEAD_BIT + u8::from(page.is_public) * PUBLIC_BIT);
        out.put_u32_le(self.address.len() as u32);
        out.put_u32_le(page.variant);
        out.put_u32_le(page.head);
        out.put_u64_le(page.buffer.len() as u64);
        out.put_u32_le(page.grace.while_revalidate);
        out.put_u32_le(page.grace.if_error);
        out.put_u32_le(page.cost);
        out.put_u64_le(self.stamp.number());
        out.put_u16_le(self.tags.len() as u16);
        for (name, stamp) in &self.tags {
            out.put_slice(name.as_bytes());
            out.put_u64_le(stamp.number());
        }
        out.put_slice(&self.address);
        out.put_slice(&page.buffer);
        let checksum = crc32fast::hash(&out[CHECKED_FROM..]);
        out[MAGIC.len() + 1..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        out.into()
    }

    /// The checksum that a frame bears, right or wrong; `None` for bytes that are too short for one.
    pub(crate) fn checksum(bytes: &[u8]) -> Option<u32> {
        bytes.get(MAGIC.len() + 1..CHECKED_FROM)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// Reads a frame. Whatever is not exactly one, of this version, is `None`: a miss (safety rule 21).
    pub(crate) fn read(bytes: &Bytes) -> Option<Self> {
        let mut pieces = Pieces::of(bytes);
        if pieces.array()? != MAGIC || pieces.array()? != [VERSION] {
            return None;
        }
        if u32::from_le_bytes(pieces.array()?) != crc32fast::hash(&bytes[CHECKED_FROM..]) {
            return None;
        }
        let generation = u64::from_le_bytes(pieces.array()?);
        let stored_at = Timestamp::from_nanos(u64::from_le_bytes(pieces.array()?));
        let expires_at = Timestamp::from_nanos(u64::from_le_bytes(pieces.array()?));
        let age = u32::from_le_bytes(pieces.array()?);
        let status = StatusCode::from_u16(u16::from_le_bytes(pieces.array()?)).ok()?;
        let [bits] = pieces.array()?;
        let address = u32::from_le_bytes(pieces.array()?) as usize;
        let variant = u32::from_le_bytes(pieces.array()?);
        let head = u32::from_le_bytes(pieces.array()?);
        let length = usize::try_from(u64::from_le_bytes(pieces.array()?)).ok()?;
        let grace = Grace {
            while_revalidate: u32::from_le_bytes(pieces.array()?),
            if_error: u32::from_le_bytes(pieces.array()?),
        };
        let cost = u32::from_le_bytes(pieces.array()?);
        let stamp = Stamp::from_number(u64::from_le_bytes(pieces.array()?));
        let tags = (0..u16::from_le_bytes(pieces.array()?)).map(|_| read_tag(&mut pieces)).collect::<Option<_>>()?;
        let start = pieces.position();
        pieces.take(address)?;
        let buffer = pieces.position();
        pieces.take(length)?;
        let fits = (variant as usize).checked_add(head as usize)? <= length;
        if !pieces.is_at_end() || !fits || bits > HEAD_BIT + PUBLIC_BIT {
            return None;
        }
        Some(Frame {
            generation,
            stamp,
            tags,
            address: bytes.slice(start..buffer),
            page: Page {
                stored_at,
                expires_at,
                age,
                status,
                is_head: bits & HEAD_BIT != 0,
                is_public: bits & PUBLIC_BIT != 0,
                grace,
                cost,
                tagged: None,
                variant,
                head,
                buffer: bytes.slice(buffer..),
            },
        })
    }
}

fn read_tag(pieces: &mut Pieces<'_>) -> Option<(TagName, Stamp)> {
    let name = TagName::from_bytes(pieces.array()?);
    Some((name, Stamp::from_number(u64::from_le_bytes(pieces.array()?))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::head::write_head;
    use crate::page::variant::{Seen, is_for, write_variant};
    use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn seen() -> Seen<'static> {
        Seen::of(&http::Request::new(())).into_owned()
    }

    fn page(headers: &HeaderMap, request: &HeaderMap, names: &[HeaderName], body: &[u8]) -> Page {
        let mut prefix = Vec::new();
        write_variant(&mut prefix, &seen(), names, request);
        let variant = prefix.len();
        write_head(&mut prefix, headers, |_| true);
        let facts = PageFacts {
            stored_at: Timestamp::from_secs(1_000),
            expires_at: Timestamp::from_secs(1_600),
            age: 7,
            status: StatusCode::OK,
            is_head: false,
            is_public: true,
            grace: Grace { while_revalidate: 30, if_error: 86_400 },
            cost: 250,
            tagged: None,
        };
        Page::new(facts, &prefix, variant, vec![Bytes::copy_from_slice(body)]).unwrap()
    }

    fn frame(page: Page) -> Frame {
        let tags = [1, 2].map(|tag| (TagName::from_bytes([tag; 16]), Stamp::from_number(u64::from(tag)))).to_vec();
        Frame { generation: 42, stamp: Stamp::from_number(7), tags, address: Bytes::from_static(b"an address"), page }
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.append("x-own", HeaderValue::from_bytes(b"\xe9t\xe9").unwrap());
        headers.append("x-own", HeaderValue::from_static(""));
        let written = frame(page(&headers, &HeaderMap::new(), &[], b"hello"));
        let read = Frame::read(&written.write()).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.page.body(), "hello");
        assert_eq!(crate::page::head::read_head(&read.page.head(), |_| ()), Some(headers));
        assert_eq!(read.page.age_at(Timestamp::from_secs(1_030)), 37);
    }

    #[test]
    fn rule_21_bytes_that_are_no_frame_of_ours_are_a_miss() {
        let whole = frame(page(&HeaderMap::new(), &HeaderMap::new(), &[], b"hello")).write();
        for length in 0..whole.len() {
            assert_eq!(Frame::read(&whole.slice(..length)), None, "cut at {length}");
        }
        for position in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[position] ^= 0x10;
            assert_eq!(Frame::read(&bytes.into()), None, "changed at {position}");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert_eq!(Frame::read(&longer.into()), None);
    }

    #[test]
    fn rule_21_more_headers_than_a_map_holds_are_a_miss() {
        // Two bytes a header, well formed, with a checksum that is right.
        for headers in [24_575, 24_577, 100_000] {
            let block = [1, 2].repeat(headers);
            let mut forged = page(&HeaderMap::new(), &HeaderMap::new(), &[], b"");
            forged.buffer = [forged.variant(), &block].concat().into();
            forged.head = block.len() as u32;
            let read = Frame::read(&frame(forged).write()).unwrap();
            assert!(crate::page::shelf::Ready::of(&read.page).is_none(), "{headers}");
        }
    }

    #[test]
    fn rule_3_absent_empty_one_line_and_two_lines_are_four_variants() {
        let requests: Vec<HeaderMap> = [&[][..], &[""], &["a"], &["a", "b"], &["b", "a"], &["a, b"]]
            .into_iter()
            .map(|lines| {
                let lines = lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line)));
                let mut headers: HeaderMap = HeaderMap::new();
                lines.for_each(|(name, value)| {
                    headers.append(name, value);
                });
                headers
            })
            .collect();
        for (made_for, request) in requests.iter().enumerate() {
            let page = page(&HeaderMap::new(), request, &[ACCEPT, COOKIE], b"");
            for (asked_by, request) in requests.iter().enumerate() {
                assert_eq!(
                    is_for(page.variant(), Some(&seen()), request),
                    made_for == asked_by,
                    "{made_for} {asked_by}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn rule_21_any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(Frame::read(&bytes), None);
            let _ = crate::page::head::read_head(&bytes, |_| ());
            let _ = is_for(&bytes, None, &HeaderMap::new());
        }

        #[test]
        fn any_body_and_any_values_come_back(body: Vec<u8>, values in proptest::collection::vec("[ -~]{0,40}", 0..5)) {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append("x-value", HeaderValue::from_str(value).unwrap());
            }
            let written = frame(page(&headers, &headers, &[HeaderName::from_static("x-value")], &body));
            let read = Frame::read(&written.write()).unwrap();
            prop_assert_eq!(read.page.body(), body);
            prop_assert!(is_for(read.page.variant(), Some(&seen()), &headers));
        }
    }
}

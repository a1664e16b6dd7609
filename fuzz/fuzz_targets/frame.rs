//! Any bytes as the frame of a page, or as the list of what a URL varies on, in a store that is asked through the public
//! API: never a panic, and never a page of another URL or language. Run it with `cargo +nightly fuzz run frame`.
#![no_main]

#[path = "../../tests/frames/larder_of_two.rs"]
mod larder_of_two;
#[path = "../../tests/frames/texts.rs"]
mod texts;

use std::sync::LazyLock;

use larder::backend::{Stored, flags};
use larder_of_two::{LarderOfTwo, QUESTIONS};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));
static LARDER: LazyLock<LarderOfTwo> = LazyLock::new(|| RUNTIME.block_on(LarderOfTwo::new()));

/// Where a frame has its checksum, and from where on it is about.
const CHECKSUM: std::ops::Range<usize> = 9..13;

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (choice, mut bytes) = input;
    let is_list = choice & 1 == 1;
    let is_signed = choice & 2 == 2;
    let (entries, flags) = if is_list { (&LARDER.lists, flags::HEADER_LISTS) } else { (&LARDER.frames, flags::PAGE) };
    let (key, stored) = &entries[usize::from(choice >> 2) % entries.len()];
    // Bytes to change the true ones with reach further than bytes alone.
    if choice & 128 == 128 {
        let changes = std::mem::replace(&mut bytes, stored.data.to_vec());
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
            bytes[at] ^= change[2];
        }
    }
    // A checksum keeps accidents out, not forgers: get past it to what lies behind.
    if is_signed && bytes.len() > CHECKSUM.end {
        let checksum = crc32fast::hash(&bytes[CHECKSUM.end..]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }
    let is_forged = is_signed && !is_list;
    LARDER.texts.put(key, Stored { data: bytes.into(), flags });
    for question in 0..QUESTIONS.len() {
        let seen = RUNTIME.block_on(LARDER.ask(question));
        // A forger who can write to the store can write what it likes; it still must not panic.
        if let Some(seen) = seen
            && !is_forged
        {
            assert_eq!(seen, LARDER.true_pages[question]);
        }
    }
    LARDER.restore();
});

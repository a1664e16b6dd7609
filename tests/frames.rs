//! Safety rules 12 and 21 through the public API: whatever bytes lie in the store, a visitor gets the page that was
//! stored for them, or a miss. `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say how much and from where.

#[path = "frames/larder_of_two.rs"]
mod larder_of_two;
#[path = "frames/texts.rs"]
mod texts;

use std::sync::LazyLock;

use larder::backend::{Stored, flags};
use larder_of_two::{LarderOfTwo, QUESTIONS};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().unwrap());

/// One of the two kinds of entries: the frames of pages, the lists of what URLs vary on.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Frame,
    List,
}

#[derive(Clone, Debug)]
enum Damage {
    Replace(Vec<u8>),
    Flip(Index, u8),
    Truncate(Index),
    Extend(Vec<u8>),
    Remove(Index, Index),
    /// The bytes of another entry of the kind.
    Copy(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        vec(any::<u8>(), 0..300).prop_map(Damage::Replace),
        (any::<Index>(), 1u8..).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        any::<Index>().prop_map(Damage::Truncate),
        vec(any::<u8>(), 1..40).prop_map(Damage::Extend),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Remove(from, to)),
        any::<Index>().prop_map(Damage::Copy),
    ]
}

impl Damage {
    fn done_to(&self, bytes: &[u8], others: &[(String, Stored)]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Damage::Replace(with) => bytes = with.clone(),
            Damage::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Damage::Truncate(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Extend(with) => bytes.extend_from_slice(with),
            Damage::Remove(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                bytes.drain(from.min(to)..from.max(to));
            }
            Damage::Copy(other) => bytes = other.get(others).1.data.to_vec(),
        }
        bytes
    }
}

/// Damages one entry and asks every question: the true page or a miss.
fn check(larder: &LarderOfTwo, kind: Kind, which: Index, damage: &Damage, flags: u32) -> Result<(), TestCaseError> {
    let entries = match kind {
        Kind::Frame => &larder.frames,
        Kind::List => &larder.lists,
    };
    let (key, stored) = which.get(entries);
    let data = damage.done_to(&stored.data, entries).into();
    larder.texts.put(key, Stored { data, flags });
    for question in 0..QUESTIONS.len() {
        if let Some(seen) = RUNTIME.block_on(larder.ask(question)) {
            prop_assert_eq!(&seen, &larder.true_pages[question]);
        }
    }
    larder.restore();
    Ok(())
}

static LARDER: LazyLock<LarderOfTwo> = LazyLock::new(|| RUNTIME.block_on(LarderOfTwo::new()));

#[test]
fn there_is_a_frame_for_each_page_and_a_list_for_each_url() {
    let larder = RUNTIME.block_on(LarderOfTwo::new());
    assert_eq!((larder.frames.len(), larder.lists.len()), (4, 2));
}

#[test]
fn rule_12_bytes_copied_under_another_key_are_a_miss() {
    let larder = RUNTIME.block_on(LarderOfTwo::new());
    for (key, _) in &larder.frames {
        for (other, stored) in larder.frames.iter().filter(|(other, _)| other != key) {
            larder.texts.put(key, stored.clone());
            let answered = (0..QUESTIONS.len()).filter(|question| RUNTIME.block_on(larder.ask(*question)).is_some());
            assert_eq!(answered.count(), 3, "{other} under {key}");
            larder.restore();
        }
    }
}

#[test]
fn bytes_of_another_kind_are_a_miss() {
    let larder = RUNTIME.block_on(LarderOfTwo::new());
    for (key, stored) in &larder.frames {
        larder.texts.put(key, Stored { data: stored.data.clone(), flags: flags::BYTES });
    }
    for question in 0..QUESTIONS.len() {
        assert_eq!(RUNTIME.block_on(larder.ask(question)), None);
    }
}

proptest! {
    #[test]
    fn rule_21_a_damaged_frame_is_a_miss_or_the_page(which: Index, damage in damage()) {
        check(&LARDER, Kind::Frame, which, &damage, flags::PAGE)?;
    }
}

// A larder of its own: these run at the same time.
static OTHER: LazyLock<LarderOfTwo> = LazyLock::new(|| RUNTIME.block_on(LarderOfTwo::new()));

proptest! {
    #[test]
    fn rule_21_a_damaged_list_is_a_miss_or_the_page(which: Index, damage in damage()) {
        check(&OTHER, Kind::List, which, &damage, flags::HEADER_LISTS)?;
    }
}

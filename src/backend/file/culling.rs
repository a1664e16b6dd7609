//! Making room where there is too much: the dead go first, then the oldest of a part of the store.
//! The store calls it after it stored something.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::folder::SHARDS;
use super::store::{self, Store, remove};
use super::tally::{Locked, Tally};

/// How many entries are compared with each other: shards are listed, one after the other, until there are as many.
const ENOUGH: usize = 512;
/// Of those that were compared, the oldest third goes, as with Django's `CULL_FREQUENCY` of 3.
const SHARE: usize = 3;

/// Where the next culling begins. One at a time in a process.
#[derive(Default)]
pub(super) struct Culling(Mutex<usize>);

struct Entry {
    shard: usize,
    file: PathBuf,
    written_at: SystemTime,
}

impl Culling {
    /// Removes entries until there is not too much any more, but for the one in the file `newest`.
    ///
    /// A million entries lie in 256 shards of 4,000; one of them is listed, and 1,300 of its entries go. The next 1,300
    /// sets of this process then list nothing.
    pub(super) fn cull(&self, store: &Store, newest: &Path) -> io::Result<()> {
        if !is_too_much(store) {
            return Ok(());
        }
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut unseen, mut outcome) = (SHARDS, Ok(()));
        while is_too_much(store) && unseen > 0 {
            let mut living = Vec::new();
            while living.len() < ENOUGH && unseen > 0 {
                // One that cannot be read is no reason to leave the others too full.
                match sweep(store, *next, newest) {
                    Ok(entries) => living.extend(entries),
                    Err(error) => outcome = Err(error),
                }
                *next = (*next + 1) % SHARDS;
                unseen -= 1;
            }
            if is_too_much(store) {
                remove_oldest(store, living)?;
            }
        }
        outcome
    }
}

fn is_too_much(store: &Store) -> bool {
    let total = store.ledger.total();
    total.entries > store.most.entries || total.bytes > store.most.bytes
}

/// Removes the dead entries of a shard, counts the others, and lists them.
fn sweep(store: &Store, number: usize, newest: &Path) -> io::Result<Vec<Entry>> {
    let Some(mut shard) = Locked::take(&store.folder, number, false, &store.ledger)? else { return Ok(Vec::new()) };
    let now = store.clock.now();
    let (mut living, mut tally) = (Vec::new(), Tally::default());
    for file in store.folder.files(number)? {
        // What cannot be read is as old as it is: it goes with the oldest.
        let is_dead = store::head_and_key_in(&file)?.is_some_and(|(head, _)| !head.is_alive(now));
        let Ok(about) = fs::symlink_metadata(&file) else { continue };
        if is_dead && fs::remove_file(&file).is_ok() {
            continue;
        }
        tally = Tally { entries: tally.entries + 1, bytes: tally.bytes + about.len() };
        if file != newest && about.is_file() {
            let written_at = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            living.push(Entry { shard: number, file, written_at });
        }
    }
    shard.recount(tally);
    Ok(living)
}

/// Removes the oldest third of these, and more if that is not enough.
fn remove_oldest(store: &Store, mut entries: Vec<Entry>) -> io::Result<()> {
    entries.sort_by_key(|entry| entry.written_at);
    let share = entries.len() / SHARE;
    for (position, entry) in entries.into_iter().enumerate() {
        if position >= share && !is_too_much(store) {
            break;
        }
        let Some(mut shard) = Locked::take(&store.folder, entry.shard, false, &store.ledger)? else { continue };
        // Replaced meanwhile, it is an old one no more.
        let is_the_same = fs::symlink_metadata(&entry.file).and_then(|about| about.modified());
        if is_the_same.is_ok_and(|written_at| written_at == entry.written_at) {
            remove(&mut shard, &entry.file)?;
        }
    }
    Ok(())
}

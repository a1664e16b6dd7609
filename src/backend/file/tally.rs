//! How much lies in the store: exact for a shard while it is locked, as last heard for all of them together.
//! The store keeps the counts as it writes; whether there is too much is decided by them, without listing a directory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use fs4::FileExt;

use super::folder::{Folder, SHARDS};

/// Entries and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Tally {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.entries.to_le_bytes());
        bytes[8..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        let number = |from: usize| bytes[from..from + 8].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Tally { entries: number(0), bytes: number(8) }
    }
}

/// A shard that nobody else changes: no other thread, and no other process. Readers do not ask.
///
/// The lock is the system's, on the file that holds the shard's tally: it ends with the process that holds it, however
/// that ends.
pub(super) struct Locked<'a> {
    file: File,
    shard: usize,
    tally: Tally,
    was: Tally,
    ledger: &'a Ledger,
}

impl<'a> Locked<'a> {
    /// Waits for the lock of a shard. `None` where the shard is not there, and may not be made.
    pub(super) fn take(
        folder: &Folder,
        shard: usize,
        may_be_made: bool,
        ledger: &'a Ledger,
    ) -> io::Result<Option<Self>> {
        let mut file = match folder.open_lock(shard, may_be_made) {
            Err(error) if !may_be_made && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        FileExt::lock(&file)?;
        let tally = read_tally(&mut file);
        ledger.hear(shard, tally);
        Ok(Some(Locked { file, shard, tally, was: tally, ledger }))
    }

    /// Counts a file that came in the place of one that was `old` bytes long, if there was one.
    pub(super) fn count(&mut self, old: Option<u64>, new: Option<u64>) {
        let Tally { entries, bytes } = self.tally;
        let entries = entries.saturating_add(u64::from(new.is_some())).saturating_sub(u64::from(old.is_some()));
        let bytes = bytes.saturating_add(new.unwrap_or(0)).saturating_sub(old.unwrap_or(0));
        self.tally = Tally { entries, bytes };
    }

    /// Puts right what a crash between a change and its count made wrong.
    pub(super) fn recount(&mut self, tally: Tally) {
        self.tally = tally;
    }
}

/// The lock ends where the file is closed. A count that cannot be written, on a full disk, is put right by the next
/// recount.
impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.tally != self.was {
            let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(&self.tally.to_bytes()));
            if let Err(error) = written {
                tracing::debug!(target: "larder", %error, "the count of a file cache could not be written");
            }
        }
        self.ledger.hear(self.shard, self.tally);
    }
}

fn read_tally(file: &mut File) -> Tally {
    let mut bytes = [0; 16];
    match file.read_exact(&mut bytes) {
        Ok(()) => Tally::from_bytes(bytes),
        // A new lock: nothing was counted so far.
        Err(_) => Tally::default(),
    }
}

/// What this process last heard of each shard. Other processes change shards too; whenever this one locks a shard it hears
/// of that, and from time to time it asks for all.
pub(super) struct Ledger {
    shards: Vec<(AtomicU64, AtomicU64)>,
    changes: AtomicU64,
    asking: Mutex<()>,
}

/// After how many changes all shards are asked again.
const CHANGES: u64 = 1024;

impl Ledger {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Default::default()).collect();
        Ledger { shards, changes: AtomicU64::new(0), asking: Mutex::new(()) }
    }

    fn hear(&self, shard: usize, tally: Tally) {
        let (entries, bytes) = &self.shards[shard];
        entries.store(tally.entries, Ordering::Relaxed);
        bytes.store(tally.bytes, Ordering::Relaxed);
    }

    pub(super) fn total(&self) -> Tally {
        self.shards.iter().fold(Tally::default(), |sum, (entries, bytes)| Tally {
            entries: sum.entries.saturating_add(entries.load(Ordering::Relaxed)),
            bytes: sum.bytes.saturating_add(bytes.load(Ordering::Relaxed)),
        })
    }

    /// Says once at the beginning, and then from time to time, that it is time to ask for all.
    pub(super) fn is_due(&self) -> bool {
        self.changes.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHANGES)
    }

    /// Asks for all: 256 small files are read, no directory is listed.
    pub(super) fn ask_all(&self, folder: &Folder) {
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in 0..SHARDS {
            let tally = folder.open_lock(shard, false).map(|mut file| read_tally(&mut file)).unwrap_or_default();
            self.hear(shard, tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_are_written_and_read() {
        let tally = Tally { entries: 3, bytes: u64::MAX - 5 };
        assert_eq!(Tally::from_bytes(tally.to_bytes()), tally);
    }
}

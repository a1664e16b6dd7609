//! The store on disk, as plain blocking calls: what is read, what is written, in which order, and under which lock.
//! The backend calls it on threads that may block.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::culling::Culling;
use super::folder::{Folder, Place};
use super::record::{self, HEAD, Head};
use super::tally::{Ledger, Locked, Tally};
use crate::backend::{Stored, backend_error, counted};
use crate::clock::{Clock, Timestamp};
use crate::error::Error;

pub(super) const NAME: &str = "file";

/// A directory full of entries.
pub(super) struct Store {
    pub(super) folder: Folder,
    pub(super) most: Tally,
    pub(super) clock: Clock,
    pub(super) ledger: Ledger,
    pub(super) culling: Culling,
}

/// Who waits for a call. What somebody stores who is gone by then is not put in its place: it would undo what came after,
/// a deletion among it.
#[derive(Default)]
pub(super) struct Caller(AtomicBool);

impl Caller {
    pub(super) fn leave(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_gone(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error where nobody waits any more; nobody hears it.
    fn stays(&self) -> io::Result<()> {
        if self.is_gone() { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// What became of a change that needs something alive to be there, or nothing.
type Changed<T> = io::Result<Result<T, Error>>;

impl Store {
    pub(super) fn new(folder: Folder, most: Tally, clock: Clock) -> Self {
        Store { folder, most, clock, ledger: Ledger::new(), culling: Culling::default() }
    }

    /// The largest value that fits with a key of this length.
    pub(super) fn largest_value(&self, key_length: usize) -> usize {
        usize::try_from(self.most.bytes).unwrap_or(usize::MAX).saturating_sub(HEAD + key_length)
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Stored>, Error> {
        let found = self.read(&self.folder.place(key), key).map_err(|error| self.failed(error))?;
        Ok(found.map(|(_, stored)| stored))
    }

    pub(super) fn contains(&self, key: &str) -> Result<bool, Error> {
        self.is_alive(&self.folder.place(key).file, key).map_err(|error| self.failed(error))
    }

    pub(super) fn set(&self, key: &str, value: &Stored, expires_at: Timestamp, caller: &Caller) -> Result<(), Error> {
        caller.stays().map_err(|error| self.failed(error))?;
        let place = self.folder.place(key);
        let size = value.data.len();
        let limit = self.largest_value(key.len());
        if size > limit {
            self.forget(&place);
            return Err(Error::TooLarge { key: key.to_owned(), size, limit });
        }
        self.look_around();
        let set = || {
            let file = self.write(key, value, expires_at)?;
            let mut shard = self.lock(place.shard)?;
            self.put(&mut shard, file, &place.file, caller)
        };
        let stored = twice_where_removed(set).map_err(|error| self.failed(error));
        match stored {
            Ok(()) => self.make_room(&place),
            Err(_) if caller.is_gone() => {}
            // What is refused leaves nothing behind (MEM-4), not even where the disk is full.
            Err(_) => self.forget(&place),
        }
        stored
    }

    pub(super) fn add(&self, key: &str, value: &Stored, expires_at: Timestamp, caller: &Caller) -> Result<bool, Error> {
        caller.stays().map_err(|error| self.failed(error))?;
        let place = self.folder.place(key);
        let (size, limit) = (value.data.len(), self.largest_value(key.len()));
        if size > limit {
            return Err(Error::TooLarge { key: key.to_owned(), size, limit });
        }
        self.look_around();
        let add = || {
            // Read whole: what looks alive and is damaged must not be in the way for ever.
            if self.read(&place, key)?.is_some() {
                return Ok(false);
            }
            // Written before the lock is taken, so that nobody waits for a disk; looked at again under it.
            let file = self.write(key, value, expires_at)?;
            let mut shard = self.lock(place.shard)?;
            if self.read(&place, key)?.is_some() {
                return Ok(false);
            }
            self.put(&mut shard, file, &place.file, caller).map(|()| true)
        };
        let added = twice_where_removed(add).map_err(|error| self.failed(error))?;
        if added {
            self.make_room(&place);
        }
        Ok(added)
    }

    pub(super) fn touch(&self, key: &str, expires_at: Timestamp, caller: &Caller) -> Result<bool, Error> {
        let touched = self.change(key, caller, |_, stored| Ok((true, stored, expires_at)))?;
        Ok(touched.unwrap_or(false))
    }

    pub(super) fn incr(&self, key: &str, delta: i64, caller: &Caller) -> Result<Option<i64>, Error> {
        self.change(key, caller, |head, stored| {
            let (number, next) = counted(key, &stored, delta)?;
            Ok((number, next, head.expires_at))
        })
    }

    pub(super) fn delete(&self, key: &str) -> Result<bool, Error> {
        let place = self.folder.place(key);
        let delete = || {
            let Some(mut shard) = Locked::take(&self.folder, place.shard, false, &self.ledger)? else {
                return Ok(false);
            };
            let is_alive = self.is_alive(&place.file, key)?;
            remove(&mut shard, &place.file)?;
            Ok(is_alive)
        };
        delete().map_err(|error| self.failed(error))
    }

    /// Removes the entries whose keys begin with `prefix`. Every file must be opened for that, unless all are meant.
    pub(super) fn clear(&self, prefix: &str) -> Result<(), Error> {
        let clear = |number| {
            let files = self.folder.files(number)?;
            if files.is_empty() {
                return Ok(());
            }
            let mut shard = self.lock(number)?;
            for file in files {
                if prefix.is_empty() || key_in(&file)?.is_some_and(|key| key.starts_with(prefix.as_bytes())) {
                    remove(&mut shard, &file)?;
                }
            }
            Ok(())
        };
        (0..super::folder::SHARDS).try_for_each(clear).map_err(|error| self.failed(error))
    }

    /// Changes what is alive under the lock. `None` where nothing is.
    fn change<T>(
        &self,
        key: &str,
        caller: &Caller,
        change: impl Fn(&Head, Stored) -> Result<(T, Stored, Timestamp), Error>,
    ) -> Result<Option<T>, Error> {
        let place = self.folder.place(key);
        let under_lock = || -> Changed<Option<T>> {
            let Some(mut shard) = Locked::take(&self.folder, place.shard, false, &self.ledger)? else {
                return Ok(Ok(None));
            };
            let Some((head, stored)) = self.read(&place, key)? else { return Ok(Ok(None)) };
            let (answer, stored, expires_at) = match change(&head, stored) {
                Ok(changed) => changed,
                Err(error) => return Ok(Err(error)),
            };
            let file = self.write(key, &stored, expires_at)?;
            self.put(&mut shard, file, &place.file, caller)?;
            Ok(Ok(Some(answer)))
        };
        under_lock().map_err(|error| self.failed(error))?
    }

    /// The living entry of a key, if one can be read.
    fn read(&self, place: &Place, key: &str) -> io::Result<Option<(Head, Stored)>> {
        let Some((file, length)) = open(&place.file)? else { return Ok(None) };
        if length > self.most.bytes {
            return Ok(None);
        }
        let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        // Nobody writes to a file that is in its place, so that its end need not be looked for.
        match file.take(length).read_to_end(&mut content) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => return Ok(None),
            read => read?,
        };
        let now = self.clock.now();
        Ok(record::read(&Bytes::from(content), key).filter(|(head, _)| head.is_alive(now)))
    }

    /// Whether something is alive under a key; its data is not read.
    fn is_alive(&self, file: &Path, key: &str) -> io::Result<bool> {
        let Some((head, found)) = head_and_key_in(file)? else { return Ok(false) };
        Ok(found == key.as_bytes() && head.is_alive(self.clock.now()))
    }

    /// Writes an entry to a file that is not in its place yet.
    fn write(&self, key: &str, value: &Stored, expires_at: Timestamp) -> io::Result<NamedTempFile> {
        let mut file = self.folder.unfinished()?;
        let head = record::write_head(key, value, expires_at).ok_or(ErrorKind::InvalidInput)?;
        file.write_all(&head)?;
        file.write_all(&value.data)?;
        Ok(file)
    }

    /// Moves a file to its place: readers find the old entry or the new one, and nothing between. Whether somebody still
    /// waits is asked under the lock, which whatever comes later must take too.
    fn put(&self, shard: &mut Locked<'_>, file: NamedTempFile, place: &Path, caller: &Caller) -> io::Result<()> {
        caller.stays()?;
        let new = file.as_file().metadata()?.len();
        let old = fs::symlink_metadata(place).ok().map(|about| about.len());
        file.persist(place).map_err(|error| error.error)?;
        shard.count(old, Some(new));
        Ok(())
    }

    fn lock(&self, shard: usize) -> io::Result<Locked<'_>> {
        Locked::take(&self.folder, shard, true, &self.ledger)?.ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Removes what lay where something was refused, as far as that goes.
    fn forget(&self, place: &Place) {
        let forget = || match Locked::take(&self.folder, place.shard, false, &self.ledger)? {
            Some(mut shard) => remove(&mut shard, &place.file),
            None => Ok(()),
        };
        if let Err(error) = forget() {
            tracing::debug!(target: "larder", %error, "the old value of a refused one could not be removed");
        }
    }

    /// From time to time: how full the store is, and what dead processes left behind.
    fn look_around(&self) {
        if self.ledger.is_due() {
            self.ledger.ask_all(&self.folder);
            self.folder.remove_abandoned();
        }
    }

    /// Culls where there is too much, but not what was just stored. That something is stored stands, whatever comes of it.
    fn make_room(&self, stored: &Place) {
        if let Err(error) = self.culling.cull(self, &stored.file) {
            tracing::warn!(target: "larder", backend = NAME, %error, "a file cache that is full could not be culled");
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        let folder = self.folder.root().display();
        backend_error(NAME, io::Error::new(error.kind(), format!("in the directory {folder}: {error}")))
    }
}

/// Does it again where a directory was removed underneath, which the second time makes.
fn twice_where_removed<T>(act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match act() {
        Err(error) if error.kind() == ErrorKind::NotFound => act(),
        done => done,
    }
}

/// Opens a file and says how long it is. `None` where there is none, or none that this process may read: that is not an
/// error, unlike a directory that it may not look into.
pub(super) fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied && fs::symlink_metadata(path).is_ok() => {
            return Ok(None);
        }
        file => file?,
    };
    let about = file.metadata()?;
    Ok(about.is_file().then_some((file, about.len())))
}

/// Head and key of an entry's file, if it is one.
pub(super) fn head_and_key_in(path: &Path) -> io::Result<Option<(Head, Vec<u8>)>> {
    let Some((mut file, length)) = open(path)? else { return Ok(None) };
    let mut head = [0; HEAD];
    if length < HEAD as u64 || file.read_exact(&mut head).is_err() {
        return Ok(None);
    }
    let Some(head) = Head::read(&head, length) else { return Ok(None) };
    let mut key = vec![0; head.key_length()];
    let is_read = file.read_exact(&mut key).is_ok();
    Ok((is_read && head.is_of(&key)).then_some((head, key)))
}

fn key_in(path: &Path) -> io::Result<Option<Vec<u8>>> {
    Ok(head_and_key_in(path)?.map(|(_, key)| key))
}

/// Removes a file, if it is there, and counts it.
pub(super) fn remove(shard: &mut Locked<'_>, path: &Path) -> io::Result<()> {
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        about => about?,
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => {
            removed?;
            shard.count(Some(about.len()), None);
            Ok(())
        }
    }
}

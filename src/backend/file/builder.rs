//! The settings of the file backend, from a URL and from methods.
//! Applications call it through `Files::builder`, cache URLs through `FilesBuilder::read`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Files;
use super::folder::Folder;
use super::readers::Readers;
use super::store::Store;
use super::tally::Tally;
use crate::backend::url::StoreUrl;
use crate::clock::Clock;
use crate::error::Error;

const MAX_ENTRIES: u64 = 100_000;
const MAX_BYTES: u64 = 1 << 30;

/// The options of a URL that the file backend takes.
pub(crate) const OPTIONS: &[&str] = &["max_entries", "max_bytes"];

/// Builds a [`Files`]; see [`Files::builder`].
pub struct FilesBuilder {
    root: PathBuf,
    most: Tally,
    clock: Clock,
}

impl FilesBuilder {
    pub(super) fn new(root: &Path) -> Self {
        let most = Tally { entries: MAX_ENTRIES, bytes: MAX_BYTES };
        FilesBuilder { root: root.to_owned(), most, clock: Clock::system() }
    }

    /// Reads a URL, and takes the options of [`OPTIONS`].
    pub(crate) fn read(url: &mut StoreUrl) -> Result<Self, Error> {
        if !url.authority().is_empty() && url.authority() != "localhost" {
            return Err(url.refuse("it names a host: write file:///path/of/a/directory, with three slashes"));
        }
        let mut builder = FilesBuilder::new(Path::new(&url.path()?));
        if let Some(max_entries) = url.take_number("max_entries")? {
            builder = builder.max_entries(max_entries);
        }
        if let Some(max_bytes) = url.take_number("max_bytes")? {
            builder = builder.max_bytes(max_bytes);
        }
        Ok(builder)
    }

    /// How many entries there may be: Django's `MAX_ENTRIES`. 100,000 by default (Django: 300).
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.most.entries = entries;
        self
    }

    /// How many bytes the files may have together, keys included. 1 GiB by default; it is also the limit of one entry.
    /// What the file system rounds up comes on top: with blocks of 4 KiB, half a block for each file.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.most.bytes = bytes;
        self
    }

    /// The clock that entries expire by.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The backend. The directory is made when something is first stored.
    ///
    /// # Errors
    /// [`Error::Config`] for a path that is not absolute (CFG-8) or names no directory, and for a limit of nothing.
    pub fn build(self) -> Result<Files, Error> {
        let refuse = |why: &str| {
            Err(Error::Config(format!("a file cache cannot be opened in the directory {:?}: {why}", self.root)))
        };
        if !self.root.is_absolute() {
            return refuse("the path is not absolute, and would be another one in each working directory");
        }
        if self.root.parent().is_none() {
            return refuse("it is the root of the file system");
        }
        if self.root.exists() && !self.root.is_dir() {
            return refuse("it is a file");
        }
        if self.most.entries == 0 || self.most.bytes == 0 {
            return refuse("max_entries and max_bytes must leave room for an entry: to keep nothing, use dummy://");
        }
        if may_be_written_by_anybody(&self.root) {
            tracing::warn!(
                target: "larder", directory = %self.root.display(),
                "every user of this machine may write into the directory of a file cache, and so forge what is served"
            );
        }
        let store = Arc::new(Store::new(Folder::new(self.root), self.most, self.clock));
        Ok(Files { readers: Readers::new(Arc::clone(&store)), store })
    }
}

#[cfg(unix)]
fn may_be_written_by_anybody(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).is_ok_and(|about| about.mode() & 0o002 != 0)
}

#[cfg(not(unix))]
fn may_be_written_by_anybody(_folder: &Path) -> bool {
    false
}

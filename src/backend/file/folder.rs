//! The directories and names of a store on disk, and nothing of what is in its files.
//! The shards and the store ask it where things are, and whether a file is theirs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::hex_digest::HexDigest;

/// How many shards there are: as many as a byte has values.
pub(super) const SHARDS: usize = 256;

const SUFFIX: &str = ".larder";
/// Hexadecimal digits of a SHA-256 digest.
const DIGITS: usize = 64;
/// Where files are written before they are moved to their place.
const UNFINISHED: &str = "unfinished";
const UNFINISHED_SUFFIX: &str = ".larder-unfinished";
/// How old an unfinished file must be until nobody can be writing it any more.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// The directory of a store.
pub(super) struct Folder {
    root: PathBuf,
}

/// Where the entry of a key lies.
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) file: PathBuf,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Folder { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The name of a file is the SHA-256 digest of the key: no text of a key comes to the file system, and no two keys
    /// share a name.
    pub(super) fn place(&self, key: &str) -> Place {
        let digest = Sha256::digest(key.as_bytes());
        let digits = HexDigest::of(&digest);
        let mut file = PathBuf::with_capacity(self.root.as_os_str().len() + 4 + digits.len() + SUFFIX.len());
        file.push(&self.root);
        file.push(&digits[..2]);
        file.push(&*digits);
        file.as_mut_os_string().push(SUFFIX);
        Place { shard: usize::from(digest[0]), file }
    }

    pub(super) fn shard(&self, number: usize) -> PathBuf {
        self.root.join(format!("{number:02x}"))
    }

    /// The file that a shard is locked by, and that counts its entries. It is made if it may be.
    pub(super) fn open_lock(&self, shard: usize, may_be_made: bool) -> io::Result<File> {
        let path = self.shard(shard).join("lock");
        let mut options = File::options();
        options.read(true).write(true).create(may_be_made);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Err(error) if may_be_made && error.kind() == io::ErrorKind::NotFound => {
                make_private(&self.shard(shard))?;
                options.open(&path)
            }
            opened => opened,
        }
    }

    /// A file to write to, which is removed again unless it is moved to its place.
    pub(super) fn unfinished(&self) -> io::Result<NamedTempFile> {
        let folder = self.root.join(UNFINISHED);
        let mut name = tempfile::Builder::new();
        name.prefix("").suffix(UNFINISHED_SUFFIX);
        let file = match name.tempfile_in(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private(&folder)?;
                name.tempfile_in(&folder)?
            }
            made => made?,
        };
        #[cfg(unix)]
        file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(file)
    }

    /// Removes what processes that died while they wrote have left behind. What has another name is somebody else's here too.
    pub(super) fn remove_abandoned(&self) {
        let Ok(files) = fs::read_dir(self.root.join(UNFINISHED)) else { return };
        let is_ours = |file: &fs::DirEntry| file.file_name().to_string_lossy().ends_with(UNFINISHED_SUFFIX);
        for file in files.flatten().filter(is_ours) {
            let age =
                file.metadata().and_then(|about| about.modified()).map(|then| SystemTime::now().duration_since(then));
            if age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED)) {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// The entries' files of a shard. What has another name is somebody else's.
    pub(super) fn files(&self, shard: usize) -> io::Result<Vec<PathBuf>> {
        let files = match fs::read_dir(self.shard(shard)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let paths = files.map(|file| file.map(|file| file.path()));
        paths.filter(|path| path.as_ref().map_or(true, |path| is_ours(path, shard))).collect()
    }
}

/// Whether a file has the name of an entry of this shard.
fn is_ours(path: &Path, shard: usize) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
    name.is_some_and(|name| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        name.len() == DIGITS && name.bytes().all(is_digit) && name.starts_with(&format!("{shard:02x}"))
    })
}

/// Makes a directory and what is missing above it, each of them for this user alone, whatever the umask (FIL-2).
fn make_private(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_private(above)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        // Another process was faster, and gives it its mode.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        made => made?,
    }
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_digests_in_the_shard_of_their_first_byte() {
        let folder = Folder::new("/var/tmp/x".into());
        let place = folder.place("abc");
        let name = "/var/tmp/x/ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.larder";
        assert_eq!((place.shard, place.file.as_path()), (0xba, Path::new(name)));
        assert!(is_ours(&place.file, 0xba));
    }

    #[test]
    fn what_has_another_name_is_not_ours() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for (name, shard) in [
            (format!("{digits}.larder"), 0xbb),
            (format!("{digits}.djcache"), 0xba),
            (format!("{digits}.larder~"), 0xba),
            (format!("{}.larder", digits.to_uppercase()), 0xba),
            (format!("{digits}0.larder"), 0xba),
            (digits.to_owned(), 0xba),
            (".larder".to_owned(), 0xba),
            ("lock".to_owned(), 0xba),
        ] {
            assert!(!is_ours(&Path::new("/x").join(&name), shard), "{name}");
        }
    }
}

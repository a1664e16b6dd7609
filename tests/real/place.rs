//! Where a server of this test process listens: an address that no other process uses, and a folder.
//! The servers and the proxies ask for it.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

/// Below the ports that Linux gives to outgoing connections, so that a server finds its port free after a restart.
static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

/// The loopback address of this test process, made of its process number: parallel test processes cannot collide.
/// Linux answers on all of 127.0.0.0/8.
pub fn own_host() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 128 | (high & 0x7f), middle, low))
}

/// An address that this process has not used yet.
pub fn next_address() -> SocketAddr {
    SocketAddr::new(own_host(), next_port())
}

/// A port that this process has not used yet. Other processes may have it on other addresses.
pub fn next_port() -> u16 {
    NEXT_PORT.fetch_add(1, Ordering::Relaxed)
}

/// A new folder that only we may enter; it goes when this is dropped.
pub struct Folder(Option<TempDir>);

/// Its path is short: a unix socket's has at most 107 bytes.
pub fn new_folder(name: &str) -> Folder {
    let prefix = format!("larder-{name}-");
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir();
    Folder(Some(folder.expect("the folder for temporary files is writable")))
}

impl Folder {
    /// Leaves it to somebody else to remove.
    pub fn keep(mut self) -> PathBuf {
        self.0.take().map(TempDir::keep).unwrap_or_default()
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), TempDir::path)
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        self
    }
}

impl AsRef<OsStr> for Folder {
    fn as_ref(&self) -> &OsStr {
        self.as_os_str()
    }
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

//! The file backend on a real disk: the contract, what lies in the directory, its bounds, two processes, and faults.

#[path = "world/in_process.rs"]
mod chosen;
mod real;
mod world;

#[path = "files/bounds.rs"]
mod bounds;
#[path = "files/contract.rs"]
mod contract;
#[path = "files/django.rs"]
mod django;
#[path = "files/faults.rs"]
mod faults;
#[path = "files/pages.rs"]
mod pages;
#[path = "files/processes.rs"]
mod processes;
#[path = "files/readers.rs"]
mod readers;
#[path = "files/stored.rs"]
mod stored;

use std::path::{Path, PathBuf};

use larder::backend::{Files, Stored, flags};

/// A directory that goes with the test, and the one in it that the store is to make.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("cache");
    (around, folder)
}

fn open(folder: &Path) -> Files {
    Files::open(folder).unwrap()
}

fn text(data: &str) -> Stored {
    Stored { data: data.to_owned().into(), flags: flags::TEXT }
}

fn integer(number: i64) -> Stored {
    Stored { data: number.to_string().into(), flags: flags::INTEGER }
}

/// Every file and directory below, in order.
fn everything_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<PathBuf> = entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            let below = if path.is_dir() { everything_in(&path) } else { Vec::new() };
            std::iter::once(path).chain(below)
        })
        .collect();
    all.sort();
    all
}

/// The entries' files.
fn entries_in(folder: &Path) -> Vec<PathBuf> {
    let all = everything_in(folder).into_iter();
    all.filter(|path| path.extension().is_some_and(|extension| extension == "larder")).collect()
}

fn bytes_in(folder: &Path) -> u64 {
    entries_in(folder).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum()
}

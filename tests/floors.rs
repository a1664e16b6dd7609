//! The house of the design: what stands on a floor uses what is below it and nothing above.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};

/// Each floor, and those it must not know.
const FLOORS: [(&str, &[&str]); 5] = [
    ("headers", &["backend", "cache", "locale", "page"]),
    ("locale", &["backend", "cache", "page"]),
    ("backend", &["cache", "headers", "locale", "page"]),
    ("cache", &["headers", "locale", "page"]),
    // It can be used alone.
    ("memcached", &["backend", "cache", "clock", "error", "headers", "locale", "page"]),
];

#[test]
fn no_floor_uses_one_above_it() {
    let arrows = FLOORS.map(|(floor, above)| {
        let words: Vec<String> = above.iter().map(|other| format!("crate::{other}")).collect();
        uses(floor, &words.iter().map(String::as_str).collect::<Vec<_>>())
    });
    assert_eq!(arrows.concat(), Vec::<String>::new());
}

/// A backend stores bytes and knows no HTTP, nor does the cache on top of it.
#[test]
fn stores_know_no_http() {
    let used = ["backend", "cache"].map(|floor| uses(floor, &["http::", "http_body::"]));
    assert_eq!(used.concat(), Vec::<String>::new());
}

/// What only wants right headers or a language knows no store and no HTTP server.
#[test]
fn the_floor_of_headers_needs_no_store_and_no_runtime() {
    let used = ["headers", "locale"].map(|floor| uses(floor, &["tokio::", "moka::", "axum::", "md5::", "sha2::"]));
    // The values that handlers return, under the feature `axum`.
    let used: Vec<String> = used.concat().into_iter().filter(|line| !line.contains("axum_parts.rs")).collect();
    assert_eq!(used, Vec::<String>::new());
}

/// The lines of code on a floor that hold one of these words. Documentation may tell of everything.
fn uses(floor: &str, words: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(floor));
    assert!(!files.is_empty(), "{floor}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
            if words.iter().any(|word| line.contains(word)) {
                lines.push(format!("{}: {line}", file.display()));
            }
        }
    }
    lines
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

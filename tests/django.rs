//! Runs what the real Django answered (`tests/vectors`, or the folder in `LARDER_VECTORS`) through the public API.
//! One line per failing case, one closing line per file; see `tests/departures.toml` for where we differ on purpose.

#[path = "django/conditional.rs"]
mod conditional;
#[path = "django/django_cache.rs"]
mod django_cache;
#[path = "django/django_conditional.rs"]
mod django_conditional;
#[path = "django/harness.rs"]
mod harness;
#[path = "django/headers.rs"]
mod headers;
#[path = "django/key_warnings.rs"]
mod key_warnings;
#[path = "django/keys.rs"]
mod keys;
#[path = "django/lowlevel.rs"]
mod lowlevel;
#[path = "django/make_key.rs"]
mod make_key;
#[cfg(feature = "memcached")]
#[path = "django/memcached_ring.rs"]
mod memcached_ring;
#[path = "django/memcached_wire.rs"]
mod memcached_wire;
#[path = "django/middleware.rs"]
mod middleware;
#[path = "django/python_value.rs"]
mod python_value;
#[path = "django/raw_request.rs"]
mod raw_request;
mod real;
#[path = "django/redis_wire.rs"]
mod redis_wire;
#[path = "django/stack.rs"]
mod stack;
#[path = "django/storage_db.rs"]
mod storage_db;
#[path = "django/storage_file.rs"]
mod storage_file;
#[path = "django/store_model.rs"]
mod store_model;
#[path = "django/text_backend.rs"]
mod text_backend;
#[path = "django/view.rs"]
mod view;

use std::process::ExitCode;

use harness::{Departures, Summary};

/// A file of vectors and what runs it.
const RUNNERS: &[fn(&Departures) -> Summary] = &[
    headers::get_max_age,
    headers::has_vary_header,
    headers::patch_cache_control,
    headers::patch_response_headers,
    headers::patch_vary,
    conditional::conditional,
    keys::keys,
    middleware::middleware,
    lowlevel::lowlevel,
    make_key::make_key,
    redis_wire::redis_wire,
    storage_db::storage_db,
    storage_file::storage_file,
    memcached_wire::memcached_wire,
    #[cfg(feature = "memcached")]
    memcached_ring::memcached_ring,
];

fn main() -> ExitCode {
    let departures = Departures::load();
    let failed: usize = RUNNERS.iter().map(|run| run(&departures).failed).sum();
    let stale = departures.report_stale();
    if failed + stale == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! The tests of the page floor and of the safety rules again, on every store that a site may have: files,
//! memcached, Redis, SQLite, PostgreSQL and MariaDB, each the real one.

#[path = "world/every_store.rs"]
mod chosen;
mod log;
mod real;
mod world;

#[path = "pages/bodies.rs"]
mod bodies;
#[path = "pages/conditional.rs"]
mod conditional;
#[path = "safety/credentials.rs"]
mod credentials;
#[path = "stale/early.rs"]
mod early;
#[path = "stale/errors.rs"]
mod errors;
#[path = "safety/half_pages.rs"]
mod half_pages;
#[path = "pages/headers.rs"]
mod headers;
#[path = "safety/keys.rs"]
mod keys;
#[path = "pages/limits.rs"]
mod limits;
#[path = "safety/parsing.rs"]
mod parsing;
#[path = "safety/poisoning.rs"]
mod poisoning;
#[path = "pages/purge.rs"]
mod purge;
#[path = "pages/readiness.rs"]
mod readiness;
#[path = "pages/reasons.rs"]
mod reasons;
#[path = "stale/revalidate.rs"]
mod revalidate;
#[path = "safety/rewritten.rs"]
mod rewritten;
#[path = "pages/socket.rs"]
mod socket;
#[path = "pages/tags.rs"]
mod tags;
#[path = "safety/variants.rs"]
mod variants;

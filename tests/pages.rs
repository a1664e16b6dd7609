//! What a cache layer does with requests and responses, as a visitor or an operator sees it.
//! The safety rules have tests of their own in `tests/safety.rs`.

#[path = "world/in_process.rs"]
mod chosen;
mod log;
mod world;

#[path = "pages/bodies.rs"]
mod bodies;
#[path = "pages/conditional.rs"]
mod conditional;
#[path = "pages/headers.rs"]
mod headers;
#[path = "pages/limits.rs"]
mod limits;
#[path = "pages/purge.rs"]
mod purge;
#[path = "pages/readiness.rs"]
mod readiness;
#[path = "pages/reasons.rs"]
mod reasons;
#[path = "pages/socket.rs"]
mod socket;
#[path = "pages/stamps.rs"]
mod stamps;
#[path = "pages/tags.rs"]
mod tags;

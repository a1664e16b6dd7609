//! Pages whose time is up, and pages whose time is nearly up: on memory and on a store that answers later. The same tests
//! run on every other store in `tests/every_store.rs`.

#[path = "world/in_process.rs"]
mod chosen;
#[path = "stale/early.rs"]
mod early;
#[path = "stale/errors.rs"]
mod errors;
mod log;
#[path = "stale/revalidate.rs"]
mod revalidate;
#[path = "stale/runtime.rs"]
mod runtime;
mod world;

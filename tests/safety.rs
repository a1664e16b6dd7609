//! The safety rules of the page floor, each a test named after it, through the public API alone.
//! Every rule is held on memory and on a store with textual keys that answers later.

#[path = "world/in_process.rs"]
mod chosen;
mod log;
mod world;

#[path = "safety/credentials.rs"]
mod credentials;
#[path = "safety/flood.rs"]
mod flood;
#[path = "safety/half_pages.rs"]
mod half_pages;
#[path = "safety/injective.rs"]
mod injective;
#[path = "safety/keys.rs"]
mod keys;
#[path = "safety/nested_routers.rs"]
#[cfg(feature = "axum")]
mod nested_routers;
#[path = "safety/parsing.rs"]
mod parsing;
#[path = "safety/poisoning.rs"]
mod poisoning;
#[path = "safety/rewritten.rs"]
mod rewritten;
#[path = "safety/told.rs"]
mod told;
#[path = "safety/variants.rs"]
mod variants;

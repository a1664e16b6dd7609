//! The stores of the page tests that need no server. `tests/pages.rs`, `tests/safety.rs` and `tests/nested.rs` include it.

use crate::world::{World, memory_world, text_world};

/// Memory, which keeps pages as objects, and a store that answers later under textual keys.
pub fn worlds() -> Vec<World> {
    vec![memory_world(), text_world()]
}

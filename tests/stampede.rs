//! One fill for many: a thousand visitors for one cold page, and everything that can go wrong with the one who leads.
//! On memory and a store with textual keys, and with the feature `full` on every store there is, each the real one.

#[cfg(feature = "full")]
#[path = "world/every_store.rs"]
mod every_store;
#[path = "world/in_process.rs"]
mod in_process;
#[cfg(feature = "full")]
mod real;
mod world;

mod chosen {
    use crate::world::World;

    pub fn worlds() -> Vec<World> {
        let worlds = crate::in_process::worlds();
        #[cfg(feature = "full")]
        let worlds = worlds.into_iter().chain(crate::every_store::worlds()).collect();
        worlds
    }
}

#[path = "stampede/bodies.rs"]
mod bodies;
#[path = "stampede/bounds.rs"]
mod bounds;
#[path = "stampede/crowd.rs"]
mod crowd;
#[path = "stampede/leaders.rs"]
mod leaders;
#[path = "stampede/lease.rs"]
mod lease;
#[path = "stampede/one_fill.rs"]
mod one_fill;
#[path = "stampede/refusals.rs"]
mod refusals;
#[path = "stampede/runtimes.rs"]
mod runtimes;
#[path = "stampede/slow_store.rs"]
mod slow_store;

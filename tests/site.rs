//! The README's transcript of `examples/site.rs`, replayed against the example's own router.

use std::time::Duration;

use larder::backend::Memory;
use larder::{Cache, Caches, ManualClock, Timestamp};

#[expect(dead_code, reason = "its `main` is the example's")]
#[path = "../examples/site.rs"]
mod site;
mod transcript;

#[tokio::test]
async fn the_readme_shows_what_the_example_answers() {
    let steps = transcript::steps("examples/site.rs");
    transcript::assert_shows(
        &steps,
        &["fwd=uri-miss; stored", "hit; ttl=", "age: 7", "vary: X-Currency", "fwd=vary-miss", "curl -I", "forgotten"],
    );
    let hands = ManualClock::at(Timestamp::from_secs(0));
    let cache = Cache::new(Memory::with_clock(hands.clock()));
    Caches::install(Caches::builder().with("default", cache).build()).unwrap();
    // A millisecond later each time, as no two requests come in the same instant.
    let asked = std::cell::Cell::new(0);
    let wait = |date: Timestamp| {
        asked.set(asked.get() + 1);
        hands.set(date.after(Duration::from_millis(asked.get())));
    };
    transcript::replay(site::site(), &steps, wait).await;
}

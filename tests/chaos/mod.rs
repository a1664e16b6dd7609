//! The chaos: an origin that misbehaves, visitors who check every byte, and who makes trouble between them.
//! `tests/chaos.rs` runs it on memory, memcached and Redis, `benches/soak.rs` for ten minutes in memory.

#![allow(dead_code, reason = "each program uses a part of it")]

pub mod identity;
pub mod ledger;
pub mod origin;
pub mod trouble;
pub mod visitors;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use larder::{Cache, CacheLayer, ManualClock};
use tokio::task::JoinHandle;
use tower::Layer;

use self::ledger::{Ledger, URLS};
use self::origin::Origin;
use self::trouble::Handle;
use crate::real::Dice;

/// How many clients ask at once.
pub const CLIENTS: u64 = 64;
const PURGERS: u64 = 3;

/// One run.
pub struct Chaos {
    pub name: &'static str,
    pub seed: u64,
    pub length: Duration,
    /// The caches that share the store: each as a process of its own would have it.
    pub caches: Vec<Cache>,
    /// The clock of the store, where it is ours.
    pub hands: Option<ManualClock>,
    /// Whether a complete `clear` is a promise that nothing older is seen.
    pub can_clear: bool,
}

/// What goes on beside a run, such as restarts of a server: it gets the ledger, a dice of its own, and the end.
pub type Beside = Box<dyn FnOnce(Arc<Ledger>, Arc<Dice>, Instant) -> JoinHandle<()> + Send>;

/// The seed of this run: `LARDER_CHAOS_SEED`, or another one each time.
pub fn seed() -> u64 {
    let chosen = std::env::var("LARDER_CHAOS_SEED").ok();
    chosen.map_or_else(
        || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 % 1_000_000_007,
        |seed| seed.parse().expect("LARDER_CHAOS_SEED is a number"),
    )
}

impl Chaos {
    /// Runs it, and panics with the seed if anybody saw what they should not.
    pub async fn run(self, beside: Option<Beside>) -> Arc<Ledger> {
        let Chaos { name, seed, length, .. } = self;
        println!("{name}: LARDER_CHAOS_SEED={seed} LARDER_CHAOS_SECONDS={}", length.as_secs());
        be_silent_about_the_handlers_panics();
        let ledger = Arc::new(Ledger::default());
        let dice = |number: u64| Arc::new(Dice::seeded(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9))));
        let origin = Origin { ledger: Arc::clone(&ledger), dice: dice(0) };
        let layers: Vec<CacheLayer> = self.caches.iter().flat_map(layers).collect();
        let doors: Arc<Vec<_>> = Arc::new(layers.iter().map(|layer| layer.layer(origin.clone())).collect());
        let handle = |(cache, layer): (&Cache, &CacheLayer)| Handle { pages: layer.pages(), cache: cache.clone() };
        let every = layers.len() / self.caches.len();
        let handles = Arc::new(self.caches.iter().zip(layers.iter().step_by(every)).map(handle).collect::<Vec<_>>());

        let end = Instant::now() + length;
        let next = Arc::new(AtomicU64::new(1));
        let mut tasks = Vec::new();
        for client in 0..CLIENTS {
            let (doors, ledger, next) = (Arc::clone(&doors), Arc::clone(&ledger), Arc::clone(&next));
            tasks.push(tokio::spawn(visitors::visit(doors, ledger, dice(1_000 + client), next, end)));
        }
        for purger in 0..PURGERS {
            let (handles, ledger) = (Arc::clone(&handles), Arc::clone(&ledger));
            tasks.push(tokio::spawn(trouble::purge(handles, ledger, dice(2_000 + purger), self.can_clear, end)));
        }
        if let Some(hands) = self.hands.clone() {
            tasks.push(tokio::spawn(trouble::pass_time(hands, Arc::clone(&ledger), dice(3_000), end)));
        }
        if let Some(beside) = beside {
            tasks.push(beside(Arc::clone(&ledger), dice(4_000), end));
        }
        for task in tasks {
            task.await.unwrap();
        }
        println!("{name}: {:?}, purges failed of {:?}", ledger.count, ledger.troubles());
        let violations = ledger.violations();
        assert!(violations.is_empty(), "{name}, LARDER_CHAOS_SEED={seed}:\n{}", violations.join("\n"));
        self.everything_works_again(&doors, &ledger, &dice(5_000), &next).await;
        ledger
    }

    /// What was cancelled, failed and restarted has left nothing behind: every page is answered, and soon from the cache.
    async fn everything_works_again(
        &self,
        doors: &Arc<Vec<visitors::Door>>,
        ledger: &Arc<Ledger>,
        dice: &Arc<Dice>,
        next: &Arc<AtomicU64>,
    ) {
        let deadline = Instant::now() + Duration::from_secs(60);
        for url in 0..URLS {
            let before = ledger.count.hits.load(SeqCst);
            while ledger.count.hits.load(SeqCst) == before {
                assert!(
                    Instant::now() < deadline,
                    "{}, seed {}: page {url} is never a hit again",
                    self.name,
                    self.seed
                );
                visitors::ask_calmly(doors, ledger, dice, next, url).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        let violations = ledger.violations();
        assert!(violations.is_empty(), "{}, seed {}, at the end:\n{}", self.name, self.seed, violations.join("\n"));
    }
}

/// The layers of one process, of which a request meets one: they share their pages, and differ in how they go about it.
fn layers(cache: &Cache) -> Vec<CacheLayer> {
    let layer = || CacheLayer::per_site().cache(cache).cache_status("larder");
    vec![
        layer(),
        layer().store_streams(true).finish_fills(true),
        layer().stale_while_revalidate(2).stale_if_error(2).early_refresh(1.0).jitter(0.1),
        layer().lease(true),
        layer().coalesce(false),
    ]
}

fn be_silent_about_the_handlers_panics() {
    use std::sync::Once;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_chaos = origin::is_panic_of_the_handler(panic.payload());
            if !is_chaos {
                usual(panic);
            }
        }));
    });
}

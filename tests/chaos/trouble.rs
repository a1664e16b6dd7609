//! Who makes trouble while the visitors ask: purgers, restarts of the store's server, and the clock.
//! `tests/chaos.rs` starts them beside the visitors.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use larder::{Cache, Error, ManualClock, Pages};
use tokio::time::{sleep, timeout};

use super::ledger::{Ledger, TAGS, URLS, raise, tags_of};
use super::visitors::url;
use crate::real::Dice;

/// One handle on the pages and the cache they are in; another process has another.
pub struct Handle {
    pub pages: Pages,
    pub cache: Cache,
}

type Purging<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// What is purged at once.
enum Purge {
    Page(u64),
    Tag(u64),
    Everything,
}

/// Purges until the end: what it was told has succeeded, it holds everybody to.
pub async fn purge(handles: Arc<Vec<Handle>>, ledger: Arc<Ledger>, dice: Arc<Dice>, can_clear: bool, end: Instant) {
    while Instant::now() < end && !ledger.has_violations() {
        sleep(Duration::from_micros(dice.within(0..50_000))).await;
        let handle = &handles[dice.within(0..handles.len() as u64) as usize];
        let (what, urls): (Purge, Vec<u64>) = match dice.within(0..100) {
            // Where it is no promise, it is still the loss of every stamp, in the midst of fills and purges.
            0..5 => (Purge::Everything, if can_clear { (0..URLS).collect() } else { Vec::new() }),
            5..30 => {
                let tag = dice.within(0..TAGS);
                (Purge::Tag(tag), (0..URLS).filter(|url| tags_of(*url).contains(&tag)).collect())
            }
            _ => {
                let url = dice.within(0..URLS);
                (Purge::Page(url), vec![url])
            }
        };
        // What the page says changes first; then it is purged.
        let begun: Vec<(u64, u64)> = urls.iter().map(|url| (*url, ledger.begin_purge(*url))).collect();
        let (purging, count): (Purging<'_>, _) = match what {
            Purge::Everything => (Box::pin(handle.cache.clear()), &ledger.count.cleared),
            Purge::Tag(tag) => (Box::pin(handle.cache.purge_tag(format!("tag:{tag}"))), &ledger.count.purged),
            Purge::Page(number) => {
                let deleting = handle.pages.delete(url(number));
                (Box::pin(async move { deleting.await.map(drop) }), &ledger.count.deleted)
            }
        };
        let patience = if dice.percent(8) { dice.within(0..2_000) } else { 60_000_000 };
        let Ok(purged) = timeout(Duration::from_micros(patience), purging).await else { continue };
        match purged {
            Ok(()) => {
                raise(count);
                begun.iter().for_each(|(url, version)| ledger.end_purge(*url, *version));
            }
            Err(error) => ledger.purge_failed(&error),
        }
    }
}

/// Ends the server and starts it again, empty, now and then.
pub async fn restart<S: Send + Sync + 'static>(
    server: Arc<S>,
    stop: fn(&S),
    start: fn(&S),
    ledger: Arc<Ledger>,
    dice: Arc<Dice>,
    end: Instant,
) {
    while Instant::now() < end && !ledger.has_violations() {
        sleep(Duration::from_millis(dice.within(1_500..6_000))).await;
        let down = Duration::from_millis(if dice.percent(50) { 0 } else { dice.within(0..400) });
        let server = Arc::clone(&server);
        let restarting = tokio::task::spawn_blocking(move || {
            stop(&server);
            std::thread::sleep(down);
            start(&server);
        });
        restarting.await.unwrap();
        ledger.count.restarts.fetch_add(1, SeqCst);
    }
}

/// Lets the time of the cache pass twenty times as fast as ours, in steps.
pub async fn pass_time(hands: ManualClock, ledger: Arc<Ledger>, dice: Arc<Dice>, end: Instant) {
    while Instant::now() < end && !ledger.has_violations() {
        let step = dice.within(1..40);
        sleep(Duration::from_millis(step)).await;
        hands.advance(Duration::from_millis(step * 20));
    }
}

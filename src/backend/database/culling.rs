//! Keeping the table within its bounds: now and then a look at how many entries there are, in the background; dead ones go
//! first, then those that expire soonest, some at a time. The backend reports its writes here.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::connections::{Arg, Statement};
use super::{Shared, told};
use crate::error::Error;

/// How many rows one statement deletes: few enough that other writers hardly wait for it.
const BATCH: u64 = 500;
/// How many of those one look may run; the next one goes on.
const MOST_BATCHES: u32 = 200;
/// The longest way between two looks, in writes.
const LONGEST_WAY: u64 = 1_000;

/// When the next look at the number of entries is due.
pub(super) struct Culling {
    writes: AtomicU64,
    way: u64,
    is_looking: AtomicBool,
}

impl Culling {
    pub(super) fn new(max_entries: u64) -> Self {
        // A twentieth of what may be there. Programs that end soon look as often as those that run for long, on average.
        let way = (max_entries / 20).clamp(1, LONGEST_WAY);
        let writes = RandomState::new().build_hasher().finish() % way;
        Culling { writes: AtomicU64::new(writes), way, is_looking: AtomicBool::new(false) }
    }

    /// Counts writes; whether a look is due that nobody takes already.
    fn is_due(&self, writes: u64) -> bool {
        let before = self.writes.fetch_add(writes, Ordering::Relaxed);
        before / self.way != (before + writes) / self.way && !self.is_looking.swap(true, Ordering::AcqRel)
    }
}

/// Counts writes, and looks after the table in the background where that is due.
pub(super) fn count_writes(shared: &Arc<Shared>, writes: usize) {
    if !shared.culling.is_due(writes as u64) {
        return;
    }
    let looking = Looking(Arc::clone(shared));
    tokio::spawn(async move {
        let shared = &looking.0;
        if let Err(error) = cull(shared).await {
            tracing::warn!(target: "larder", backend = shared.name(), %error, "could not remove surplus entries");
        }
    });
}

/// A look under way. It ends with its task, also where the runtime ends before it.
struct Looking(Arc<Shared>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.culling.is_looking.store(false, Ordering::Release);
    }
}

/// Removes what is too much, down to nine tenths of what may be there; says how many entries that were.
pub(super) async fn cull(shared: &Shared) -> Result<u64, Error> {
    let count = Statement::new(&shared.statements.count, []);
    let entries = shared.connections.count(count).await.map_err(|trouble| told(shared, trouble))?;
    let entries = u64::try_from(entries).unwrap_or_default();
    if entries <= shared.max_entries {
        return Ok(0);
    }
    let surplus = entries - (shared.max_entries - shared.max_entries / 10);
    let dead = purge(shared).await?;
    if entries - dead.min(entries) <= shared.max_entries {
        return Ok(dead);
    }
    let soonest = |some| Statement::new(&shared.statements.delete_soonest, [Arg::Number(some)]).once();
    Ok(dead + in_batches(shared, surplus.saturating_sub(dead), soonest).await?)
}

/// Removes dead entries; says how many.
pub(super) async fn purge(shared: &Shared) -> Result<u64, Error> {
    in_batches(shared, u64::MAX, |some| {
        let now = Arg::Moment(shared.clock.now());
        let args = [now.clone(), now, Arg::Number(some)];
        Statement::new(&shared.statements.delete_dead, args)
    })
    .await
}

async fn in_batches(shared: &Shared, most: u64, deletion: impl Fn(i64) -> Statement) -> Result<u64, Error> {
    let mut deleted = 0;
    for _ in 0..MOST_BATCHES {
        let some = BATCH.min(most - deleted);
        if some == 0 {
            break;
        }
        let gone = shared.connections.write_at_length(deletion(some as i64)).await;
        let gone = gone.map_err(|trouble| told(shared, trouble))?;
        deleted = (deleted + gone).min(most);
        if gone < some {
            break;
        }
    }
    Ok(deleted)
}

/// Purges again and again, as long as somebody holds the backend.
pub(super) async fn purge_every(interval: Duration, shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(shared) = shared.upgrade() else { return };
        match purge(&shared).await {
            Ok(0) => {}
            Ok(entries) => tracing::debug!(target: "larder", backend = shared.name(), entries, "removed dead entries"),
            Err(error) => {
                tracing::warn!(target: "larder", backend = shared.name(), %error, "could not remove dead entries");
            }
        }
    }
}

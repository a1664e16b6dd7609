//! Whose turn it is to dump a server: one dump at a time, whichever client of this process asks.
//! `Server::metadump` waits here, and the task that drains the server gives the turn back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The servers that were ever dumped, by name: as many as a program has servers.
static TURNS: Mutex<BTreeMap<String, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());

/// Waits until no other dump of this server is under way.
pub(super) async fn wait(server: &str) -> Option<OwnedSemaphorePermit> {
    let turns = {
        let mut all = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(server.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    };
    // It is never closed; if it were, there would be no turns to wait for.
    turns.acquire_owned().await.ok()
}

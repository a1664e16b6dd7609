//! Which calls of the stores under test have begun and not ended, so that a test can wait for what is under way.
//! The stores of the worlds count theirs, and `settle` waits for them.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The calls that have begun and not ended, of all stores of this process.
static AT_WORK: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// A call under way: it ends when this is dropped.
pub struct AtWork(usize);

impl AtWork {
    pub fn begin() -> Self {
        let call = CALLS.fetch_add(1, Ordering::SeqCst);
        AT_WORK.lock().unwrap().insert(call);
        AtWork(call)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.lock().unwrap().remove(&self.0);
    }
}

/// Waits until every call that is at work now has ended. Other tests of this process may have such calls too, and one of
/// them may be held up on purpose: they do not keep it waiting for ever, nor do the calls that they begin meanwhile.
pub async fn idle() {
    let begun = Instant::now();
    let calls = AT_WORK.lock().unwrap().clone();
    while !AT_WORK.lock().unwrap().is_disjoint(&calls) && begun.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

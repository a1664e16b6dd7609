//! A lease: a short entry in a shared store that says which process makes a value, so that others need not.
//! The page floor takes one before it runs a handler. It is renewed while it is held, taken back at its end by its holder
//! alone, and ends by itself where the holder crashed.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::backend::{Backend, Stored, flags};
use crate::error::Error;

/// A lease that is held. To drop it is to give it back.
pub(crate) struct Lease {
    /// Dropped with it, which ends the task that renews it.
    _held: oneshot::Sender<()>,
}

impl Lease {
    /// Takes the lease under a final key for `time`, again and again until it is dropped; `None` where another holds it.
    ///
    /// # Errors
    /// What the backend says.
    pub(crate) async fn take(backend: &Arc<dyn Backend>, key: String, time: Duration) -> Result<Option<Self>, Error> {
        // Another holder's name may never be taken for this one's.
        let name = [(); 2].map(|()| RandomState::new().hash_one(std::process::id()));
        let name = Stored { data: Bytes::from(format!("{:016x}{:016x}", name[0], name[1])), flags: flags::BYTES };
        let taken_at = Instant::now();
        if !backend.add(&key, name.clone(), Some(time)).await? {
            return Ok(None);
        }
        let (held, given_back) = oneshot::channel();
        let holder = Holder { backend: Arc::clone(backend), key, name, time, renewed_at: taken_at };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(holder.hold(given_back));
        }
        Ok(Some(Lease { _held: held }))
    }
}

struct Holder {
    backend: Arc<dyn Backend>,
    key: String,
    name: Stored,
    time: Duration,
    renewed_at: Instant,
}

impl Holder {
    async fn hold(mut self, mut given_back: oneshot::Receiver<()>) {
        while tokio::time::timeout(self.time / 3, &mut given_back).await.is_err() {
            if self.renewed_at.elapsed() >= self.time {
                return;
            }
            let now = Instant::now();
            match self.backend.touch(&self.key, Some(self.time)).await {
                Ok(true) => self.renewed_at = now,
                Ok(false) => return,
                // It may be up again the next time.
                Err(_) => {}
            }
        }
        // It may have ended, and be another's, who is not to lose it; shortly before its end, it is left to end.
        let has_time = self.renewed_at.elapsed() < self.time * 2 / 3;
        if has_time && matches!(self.backend.get(&self.key).await, Ok(Some(stored)) if stored == self.name) {
            let _ = self.backend.delete(&self.key).await;
        }
    }
}

/// Pauses between two looks at a lease that another holds: longer and longer, and never in step with others.
pub(crate) struct Pauses {
    next: Duration,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(250);

    pub(crate) fn new() -> Self {
        Pauses { next: Self::FIRST }
    }

    /// Pauses, but not beyond the deadline.
    pub(crate) async fn pause(&mut self, deadline: Instant) {
        // Half of it is left to chance.
        let chance = (RandomState::new().hash_one(0) % 1024) as u32;
        let pause = self.next / 2 + self.next * chance / 2048;
        self.next = (self.next * 3 / 2).min(Self::LONGEST);
        sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

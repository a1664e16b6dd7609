//! The threads that read: a few go through what many callers wait for, as to wake a thread for each read takes longer than
//! to read from a file that lies in memory. The backend queues its reads here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::store::{NAME, Store};
use crate::backend::backend_error;
use crate::error::Error;

/// As many readers as read at once while all reads are quick. On two cores eight are slower, and two no faster.
const FEW: usize = 4;
/// As many as there are at most, where reads are slow.
const MOST: usize = 64;
/// What takes longer waits for a disk: more of it can be waited for at once.
const SLOW: Duration = Duration::from_millis(1);
/// How often a reader reads before another takes its place: it runs in one caller's runtime, which cannot end before.
const READS_OF_ONE: usize = 256;

/// What waits to be read, and how many read.
pub(super) struct Readers {
    store: Arc<Store>,
    queue: Mutex<Queue>,
}

struct Queue {
    reads: VecDeque<Read>,
    readers: usize,
    /// When a read was last begun.
    began: Instant,
}

/// A read that a caller waits for.
struct Read {
    /// The caller's.
    runtime: Handle,
    work: Box<dyn Work>,
}

/// What a reader does.
trait Work: Send {
    /// Whether the caller is still there.
    fn is_awaited(&self) -> bool;
    /// Reads, if so.
    fn run(self: Box<Self>, store: &Store);
}

/// What to read, and whom to tell.
struct Asked<T, R> {
    read: R,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, R: FnOnce(&Store) -> Result<T, Error> + Send> Work for Asked<T, R> {
    fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(self: Box<Self>, store: &Store) {
        if self.is_awaited() {
            let _ = self.answer.send((self.read)(store));
        }
    }
}

impl Readers {
    pub(super) fn new(store: Arc<Store>) -> Arc<Self> {
        let queue = Queue { reads: VecDeque::new(), readers: 0, began: Instant::now() };
        Arc::new(Readers { store, queue: Mutex::new(queue) })
    }

    /// Reads on a thread that may block. Nothing is read for a caller who has left before it was his turn.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.wait(Read { runtime: Handle::current(), work: Box::new(Asked { read, answer }) });
        answered.await.unwrap_or_else(|_| Err(backend_error(NAME, "the thread that was to read it has ended")))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where all readers are at slow reads, one more comes. What waits here is read at the latest when the first of them is
    /// done, or behind the next read that is asked for.
    fn wait(self: &Arc<Self>, read: Read) {
        let are_slow = {
            let mut queue = self.queue();
            queue.reads.push_back(read);
            queue.readers >= FEW && queue.began.elapsed() > SLOW
        };
        self.send_for_one(if are_slow { MOST } else { FEW });
    }

    /// Sends for another reader, if something waits and there are fewer than `most`. Not to where a caller has left: where
    /// he left with his runtime, thousands may have, and a reader that is turned away sends for the next within the last.
    fn send_for_one(self: &Arc<Self>, most: usize) {
        let first = loop {
            let mut queue = self.queue();
            if queue.readers >= most {
                return;
            }
            let Some(first) = queue.next() else { return };
            if first.work.is_awaited() {
                queue.readers += 1;
                break first;
            }
        };
        let (reader, runtime) = (Reader(Arc::clone(self)), first.runtime.clone());
        // Where the runtime has ended, both are dropped at once, and this reader sends for the next.
        drop(runtime.spawn_blocking(move || reader.go_through(first)));
    }
}

impl Queue {
    fn next(&mut self) -> Option<Read> {
        let read = self.reads.pop_front()?;
        self.began = Instant::now();
        Some(read)
    }
}

/// One of those who read. When it leaves, another comes if something waits.
struct Reader(Arc<Readers>);

impl Reader {
    fn go_through(self, first: Read) {
        let readers = &self.0;
        let next = std::iter::from_fn(|| readers.queue().next());
        for read in std::iter::once(first).chain(next).take(READS_OF_ONE) {
            let began = Instant::now();
            read.work.run(&readers.store);
            if began.elapsed() > SLOW {
                readers.send_for_one(MOST);
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.queue().readers -= 1;
        self.0.send_for_one(FEW);
    }
}

//! One computation for any number of callers that want the same key at the same time.
//! `get_or_set` runs its closure through it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::backend::Stored;

/// What a flight brought: nothing while its leader is still at it.
type Outcome = Arc<tokio::sync::Mutex<Option<Stored>>>;

/// The computations under way, by final key.
#[derive(Default)]
pub(super) struct SingleFlight {
    flights: Mutex<HashMap<Arc<str>, Outcome>>,
    landed: AtomicU64,
}

/// What a caller is to do.
pub(super) enum Role {
    /// Compute the value, then [`Leader::land`] it. Dropped without, the next in line becomes the leader.
    Lead(Leader),
    /// Take the leader's value.
    Take(Stored),
}

/// The one that computes.
pub(super) struct Leader {
    outcome: OwnedMutexGuard<Option<Stored>>,
    seat: Seat,
}

/// A place in a flight. The last to leave one that did not land takes it off the map.
struct Seat {
    flights: Arc<SingleFlight>,
    key: Arc<str>,
    /// There until the seat is left.
    flight: Option<Outcome>,
}

impl SingleFlight {
    /// How many flights have landed so far. A caller that missed the cache, and becomes a leader after this number has
    /// changed, looks into the cache again: another's value may have landed between its look and its lead.
    pub(super) fn landed(&self) -> u64 {
        self.landed.load(Ordering::Acquire)
    }

    /// Waits for the flight of `key`, or leads it. Cancel-safe.
    pub(super) async fn board(self: &Arc<Self>, key: &str) -> Role {
        let (seat, flight) = self.seat(key);
        let outcome = flight.lock_owned().await;
        match &*outcome {
            Some(stored) => Role::Take(stored.clone()),
            None => Role::Lead(Leader { outcome, seat }),
        }
    }

    /// How many flights are under way.
    pub(super) fn under_way(&self) -> usize {
        self.flights().len()
    }

    fn seat(self: &Arc<Self>, key: &str) -> (Seat, Outcome) {
        let mut flights = self.flights();
        let (key, flight) = match flights.get_key_value(key) {
            Some((key, flight)) => (Arc::clone(key), Arc::clone(flight)),
            None => {
                let (key, flight) = (Arc::<str>::from(key), Outcome::default());
                flights.insert(Arc::clone(&key), Arc::clone(&flight));
                (key, flight)
            }
        };
        (Seat { flights: Arc::clone(self), key, flight: Some(Arc::clone(&flight)) }, flight)
    }

    /// The map is whole whatever panicked: each change to it is one call.
    fn flights(&self) -> MutexGuard<'_, HashMap<Arc<str>, Outcome>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leader {
    /// Hands the value to those who wait. Whoever comes later starts a new flight, so that nobody is given a value that
    /// was deleted before he asked.
    pub(super) fn land(mut self, stored: Stored) {
        *self.outcome = Some(stored);
        self.seat.flights.landed.fetch_add(1, Ordering::AcqRel);
        self.seat.leave(true);
    }
}

impl Seat {
    fn leave(&mut self, landed: bool) {
        let mut flights = self.flights.flights();
        let Some(flight) = self.flight.take() else { return };
        if flights.get(&self.key).is_some_and(|present| Arc::ptr_eq(present, &flight)) {
            // Seats are taken and left under the map's lock, and a waiter lets go of the flight before its seat. So with
            // two left, the map's and this one, nobody else is aboard.
            if landed || Arc::strong_count(&flight) == 2 {
                flights.remove(&self.key);
            }
        }
        // Under the lock still, or the next to leave would count this one in.
        drop(flight);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave(false);
    }
}

//! A backend that takes down which keys it was asked for last: so the bench learns from a hit itself what a hit asks for,
//! and has the raw clients ask for the very same.

use std::sync::{Arc, Mutex};

use larder::backend::{Backend, Patience, Reply, Stored};

use crate::forward::forward;

/// The keys of the last [`Backend::get_many`].
pub type LastKeys = Arc<Mutex<Vec<String>>>;

/// A backend that is listened to.
pub struct Recording<B> {
    pub backend: B,
    pub last_keys: LastKeys,
}

impl<B: Backend> Backend for Recording<B> {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    forward!(backend: clock, key_rule, get, set, add, touch, delete, incr, clear);

    fn largest_value(&self) -> usize {
        self.backend.largest_value()
    }

    fn patience(&self) -> Option<Patience> {
        self.backend.patience()
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        *self.last_keys.lock().expect("nobody panics with it") = keys.to_vec();
        self.backend.get_many(keys)
    }
}

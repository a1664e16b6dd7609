//! Ready-made objects beside the bytes, in the same table and the same budget.
//! The page floor reads its pages through it: one look-up, nothing parsed, nothing copied.

use std::sync::Arc;

use super::entry::Entry;
use super::{Found, OBJECT, Store};
use crate::backend::{Change, Object, Objects};

/// A look at the object under a key. The object stays what it is for as long as this lives, whatever becomes of the key.
pub struct Look(Option<Found>);

impl Look {
    /// The object, if there is one.
    pub fn object(&self) -> Option<&Arc<dyn Object>> {
        self.0.as_ref()?.entry()?.as_object()
    }
}

impl From<Option<Arc<dyn Object>>> for Look {
    fn from(object: Option<Arc<dyn Object>>) -> Self {
        Look(object.map(|object| Found::InTable(Entry::Object(object))))
    }
}

/// Keys are `0xFF`, the text that [`clear`](crate::backend::Backend::clear) takes as prefix, `0xFF`, and whatever the
/// caller likes.
impl Objects for Store {
    fn get(&self, key: &[u8]) -> Option<Arc<dyn Object>> {
        debug_assert_eq!(key.first(), Some(&OBJECT), "an object's key begins with 0xFF");
        self.look(key).object().cloned()
    }

    fn look(&self, key: &[u8]) -> Look {
        Look(self.look_up(key))
    }

    /// `change` runs in the writer's turn: it must not call the store again.
    fn update(&self, key: &[u8], change: &mut Change<'_>) -> bool {
        let written = {
            let _turn = self.turn(key);
            match change(self.present_object(key)) {
                Some(object) => {
                    let size = object.weight();
                    self.put(key, Entry::Object(object)).then_some(size)
                }
                None => {
                    Store::remove(self, key);
                    None
                }
            }
        };
        if let Some(size) = written {
            self.settle(key, size);
        }
        written.is_some()
    }

    fn refine(&self, key: &[u8], present: &Arc<dyn Object>, better: Arc<dyn Object>) {
        let size = better.weight();
        let is_written = {
            let _turn = self.turn(key);
            let is_present = self.present_object(key).is_some_and(|object| Arc::ptr_eq(&object, present));
            is_present && size <= self.room(key) && self.put(key, Entry::Object(better))
        };
        if is_written {
            self.settle(key, size);
        }
    }

    /// The stamp is in the writer's turn, and so is [`Objects::is_gone_since`] in that of [`Objects::update`]: an update is
    /// either over, and what it kept is removed here, or sees the stamp.
    fn remove(&self, key: &[u8]) -> bool {
        let _turn = self.turn(key);
        self.stamps.purge(key);
        Store::remove(self, key).is_some()
    }

    fn purges(&self) -> u64 {
        self.stamps.purges()
    }

    fn purge(&self, name: &[u8]) {
        self.stamps.purge(name);
    }

    fn is_purged_since(&self, name: &[u8], purges: u64) -> bool {
        self.stamps.is_purged_since(name, purges)
    }

    fn is_gone_since(&self, key: &[u8], purges: u64) -> bool {
        self.stamps.is_cleared_since(purges) || self.stamps.is_purged_since(key, purges)
    }
}

impl Store {
    /// The object in the table, for writers in their turn. The table counts who asks for what it does not have, as if it
    /// were popular: a new key was asked for once, by its reader.
    fn present_object(&self, key: &[u8]) -> Option<Arc<dyn Object>> {
        if !self.table.contains_key(key) {
            return None;
        }
        self.table.get(key)?.as_object().cloned()
    }
}

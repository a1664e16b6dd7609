//! Listens to the warnings that our caches log about keys, as Django's tests catch its `CacheKeyWarning`.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use larder::KeyProblem;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, subscriber};

/// The warnings logged on this thread, while it lives.
pub struct KeyWarnings {
    heard: Arc<Mutex<Vec<KeyProblem>>>,
    _listening: subscriber::DefaultGuard,
}

impl KeyWarnings {
    pub fn listen() -> Self {
        let heard = Arc::<Mutex<Vec<KeyProblem>>>::default();
        let _listening = subscriber::set_default(Listener(Arc::clone(&heard)));
        KeyWarnings { heard, _listening }
    }

    /// The warnings since the last call, in order.
    pub fn take(&self) -> Vec<KeyProblem> {
        std::mem::take(&mut self.heard.lock().expect("nothing panics with it"))
    }
}

struct Listener(Arc<Mutex<Vec<KeyProblem>>>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "larder::key"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Problem(&self.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Problem<'a>(&'a Mutex<Vec<KeyProblem>>);

impl Visit for Problem<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() != "problem" {
            return;
        }
        let text = format!("{value:?}");
        let problem = [KeyProblem::TooLong, KeyProblem::BadCharacters].into_iter().find(|one| one.to_string() == text);
        self.0.lock().expect("nothing panics with it").push(problem.expect("a problem that is known"));
    }
}

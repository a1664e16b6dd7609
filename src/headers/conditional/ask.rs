//! The functions that `condition(..)` asks for validators: of the request's head, at once or async.
//! The layer calls them before the handler runs.

use std::future::{Future, Ready, ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::request::Parts;
use pin_project_lite::pin_project;

/// A function from the head of a request to a validator `V`: an [`EntityTag`](super::EntityTag) or a
/// [`SystemTime`](std::time::SystemTime), or what is [`Into`] one: text, or the times of `chrono`, `jiff` and `time`.
///
/// `None` says that there is none (CON-19, CON-20). The function is one of these:
///
/// - `Fn(&Parts) -> Option<T>`, which answers at once;
/// - `Fn(&Parts) -> impl Future<Output = Option<T>>`, whose future borrows nothing from the head;
/// - `Fn(Parts) -> impl Future<Output = Option<T>>`, an `async fn` of a head of its own. The head is cloned for it, its
///   extensions included, so that axum's extractors work on it: it gets the arguments that the handler gets (CON-13).
///
/// `Marker` tells the three apart, and is inferred. A closure has to name the type of its argument: `|head: &Parts|`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function from the head of a request to a validator",
    note = "it has to be `Fn(&Parts) -> Option<T>`, or the same with a future of `Option<T>` that borrows nothing from \
            the head, or `async fn(Parts) -> Option<T>`",
    note = "a closure has to name the type of its argument, as in `|head: &http::request::Parts|`"
)]
pub trait FromHead<V, Marker> {
    /// The answer, when it is there.
    type Future: Future<Output = Option<V>>;

    /// Asks the function about a request.
    fn ask(&self, head: &Parts) -> Self::Future;
}

/// Marks a function that answers at once.
pub struct AtOnce<T>(PhantomData<fn() -> T>);

/// Marks a function that answers with a future.
pub struct Later<Fut>(PhantomData<fn() -> Fut>);

/// Marks a function that takes a head of its own, and answers with a future.
pub struct LaterFromOwned<Fut>(PhantomData<fn() -> Fut>);

impl<F, T, V> FromHead<V, AtOnce<T>> for F
where
    F: Fn(&Parts) -> Option<T>,
    T: Into<V>,
{
    type Future = Ready<Option<V>>;

    fn ask(&self, head: &Parts) -> Self::Future {
        ready(self(head).map(Into::into))
    }
}

impl<F, Fut, T, V> FromHead<V, Later<Fut>> for F
where
    F: Fn(&Parts) -> Fut,
    Fut: Future<Output = Option<T>>,
    T: Into<V>,
{
    type Future = Translated<Fut, V>;

    fn ask(&self, head: &Parts) -> Self::Future {
        Translated { inner: self(head), into: PhantomData }
    }
}

impl<F, Fut, T, V> FromHead<V, LaterFromOwned<Fut>> for F
where
    F: Fn(Parts) -> Fut,
    Fut: Future<Output = Option<T>>,
    T: Into<V>,
{
    type Future = Translated<Fut, V>;

    fn ask(&self, head: &Parts) -> Self::Future {
        Translated { inner: self(head.clone()), into: PhantomData }
    }
}

pin_project! {
    /// The future of an async function, its answer turned into a validator.
    pub struct Translated<Fut, V> {
        #[pin]
        inner: Fut,
        into: PhantomData<fn() -> V>,
    }
}

impl<Fut, T, V> Future for Translated<Fut, V>
where
    Fut: Future<Output = Option<T>>,
    T: Into<V>,
{
    type Output = Option<V>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<V>> {
        self.project().inner.poll(context).map(|found| found.map(Into::into))
    }
}

/// What a [`ConditionLayer`](super::ConditionLayer) asks for a validator: an [`Asked`] function, or nothing.
pub trait Ask<V> {
    /// The answer, when it is there.
    type Future: Future<Output = Option<V>>;

    /// Asks about a request.
    fn ask(&self, head: &Parts) -> Self::Future;
}

/// A function that is asked.
pub struct Asked<F, Marker> {
    function: F,
    marker: PhantomData<fn() -> Marker>,
}

impl<F, Marker> Asked<F, Marker> {
    pub(super) fn new(function: F) -> Self {
        Asked { function, marker: PhantomData }
    }
}

impl<F, Marker, V> Ask<V> for Asked<F, Marker>
where
    F: FromHead<V, Marker>,
{
    type Future = F::Future;

    fn ask(&self, head: &Parts) -> Self::Future {
        self.function.ask(head)
    }
}

/// No function: there is no validator of this kind.
pub struct NotAsked;

impl<V> Ask<V> for NotAsked {
    type Future = Ready<Option<V>>;

    fn ask(&self, _head: &Parts) -> Self::Future {
        ready(None)
    }
}

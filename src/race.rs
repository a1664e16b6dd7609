//! Work that is given up when something else happens first.
//! The flights wait with it, and whatever goes on without its visitor ends by it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// What `work` brings, or `None` where `given_up` is over before it. Where both are, the work counts.
pub(crate) async fn unless<T>(given_up: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut given_up) = (pin!(work), pin!(given_up));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(brought) => Poll::Ready(Some(brought)),
        Poll::Pending => given_up.as_mut().poll(context).map(|()| None),
    })
    .await
}

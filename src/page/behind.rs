//! Work behind a visitor who has his answer already: a page that is made anew, a handler that was late. The response future
//! hands it over; it ends by itself, as nobody would notice if it did not.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body::Body;
use tokio::time::{Instant, Sleep};

use super::body::PageBody;
use super::site::Site;
use super::visit::Visit;
use crate::race::unless;

/// How long it may go on. While it does, no other request makes that page anew.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits for a response that nobody gets, and for its body where that is stored.
pub(super) async fn go_on_behind<B: Body, E>(
    site: Arc<Site>,
    running: impl Future<Output = Result<Response<PageBody<B>>, E>>,
) {
    let alarm = site.cache().page_flights().alarm(Instant::now() + LONGEST);
    let is_over = async {
        match alarm {
            Some(alarm) => alarm.await,
            None => std::future::pending().await,
        }
    };
    let going = async {
        let Ok(response) = running.await else { return };
        response.into_body().read_to_be_stored().await;
    };
    if unless(is_over, going).await.is_none() {
        tracing::warn!(target: "larder", after = ?LONGEST, "a page that nobody waited for was not made in time");
    }
}

/// Goes off when a stale page is to stand in for a handler that is late.
pub(super) fn alarm(visit: &Visit, site: &Site) -> Option<Pin<Box<Sleep>>> {
    let patience = visit.patience(site)?;
    site.cache().page_flights().alarm(Instant::now() + patience).map(Box::pin)
}

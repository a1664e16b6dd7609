//! The handler of the chaos: a service that is slow, fails, panics, breaks its bodies off, and changes what it varies on.
//! Everything it answers says whom it is for (`identity.rs`).

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use larder::Tags;
use tokio::time::{Sleep, sleep};
use tower::Service;

use super::identity::Identity;
use super::ledger::{Ledger, raise, tags_of};
use crate::real::Dice;

/// A request says who asks, and its own number.
pub const VISITOR: &str = "x-visitor";
pub const REQUEST: &str = "x-request";
/// A response says in its head what its body says.
pub const IDENTITY: &str = "x-identity";

/// What the handler fails with.
#[derive(Debug)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler broke")
    }
}

impl std::error::Error for Broken {}

/// What it panics with.
const PANIC: &str = "the handler of the chaos panics";

pub fn is_panic_of_the_handler(payload: &(dyn Any + Send)) -> bool {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    text == Some(PANIC)
}

#[derive(Clone)]
pub struct Origin {
    pub ledger: Arc<Ledger>,
    pub dice: Arc<Dice>,
}

impl<B> Service<Request<B>> for Origin {
    type Response = Response<Trickle>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Trickle>, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let origin = self.clone();
        let parts = request.into_parts().0;
        Box::pin(async move { origin.answer(parts).await })
    }
}

impl Origin {
    async fn answer(self, request: http::request::Parts) -> Result<Response<Trickle>, Broken> {
        let Origin { ledger, dice } = &self;
        raise(&ledger.count.handled);
        let url: u64 = request.uri.path().rsplit('/').next().unwrap().parse().unwrap();
        let number = |name: &str| request.headers[name].to_str().unwrap().parse::<u64>().unwrap();
        // The content is read now; a purge that comes later is to make it unseen.
        let version = ledger.version(url);
        if dice.percent(70) {
            let most = if dice.percent(5) { 120_000 } else { 12_000 };
            sleep(Duration::from_micros(dice.within(0..most))).await;
        }
        match dice.within(0..100) {
            0..3 => return Err(Broken),
            3 => panic!("{PANIC}"),
            _ => {}
        }

        let varies = match url % 4 {
            0 => false,
            1 | 2 => true,
            _ => dice.percent(50),
        };
        let mut response = Response::new(());
        let headers = response.headers_mut();
        let (mut is_private, mut status) = (request.headers.contains_key("authorization"), StatusCode::OK);
        let lifetime = dice.within(1..4);
        let control = match dice.within(0..100) {
            0..4 => "private, max-age=60".to_owned(),
            4..6 => "no-store".to_owned(),
            6..26 => format!("max-age={lifetime}, stale-while-revalidate=3"),
            26..46 => format!("max-age={lifetime}, stale-if-error=5"),
            _ => format!("max-age={lifetime}"),
        };
        is_private |= control.starts_with("private") || control == "no-store";
        headers.insert("cache-control", HeaderValue::try_from(control).unwrap());
        if dice.percent(3) {
            is_private = true;
            headers.insert("set-cookie", HeaderValue::from_static("session=mine"));
        }
        if dice.percent(4) {
            (is_private, status) = (true, StatusCode::SERVICE_UNAVAILABLE);
        }
        if varies || is_private {
            let names = if dice.percent(80) { "x-visitor" } else { "accept-encoding, x-visitor" };
            headers.insert("vary", HeaderValue::from_static(names));
        }

        let identity = Identity {
            url,
            visitor: varies.then(|| number(VISITOR)),
            version,
            request: number(REQUEST),
            is_private,
            size: if dice.percent(5) { 60_000 } else { dice.within(100..6_000) as usize },
        };
        headers.insert(IDENTITY, HeaderValue::try_from(identity.line()).unwrap());
        if dice.percent(70) {
            headers.insert("etag", HeaderValue::try_from(identity.etag()).unwrap());
        }
        let body = Trickle::of(&identity, dice);
        // One that will end short always says its length, so that its visitor can tell; see `tests/short_bodies.rs`.
        if body.claims.is_some() && (body.is_short || dice.percent(50)) {
            headers.insert("content-length", HeaderValue::from(identity.body().len()));
        }
        *response.status_mut() = status;
        let tags = Tags::new(tags_of(url).into_iter().map(|tag| format!("tag:{tag}")));
        if !tags.is_empty() {
            response.extensions_mut().insert(tags);
        }
        Ok(response.map(|()| body))
    }
}

/// A body that comes in pieces, some slowly, and not always to its end.
pub struct Trickle {
    pieces: VecDeque<Bytes>,
    /// Bytes that it says are left; `None` is a stream.
    claims: Option<u64>,
    /// Ends in an error.
    fails: bool,
    /// Ends before what it claims.
    is_short: bool,
    /// Until the next piece comes.
    pause: Option<Pin<Box<Sleep>>>,
    slowness: Option<Arc<Dice>>,
}

impl Trickle {
    fn of(identity: &Identity, dice: &Arc<Dice>) -> Self {
        let mut body = identity.body();
        let claims = dice.percent(80).then_some(body.len() as u64);
        let mut pieces = VecDeque::new();
        let most = if dice.percent(50) { 1 } else { 6 };
        for _ in 1..most {
            let at = dice.within(0..body.len() as u64 + 1) as usize;
            pieces.push_back(body.split_to(at));
        }
        pieces.push_back(body);
        let (mut fails, mut is_short) = (false, false);
        match dice.within(0..100) {
            // Broken off with an error, and by ending before what was claimed. A stream that just ends is whole to everybody.
            0..4 => {
                fails = true;
                pieces.truncate(dice.within(0..pieces.len() as u64 + 1) as usize);
            }
            4..7 if claims.is_some() => {
                is_short = true;
                while pieces.pop_back().is_some_and(|piece| piece.is_empty()) {}
            }
            _ => {}
        }
        let slowness = dice.percent(40).then(|| Arc::clone(dice));
        Trickle { pieces, claims, fails, is_short, pause: None, slowness }
    }
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(dice) = self.slowness.clone() {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(Duration::from_micros(dice.within(0..8_000)))));
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(match self.pieces.pop_front() {
            Some(piece) => {
                self.claims = self.claims.map(|claims| claims - piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            None if std::mem::take(&mut self.fails) => Some(Err(Broken)),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.claims.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

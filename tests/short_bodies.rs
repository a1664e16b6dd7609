//! A handler whose body ends before the length it told of: through the cache, the visitor must be able to tell as well as
//! without it. Found by `tests/chaos.rs`.
#![allow(missing_docs)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use larder::{Cache, CacheLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, service_fn};

/// Says that it has ten bytes, and has six; the second half of them may be late.
struct Short {
    pieces: VecDeque<&'static str>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl http_body::Body for Short {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces.len() < 2
            && let Some(pause) = &mut self.pause
        {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(4 + self.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>())
    }
}

/// Head and body as they came over a socket of their own, until the server closed it.
async fn exchange(router: Router) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut came = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut came)).await.unwrap().unwrap();
    let came = String::from_utf8(came).unwrap();
    let (head, body) = came.split_once("\r\n\r\n").unwrap_or((&came, ""));
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Whether who read this takes it for a whole response.
fn looks_whole((head, body): &(String, String)) -> bool {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.map_or_else(|| body.ends_with("0\r\n\r\n"), |length| length == body.len())
}

async fn half_a_page_is_told_from_a_whole_one(is_slow: bool) {
    let handler = || {
        service_fn(move |_| async move {
            let pause = is_slow.then(|| Box::pin(tokio::time::sleep(Duration::from_millis(20))));
            Ok::<_, Infallible>(Response::new(Body::new(Short { pieces: ["abc", "def"].into(), pause })))
        })
    };
    let bare = exchange(Router::new().fallback_service(handler())).await;
    assert!(!looks_whole(&bare), "without the cache the visitor can tell: {bare:?}");
    for layer in
        [CacheLayer::per_site(), CacheLayer::per_site().coalesce(false), CacheLayer::per_site().store_streams(true)]
    {
        let layer = layer.cache(&Cache::memory());
        let around = exchange(Router::new().fallback_service(layer.layer(handler()))).await;
        assert!(!looks_whole(&around), "around a handler: {around:?}");
        let inside = exchange(Router::new().fallback_service(handler()).layer(layer)).await;
        assert!(!looks_whole(&inside), "inside of a router: {inside:?}");
    }
}

#[tokio::test]
async fn rule_18_half_a_page_does_not_look_whole_because_it_went_through_the_cache() {
    half_a_page_is_told_from_a_whole_one(false).await;
}

#[tokio::test]
async fn rule_18_half_a_page_that_is_late_does_not_look_whole_either() {
    half_a_page_is_told_from_a_whole_one(true).await;
}

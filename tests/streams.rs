//! Bodies of unknown length through the cache layer: what GET does not store, HEAD does not either (MID-5).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use larder::{Cache, CacheLayer};
use tower::{Layer, ServiceExt, service_fn};

/// A body that says nothing of its length.
struct Stream(Option<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn mid_5_head_of_a_stream_is_as_untouched_as_its_get() {
    let answer = service_fn(|_: Request<String>| async {
        Ok::<_, Infallible>(Response::new(Stream(Some(Bytes::from_static(b"a stream")))))
    });
    let site = CacheLayer::per_site().cache(&Cache::memory()).cache_status("larder").layer(answer);
    for method in ["GET", "HEAD", "HEAD"] {
        let request = Request::builder().method(method).uri("http://example.com/").body(String::new()).unwrap();
        let response = site.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["cache-status"], "larder; fwd=uri-miss; detail=streaming", "{method}");
        assert!(!response.headers().contains_key("expires"), "{method}");
    }
}

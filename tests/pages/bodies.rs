//! Bodies of any kind: other data types, streams that are passed on frame by frame, requests that stream.
//! No axum here: plain tower services with the bodies of `http-body-util` and of our own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::oneshot;
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{Broken, HOME, Plain, Script, Step, ask, get, head, request, settle, worlds};

#[tokio::test]
async fn a_waiting_body_is_passed_on_frame_by_frame_and_stored_at_its_end() {
    for (is_stream, tells_end) in [(false, false), (false, true), (true, false)] {
        for world in worlds() {
            let (open, gate) = oneshot::channel();
            let steps = vec![Step::Data("first "), Step::Wait(gate), Step::Data("second")];
            let script = if is_stream { Script::stream(steps) } else { Script::of_length(12, steps) };
            let script = if tells_end { script.telling_end() } else { script };
            let script = Arc::new(Mutex::new(Some(script)));
            let layer = world.site().store_streams(is_stream);
            let pages = layer.pages();
            let site = layer.layer(service_fn(move |_: Plain| {
                let script = script.lock().unwrap().take().expect("the handler runs once");
                async move { Ok::<_, Infallible>(Response::new(script)) }
            }));
            let response = site.clone().oneshot(get(HOME)).await.unwrap();
            assert_eq!(response.body().size_hint().exact(), if is_stream { None } else { Some(12) });
            let mut body = pin!(response.into_body());
            let frame = body.as_mut().frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "first ", "before the second is made");
            settle().await;
            assert!(pages.get(HOME).await.unwrap().is_none(), "{}: half a page is no page", world.name);
            open.send(()).unwrap();
            assert_eq!(body.as_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "second");
            if !tells_end {
                assert!(body.as_mut().frame().await.is_none());
            }
            assert!(body.is_end_stream() || !tells_end);
            settle().await;
            let hit = ask(&site, get(HOME)).await;
            assert_eq!((hit.is_hit(), hit.text()), (true, "first second"), "{}", world.name);
        }
    }
}

#[tokio::test]
async fn a_stream_is_left_alone_unless_the_layer_was_told_to_store_it() {
    for world in worlds() {
        let calls = Arc::new(Mutex::new(0));
        let counted = calls.clone();
        let site = world.site().layer(service_fn(move |_: Plain| {
            *counted.lock().unwrap() += 1;
            let frames =
                ["one ", "two"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes()))));
            async move { Ok::<_, Infallible>(Response::new(StreamBody::new(futures_util::stream::iter(frames)))) }
        }));
        for _ in 0..2 {
            let answer = ask(&site, get(HOME)).await;
            assert_eq!((answer.text(), answer.reason().as_str()), ("one two", "streaming"), "{}", world.name);
            assert!(!answer.headers.contains_key("expires"), "untouched");
        }
        assert_eq!(*calls.lock().unwrap(), 2);
    }
}

#[tokio::test]
async fn a_stored_stream_of_http_body_util_comes_back_whole() {
    for world in worlds() {
        let site = world.site().store_streams(true).layer(service_fn(move |_: Plain| {
            let frames =
                ["one ", "two"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes()))));
            async move { Ok::<_, Infallible>(Response::new(StreamBody::new(futures_util::stream::iter(frames)))) }
        }));
        let miss = ask(&site, get(HOME)).await;
        assert_eq!((miss.text(), miss.cache_status().is_stored), ("one two", true), "{} {miss:?}", world.name);
        let hit = ask(&site, get(HOME)).await;
        assert_eq!((hit.text(), hit.is_hit()), ("one two", true), "{} {hit:?}", world.name);
    }
}

/// A body whose data is no `Bytes` but pieces chained together.
struct Chained(VecDeque<(&'static [u8], &'static [u8])>);

impl Body for Chained {
    type Data = bytes::buf::Chain<&'static [u8], &'static [u8]>;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Broken>>> {
        Poll::Ready(self.0.pop_front().map(|(one, other)| Ok(Frame::data(one.chain(other)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|(one, other)| (one.len() + other.len()) as u64).sum())
    }
}

#[tokio::test]
async fn data_of_another_type_is_stored_and_passed_on() {
    for world in worlds() {
        for stores in [true, false] {
            let layer = world.site().key_prefix(stores.to_string()).timeout(if stores { 60 } else { 0 });
            let site = layer.layer(service_fn(|_: Plain| async {
                Ok::<_, Infallible>(Response::new(Chained([(&b"on"[..], &b"e "[..]), (b"", b"two")].into())))
            }));
            for _ in 0..2 {
                assert_eq!(ask(&site, get(HOME)).await.text(), "one two", "{}", world.name);
            }
            assert_eq!(ask(&site, get(HOME)).await.is_hit(), stores);
        }
    }
}

#[tokio::test]
async fn boxed_bodies_and_bodies_that_cannot_be_moved_will_do() {
    for world in worlds() {
        let site = world.site().layer(service_fn(|_: Plain| async {
            let body: UnsyncBoxBody<Bytes, Infallible> = Full::new(Bytes::from_static(b"boxed")).boxed_unsync();
            Ok::<_, Infallible>(Response::new(body))
        }));
        for _ in 0..2 {
            assert_eq!(ask(&site, get(HOME)).await.text(), "boxed");
        }
        assert!(ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
    }
}

#[tokio::test]
async fn a_request_body_streams_through_to_the_handler() {
    for world in worlds() {
        // The handler answers after the first frame, before the second one is made.
        let (seen, mut sees) = tokio::sync::mpsc::unbounded_channel();
        let site = world.site().layer(service_fn(move |request: Request<Script>| {
            let seen = seen.clone();
            async move {
                let mut body = pin!(request.into_body());
                while let Some(frame) = body.as_mut().frame().await {
                    seen.send(frame.unwrap().into_data().unwrap()).unwrap();
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
            }
        }));
        let (open, gate) = oneshot::channel();
        let body = Script::stream([Step::Data("first"), Step::Wait(gate), Step::Data("second")]);
        let request = Request::builder().method(Method::POST).uri(HOME).body(body).unwrap();
        let visit = tokio::spawn(async move { ask(&site, request).await });
        assert_eq!(sees.recv().await.unwrap(), "first", "before the second is made");
        open.send(()).unwrap();
        assert_eq!(sees.recv().await.unwrap(), "second");
        assert_eq!(visit.await.unwrap().text(), "done", "{}", world.name);
    }
}

#[tokio::test]
async fn a_handler_that_answers_a_head_with_a_body_is_stored_without_it() {
    for world in worlds() {
        let site = world.site().layer(service_fn(|_: Plain| async {
            Ok::<_, Infallible>(Response::new(Script::of_length(32, [Step::Data("a body that a HEAD does not have")])))
        }));
        ask(&site, head(HOME)).await;
        let hit = ask(&site, head(HOME)).await;
        assert_eq!((hit.is_hit(), hit.text()), (true, ""), "{}", world.name);
    }
}

#[tokio::test]
async fn the_error_of_the_inner_body_is_the_visitors() {
    for world in worlds() {
        let site = world.site().layer(service_fn(|request: Plain| async move {
            let fails = request.method() == Method::POST;
            let body =
                if fails { Script::stream([Step::Fail]) } else { Script::of_length(5, [Step::Data("a"), Step::Fail]) };
            Ok::<_, Infallible>(Response::new(body))
        }));
        for method in [Method::GET, Method::POST] {
            let response = site.clone().oneshot(request(method, HOME, &[])).await.unwrap();
            assert_eq!(response.into_body().collect().await.err(), Some(Broken), "{}", world.name);
        }
    }
}

//! stale-if-error: where the handler fails, a page whose time is up is better than an error, for as long as it was granted.
//! What is no failure of the handler reaches the visitor as it is.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt};

use crate::world::gated::{Failed, Gated, until};
use crate::world::{
    CacheStatus, HOME, Plain, Script, Step, World, ask, get, get_with, head, page, request, settle, worlds,
};

/// What the handler fails with, if it fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Error,
    Status(u16),
}

/// The first answer is a page, the others fail.
fn failing(failure: Failure, lines: &'static [(&'static str, &'static str)]) -> Gated {
    Gated::opened(move |_, call| match failure {
        _ if call == 1 => {
            let mut response = page("answer 1");
            response.headers_mut().extend(crate::world::header_map(lines));
            Ok(response)
        }
        Failure::Error => Err(Failed),
        Failure::Status(status) => Ok(Response::builder().status(status).body(Full::from("an error")).unwrap()),
    })
}

fn stood_in(status: Option<i64>) -> CacheStatus {
    CacheStatus {
        cache: "larder".into(),
        fwd: Some("stale".into()),
        fwd_status: status,
        detail: Some("stale-if-error".into()),
        ..CacheStatus::default()
    }
}

#[tokio::test]
async fn a_stale_page_stands_in_for_an_error() {
    let failures = [500, 502, 503, 504, 408].map(Failure::Status).into_iter().chain([Failure::Error]);
    for (position, failure) in failures.enumerate() {
        for world in worlds() {
            let handler = failing(failure, &[]);
            let site = world.site().key_prefix(position.to_string()).timeout(60).stale_if_error(600);
            let site = site.layer(handler.clone());
            ask(&site, get(HOME)).await;
            settle().await;
            for age in [60, 659] {
                world.wait(age - if age == 60 { 0 } else { 60 });
                let answer = ask(&site, get(HOME)).await;
                assert_eq!((answer.status, answer.text()), (StatusCode::OK, "answer 1"), "{} {failure:?}", world.name);
                assert_eq!(answer.header("age"), age.to_string());
                let status = if let Failure::Status(status) = failure { Some(status.into()) } else { None };
                assert_eq!(answer.cache_status(), stood_in(status), "{}", world.name);
                settle().await;
            }
            assert_eq!(handler.calls(), 3, "the handler is asked each time");
        }
    }
}

#[tokio::test]
async fn beyond_its_period_the_error_is_the_answer() {
    for world in worlds() {
        let site = world.site().timeout(60).stale_if_error(600).layer(failing(Failure::Status(503), &[]));
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(660);
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::SERVICE_UNAVAILABLE, "an error"), "{}", world.name);
        let site = world.site().key_prefix("b").timeout(60).stale_if_error(600).layer(failing(Failure::Error, &[]));
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(660);
        assert_eq!(site.oneshot(get(HOME)).await.unwrap_err(), Failed, "{}", world.name);
    }
}

#[tokio::test]
async fn the_period_is_over_when_the_handler_fails_not_when_it_is_asked() {
    for world in worlds() {
        let hands = world.hands.clone();
        let handler = Gated::opened(move |_, call| {
            if call == 1 {
                return Ok(page("answer 1"));
            }
            hands.advance(std::time::Duration::from_secs(30));
            Ok(Response::builder().status(504).body(Full::from("too late")).unwrap())
        });
        let site = world.site().timeout(60).stale_if_error(40).layer(handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1", "{}", world.name);
        assert_eq!(ask(&site, get(HOME)).await.text(), "too late", "{}", world.name);
    }
}

#[tokio::test]
async fn what_is_no_error_of_the_service_is_passed_on() {
    for world in worlds() {
        for status in [400, 401, 403, 404, 429, 501, 302] {
            let handler = failing(Failure::Status(status), &[]);
            let site = world.site().key_prefix(status.to_string()).timeout(60).stale_if_error(600);
            let site = site.layer(handler);
            ask(&site, get(HOME)).await;
            settle().await;
            world.wait(60);
            let answer = ask(&site, get(HOME)).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (status, "an error"), "{}", world.name);
        }
    }
}

#[tokio::test]
async fn what_must_be_revalidated_does_not_stand_in() {
    for world in worlds() {
        for (position, lines) in [
            &[("cache-control", "max-age=60, must-revalidate")],
            &[("cache-control", "max-age=60, stale-if-error=600, proxy-revalidate")],
            &[("cache-control", "max-age=60, s-maxage=60")],
            &[("cache-control", "max-age=60, stale-while-revalidate=0, stale-if-error=0")],
        ]
        .into_iter()
        .enumerate()
        {
            let site = world.site().key_prefix(position.to_string()).stale_if_error(600).stale_while_revalidate(600);
            let site = site.layer(failing(Failure::Status(503), lines));
            ask(&site, get(HOME)).await;
            settle().await;
            world.wait(65);
            assert_eq!(ask(&site, get(HOME)).await.status, 503, "{} {lines:?}", world.name);
        }
        let site = world
            .site()
            .key_prefix("own")
            .layer(failing(Failure::Error, &[("cache-control", "max-age=60, stale-if-error=600")]));
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        assert_eq!(ask(&site, get(HOME)).await.cache_status(), stood_in(None), "{}", world.name);
    }
}

#[tokio::test]
async fn a_head_and_a_visitor_who_has_the_page_get_what_they_would_of_a_fresh_one() {
    for world in worlds() {
        let site =
            world.site().timeout(60).stale_if_error(600).layer(failing(Failure::Status(500), &[("etag", "\"v\"")]));
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        let answer = ask(&site, head(HOME)).await;
        assert_eq!((answer.status, answer.header("content-length"), &*answer.body), (StatusCode::OK, "8", &b""[..]));
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(&site, request(method, HOME, &[("if-none-match", "\"v\"")])).await;
            assert_eq!((answer.status, answer.header("age")), (StatusCode::NOT_MODIFIED, "65"), "{}", world.name);
            assert_eq!(answer.cache_status(), stood_in(Some(500)));
        }
    }
}

#[tokio::test]
async fn rule_6_a_stale_page_that_is_not_public_stands_in_for_no_visitor_with_credentials() {
    for world in worlds() {
        let site = world.site().timeout(60).stale_if_error(600).layer(failing(Failure::Status(503), &[]));
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        let answer = ask(&site, get_with(HOME, &[("authorization", "Basic YTpi")])).await;
        assert_eq!(answer.status, 503, "{}", world.name);
        assert_eq!(ask(&site, get(HOME)).await.status, 200);
    }
}

#[tokio::test]
async fn rule_4_a_stale_page_stands_in_for_its_own_variant_alone() {
    for world in worlds() {
        let site = world.site().timeout(60).stale_if_error(600).layer(failing(Failure::Error, &[("vary", "x-a")]));
        ask(&site, get_with(HOME, &[("x-a", "1")])).await;
        settle().await;
        world.wait(65);
        site.clone().oneshot(get_with(HOME, &[("x-a", "2")])).await.unwrap_err();
        site.clone().oneshot(get(HOME)).await.unwrap_err();
        assert_eq!(ask(&site, get_with(HOME, &[("x-a", "1")])).await.text(), "answer 1", "{}", world.name);
    }
}

#[tokio::test]
async fn the_page_that_an_answer_said_to_be_gone_does_not_stand_in_afterwards() {
    for world in worlds() {
        let handler = Gated::opened(|_, call| {
            let status = [200, 404, 503][call.min(3) - 1];
            Ok(Response::builder().status(status).body(Full::from(format!("answer {call}"))).unwrap())
        });
        let site = world.site().timeout(60).stale_if_error(600).layer(handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        assert_eq!(ask(&site, get(HOME)).await.status, 404, "{}", world.name);
        settle().await;
        assert_eq!(ask(&site, get(HOME)).await.status, 503, "{}", world.name);
    }
}

#[tokio::test]
async fn those_who_wait_for_a_handler_that_fails_get_the_stale_page_too_and_it_is_asked_once() {
    for world in worlds() {
        for (prefix, failure) in [("status", Failure::Status(503)), ("error", Failure::Error)] {
            let handler = failing(failure, &[]);
            let site = world.site().key_prefix(prefix).timeout(60).stale_if_error(600).layer(handler.clone());
            ask(&site, get(HOME)).await;
            settle().await;
            world.wait(65);
            handler.close();
            let visitors: Vec<_> = (0..100)
                .map(|_| {
                    let site = site.clone();
                    tokio::spawn(async move { ask(&site, get(HOME)).await })
                })
                .collect();
            handler.reach(2).await;
            settle().await;
            handler.open();
            for answer in join_all(visitors).await {
                let answer = answer.unwrap();
                assert_eq!((answer.status, answer.text()), (StatusCode::OK, "answer 1"), "{}", world.name);
                assert_eq!(answer.reason(), "stale-if-error");
            }
            assert_eq!(handler.calls(), 2, "{} {prefix}", world.name);
            settle().await;
        }
    }
}

#[tokio::test]
async fn those_who_have_waited_for_long_get_the_stale_page_instead_of_asking_the_handler_too() {
    for world in worlds() {
        let handler = failing(Failure::Error, &[]);
        let layer = world.site().timeout(60).stale_if_error(600).longest_wait(std::time::Duration::from_millis(20));
        let site = layer.layer(handler.clone());
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        handler.close();
        let leader = tokio::spawn({
            let site = site.clone();
            async move { ask(&site, get(HOME)).await }
        });
        handler.reach(2).await;
        for answer in join_all((0..10).map(|_| ask(&site, get(HOME)))).await {
            assert_eq!((answer.text(), answer.cache_status()), ("answer 1", stood_in(None)), "{}", world.name);
        }
        assert_eq!(handler.calls(), 2, "{}", world.name);
        handler.open();
        assert_eq!(leader.await.unwrap().text(), "answer 1");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_before_anybody_saw_it_is_an_error() {
    for world in worlds() {
        let mut call = 0;
        let handler = tower::service_fn(move |_: Plain| {
            call += 1;
            let script = if call == 1 {
                Script::of_length(6, [Step::Data("a page")])
            } else {
                Script::of_length(6, [Step::Data("a p"), Step::Fail])
            };
            async move { Ok::<_, Failed>(Response::new(script)) }
        });
        let shared = std::sync::Arc::new(std::sync::Mutex::new(handler));
        let handler = tower::service_fn(move |request: Plain| shared.lock().unwrap().call(request));
        let site = world.site().timeout(60).stale_if_error(600).layer(handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.text(), answer.cache_status()), ("a page", stood_in(Some(200))), "{}", world.name);
    }
}

/// A service that is never ready to take a request.
#[derive(Clone)]
struct NeverReady<S>(S, bool);

impl<S: Service<Plain, Error = Failed>> Service<Plain> for NeverReady<S> {
    type Response = S::Response;
    type Error = Failed;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.1 { Poll::Ready(Err(Failed)) } else { self.0.poll_ready(context) }
    }

    fn call(&mut self, request: Plain) -> S::Future {
        self.0.call(request)
    }
}

#[tokio::test]
async fn a_service_that_cannot_be_made_ready_is_an_error() {
    for world in worlds() {
        let layer = world.site().timeout(60).stale_if_error(600);
        let handler = failing(Failure::Error, &[]);
        ask(&layer.layer(NeverReady(handler.clone(), false)), get(HOME)).await;
        settle().await;
        world.wait(65);
        let answer = ask(&layer.layer(NeverReady(handler, true)), get(HOME)).await;
        assert_eq!((answer.text(), answer.cache_status()), ("answer 1", stood_in(None)), "{}", world.name);
    }
}

#[tokio::test]
async fn after_an_outage_the_first_answer_is_stored_again() {
    for world in worlds() {
        let handler = Gated::opened(|_, call| match call {
            2..=4 => Err(Failed),
            _ => Ok(page(Bytes::from(format!("answer {call}")))),
        });
        let site = world.site().timeout(60).stale_if_error(600).layer(handler.clone());
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        for _ in 2..=4 {
            assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1", "{}", world.name);
        }
        assert_eq!(ask(&site, get(HOME)).await.text(), "answer 5", "{}", world.name);
        settle().await;
        until(async || ask(&site, get(HOME)).await.is_hit(), "it is stored").await;
        assert_eq!(handler.calls(), 5);
    }
}

#[tokio::test]
async fn it_is_told_to_tools_only_as_long_as_it_is_fresh() {
    async fn stored(world: &World) -> bool {
        world.site().pages().get(HOME).await.unwrap().is_some()
    }
    for world in worlds() {
        let site = world.site().timeout(60).stale_if_error(600).layer(failing(Failure::Error, &[]));
        ask(&site, get(HOME)).await;
        settle().await;
        assert!(stored(&world).await);
        world.wait(60);
        assert!(!stored(&world).await, "{}: the next request waits for the handler", world.name);
    }
}

#[tokio::test]
async fn a_handler_that_is_late_is_as_good_as_one_that_fails_and_its_page_is_stored() {
    for world in worlds() {
        let handler = Gated::opened(|_, call| Ok(page(format!("answer {call}"))));
        let layer = world.site().timeout(60).stale_if_error(600).stale_after(std::time::Duration::from_millis(20));
        let site = layer.layer(handler.clone());
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        handler.close();
        // The first one asks the handler, the others wait for it; none of them for long.
        for answer in join_all((0..10).map(|_| ask(&site, get(HOME)))).await {
            assert_eq!((answer.text(), answer.cache_status()), ("answer 1", stood_in(None)), "{}", world.name);
        }
        assert_eq!(handler.calls(), 2, "{}", world.name);
        handler.open();
        let is_new = async || {
            let answer = ask(&site, get(HOME)).await;
            answer.is_hit() && answer.text() == "answer 2"
        };
        until(is_new, "the late page is stored").await;
        assert_eq!(handler.calls(), 2, "{}", world.name);
    }
}

#[tokio::test]
async fn nobody_stops_waiting_where_there_is_nothing_stale_to_answer() {
    for world in worlds() {
        let handler = Gated::opened(|_, call| Ok(page(format!("answer {call}"))));
        let layer = world.site().timeout(60).stale_if_error(600).stale_after(std::time::Duration::ZERO);
        let site = layer.layer(handler.clone());
        handler.close();
        let visitor = tokio::spawn({
            let site = site.clone();
            async move { ask(&site, get(HOME)).await }
        });
        handler.reach(1).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert!(!visitor.is_finished(), "{}", world.name);
        handler.open();
        assert_eq!(visitor.await.unwrap().text(), "answer 1");
    }
}

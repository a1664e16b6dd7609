//! Rules 5, 6 and 7: cookies that are set and requests with credentials stay out of the shared page.
//! Rule 7 shows both orders of a session layer and the cache.

use std::convert::Infallible;

use http::{HeaderValue, Method};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::world::{HOME, Handler, Plain, ask, get, get_with, page, request, worlds};

#[tokio::test]
async fn rule_05_a_response_that_sets_a_cookie_is_never_stored() {
    let responses: [&[(&str, &str)]; 7] = [
        &[("set-cookie", "session=1")],
        &[("Set-Cookie", "a=1; Path=/"), ("set-cookie", "b=2")],
        &[("set-cookie", "")],
        &[("set-cookie", "a=1"), ("cache-control", "public, max-age=600")],
        &[("set-cookie", "a=1"), ("vary", "Cookie")],
        &[("set-cookie", "a=1"), ("vary", "Accept-Language"), ("cache-control", "s-maxage=600")],
        &[("set-cookie", "a=1"), ("cache-control", "no-cache=\"set-cookie\"")],
    ];
    let visitors: [&[(&str, &str)]; 4] =
        [&[], &[("cookie", "session=1")], &[("cookie", "csrftoken=x"), ("cookie", "y=1")], &[("cookie", "")]];
    for lines in responses {
        for visitor in visitors {
            for world in worlds() {
                let handler = Handler::saying(lines);
                let site = world.around(&handler);
                for call in 1..=3 {
                    let answer = ask(&site, get_with(HOME, visitor)).await;
                    assert_eq!(answer.text(), format!("answer {call}"), "{} {lines:?}", world.name);
                    assert_eq!(answer.reason(), "set-cookie");
                }
                assert_eq!(world.text.map(|text| text.keys()).unwrap_or_default(), [""; 0]);
            }
        }
    }
}

#[tokio::test]
async fn rule_05_neither_for_a_head_nor_under_a_page_timeout() {
    for world in worlds() {
        let handler = Handler::saying(&[("set-cookie", "session=1")]);
        let site = world.site().page_timeout(600).layer(handler.clone());
        for method in [Method::HEAD, Method::GET, Method::HEAD] {
            assert_eq!(ask(&site, request(method, HOME, &[])).await.reason(), "set-cookie");
        }
        assert_eq!(handler.calls(), 3);
    }
}

#[tokio::test]
async fn rule_05_the_opt_out_is_explicit_and_per_layer() {
    for world in worlds() {
        let handler = Handler::saying(&[("set-cookie", "theme=dark"), ("set-cookie", "b=2")]);
        let opted_out = world.site().store_set_cookie(true).layer(handler.clone());
        let other = world.site().key_prefix("other").layer(handler.clone());
        ask(&opted_out, get(HOME)).await;
        let hit = ask(&opted_out, get(HOME)).await;
        assert!(hit.is_hit());
        assert_eq!(hit.lines("set-cookie"), ["theme=dark", "b=2"]);
        assert_eq!(ask(&other, get(HOME)).await.reason(), "set-cookie");
        assert_eq!(ask(&other, get(HOME)).await.text(), "answer 3");
    }
}

const CREDENTIALS: [&[(&str, &str)]; 5] = [
    &[("authorization", "Basic YTpi")],
    &[("Authorization", "Bearer x")],
    &[("authorization", "")],
    &[("authorization", ""), ("authorization", "Basic YTpi")],
    &[("authorization", "Basic YTpi"), ("authorization", "")],
];

const NOT_PUBLIC: [&[(&str, &str)]; 8] = [
    &[],
    &[("cache-control", "max-age=600")],
    &[("cache-control", "x-public")],
    &[("cache-control", "publicly")],
    &[("cache-control", "ext=\"public\"")],
    &[("cache-control", "ext=\"a, public, b\"")],
    &[("cache-control", "s-maxage=600, must-revalidate")],
    &[("vary", "authorization")],
];

#[tokio::test]
async fn rule_06_a_page_made_for_credentials_is_not_stored() {
    for credentials in CREDENTIALS {
        for lines in NOT_PUBLIC {
            for world in worlds() {
                let handler = Handler::saying(lines);
                let site = world.around(&handler);
                assert_eq!(ask(&site, get_with(HOME, credentials)).await.reason(), "authorization");
                assert_eq!(ask(&site, get(HOME)).await.text(), "answer 2", "{} {lines:?}", world.name);
            }
        }
    }
}

#[tokio::test]
async fn rule_06_credentials_are_not_answered_with_the_shared_page() {
    for credentials in CREDENTIALS {
        for lines in NOT_PUBLIC {
            for world in worlds() {
                let handler = Handler::saying(lines);
                let site = world.around(&handler);
                ask(&site, get(HOME)).await;
                let answer = ask(&site, get_with(HOME, credentials)).await;
                assert_eq!(answer.text(), "answer 2", "{} {credentials:?} {lines:?}", world.name);
                assert_eq!(answer.reason(), "authorization");
                let answer = ask(&site, request(Method::HEAD, HOME, credentials)).await;
                assert!(!answer.is_hit(), "nor a HEAD: {} {credentials:?}", world.name);
                assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1", "the shared page is as it was");
            }
        }
    }
}

#[tokio::test]
async fn rule_06_public_pages_are_for_everybody() {
    for spelling in ["public", "PUBLIC, max-age=60", "max-age=60 ,\tPublic"] {
        for world in worlds() {
            let handler = Handler::saying(&[("cache-control", spelling)]);
            let site = world.around(&handler);
            assert!(ask(&site, get_with(HOME, CREDENTIALS[0])).await.cache_status().is_stored);
            assert!(ask(&site, get(HOME)).await.is_hit());
            assert!(ask(&site, get_with(HOME, CREDENTIALS[1])).await.is_hit());
            assert_eq!(handler.calls(), 1);
        }
    }
}

#[tokio::test]
async fn rule_06_a_public_page_behind_one_that_is_not_is_still_found() {
    // Both match an anonymous request; only one may answer credentials.
    for world in worlds() {
        let handler = Handler::new(|request, call| {
            let mut response = page(format!("answer {call}"));
            if request.headers.contains_key("authorization") {
                response.headers_mut().insert("cache-control", HeaderValue::from_static("public"));
                response.headers_mut().insert("vary", HeaderValue::from_static("authorization"));
            }
            response
        });
        let site = world.around(&handler);
        ask(&site, get_with(HOME, CREDENTIALS[0])).await;
        ask(&site, get(HOME)).await;
        world.wait(1);
        assert_eq!(ask(&site, get_with(HOME, CREDENTIALS[0])).await.text(), "answer 1", "{}", world.name);
        assert_eq!(ask(&site, get(HOME)).await.text(), "answer 2", "{}", world.name);
        assert_eq!(ask(&site, get_with(HOME, CREDENTIALS[1])).await.text(), "answer 3", "{}", world.name);
    }
}

/// Whose session a request belongs to, as a session layer tells the handler.
#[derive(Clone)]
struct Session(String);

/// A session layer like Django's: reads the cookie, tells the handler, answers with a cookie for newcomers and with
/// `Vary: Cookie`.
fn sessions<S>(
    inner: S,
) -> impl Service<Plain, Response = http::Response<S::Body>, Error = Infallible, Future: Send> + Clone
where
    S: Inner,
{
    service_fn(move |mut request: Plain| {
        let inner = inner.clone();
        async move {
            let cookie = request.headers().get("cookie").map(|value| value.to_str().unwrap().to_owned());
            let is_new = cookie.is_none();
            let user = cookie.unwrap_or_else(|| "newcomer".into());
            request.extensions_mut().insert(Session(user));
            let mut response = inner.oneshot(request).await?;
            response.headers_mut().append("vary", HeaderValue::from_static("Cookie"));
            if is_new {
                response.headers_mut().append("set-cookie", HeaderValue::from_static("session=fresh"));
            }
            Ok(response)
        }
    })
}

/// Short for the bounds of what `sessions` wraps.
trait Inner:
    Service<Plain, Response = http::Response<<Self as Inner>::Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
    type Body;
}

impl<S, B> Inner for S
where
    S: Service<Plain, Response = http::Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Body = B;
}

fn greeter() -> Handler {
    Handler::new(|request, _| {
        let Session(user) = request.extensions.get().expect("the session layer is outside");
        page(format!("hello, {user}"))
    })
}

#[tokio::test]
async fn rule_07_the_safe_order_is_the_cache_outside_the_sessions() {
    for world in worlds() {
        let handler = greeter();
        let site = world.site().layer(sessions(handler.clone()));
        for _ in 0..2 {
            let newcomer = ask(&site, get(HOME)).await;
            assert_eq!((newcomer.reason().as_str(), newcomer.header("set-cookie")), ("set-cookie", "session=fresh"));
            for user in ["ada", "bob"] {
                let answer = ask(&site, get_with(HOME, &[("cookie", user)])).await;
                assert_eq!(answer.text(), format!("hello, {user}"), "{}", world.name);
                assert_eq!(answer.lines("set-cookie"), [""; 0]);
            }
        }
        assert_eq!(handler.calls(), 4, "known visitors are answered from the cache, each with their own page");
    }
}

#[tokio::test]
async fn rule_07_the_unsafe_order_is_the_sessions_outside_the_cache() {
    // The cache sees neither the cookie that is set nor the Vary: it cannot know that the page is one visitor's. This is
    // why the documentation of layer order says to put the cache outside.
    for world in worlds() {
        let site = sessions(world.site().layer(greeter()));
        ask(&site, get_with(HOME, &[("cookie", "ada")])).await;
        let bob = ask(&site, get_with(HOME, &[("cookie", "bob")])).await;
        assert_eq!(bob.text(), "hello, ada", "this order leaks, with any cache");
        // A cookie that the outer layer sets on a hit is fresh, not stored.
        let newcomer = ask(&site, get(HOME)).await;
        assert!(newcomer.is_hit());
        assert_eq!(newcomer.header("set-cookie"), "session=fresh");
        assert_eq!(ask(&site, get_with(HOME, &[("cookie", "bob")])).await.lines("set-cookie"), [""; 0]);
    }
}

#[tokio::test]
async fn rule_07_in_the_unsafe_order_the_handler_can_still_refuse() {
    for world in worlds() {
        let handler = Handler::new(|request: &http::request::Parts, _| {
            let Session(user) = request.extensions.get().unwrap();
            let mut response = page(format!("hello, {user}"));
            response.headers_mut().insert("vary", HeaderValue::from_static("cookie"));
            response
        });
        let site = sessions(world.site().layer(handler));
        for user in ["ada", "bob", "ada"] {
            let answer = ask(&site, get_with(HOME, &[("cookie", user)])).await;
            assert_eq!(answer.text(), format!("hello, {user}"), "{}", world.name);
        }
    }
}

//! Directives of every kind, targeted fields (RFC 9213), and what handlers of axum return to set headers.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use larder::CacheControl;
use larder::headers::{NeverCache, PatchHeaders, Targeted, VaryOn, patch_targeted};

const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");

fn field(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(CDN, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    headers
}

fn read(lines: &[&str]) -> Option<String> {
    CacheControl::from_targeted(&field(lines), "CDN-Cache-Control").map(|control| control.to_string())
}

fn written(control: CacheControl) -> Option<String> {
    let mut headers = HeaderMap::new();
    patch_targeted(&mut headers, &CDN, &control);
    headers.get(CDN).map(|value| value.to_str().unwrap().to_owned())
}

/// What a directive's builder and its getters say of it.
type Stands = fn(&CacheControl) -> bool;

#[test]
fn every_directive_of_rfc_9111_5861_and_8246_is_typed() {
    let new = CacheControl::new;
    let table: [(CacheControl, &str, Stands); 20] = [
        (new().max_age(1), "max-age=1", |control| control.max_age_seconds() == Some(1)),
        (new().max_stale(2), "max-stale=2", |control| control.max_stale_seconds() == Some(2)),
        (new().max_stale_of_any_age(), "max-stale", |control| control.max_stale_seconds() == Some(u64::MAX)),
        (new().min_fresh(3), "min-fresh=3", |control| control.min_fresh_seconds() == Some(3)),
        (new().no_cache(), "no-cache", |control| control.is_no_cache() && control.no_cache_names().is_none()),
        (new().no_cache_fields(["A", "B"]), "no-cache=\"A, B\"", |control| {
            control.is_no_cache() && control.no_cache_names() == Some(vec!["A".into(), "B".into()])
        }),
        (new().no_store(), "no-store", CacheControl::is_no_store),
        (new().no_transform(), "no-transform", CacheControl::is_no_transform),
        (new().only_if_cached(), "only-if-cached", CacheControl::is_only_if_cached),
        (new().must_revalidate(), "must-revalidate", CacheControl::is_must_revalidate),
        (new().must_understand(), "must-understand", CacheControl::is_must_understand),
        (new().private(), "private", |control| control.is_private() && control.private_names().is_none()),
        (new().private_fields(["A"]), "private=\"A\"", |control| {
            control.is_private() && control.private_names() == Some(vec!["A".into()])
        }),
        (new().proxy_revalidate(), "proxy-revalidate", CacheControl::is_proxy_revalidate),
        (new().public(), "public", CacheControl::is_public),
        (new().s_maxage(4), "s-maxage=4", |control| control.s_maxage_seconds() == Some(4)),
        (new().stale_while_revalidate(5), "stale-while-revalidate=5", |control| {
            control.stale_while_revalidate_seconds() == Some(5)
        }),
        (new().stale_if_error(6), "stale-if-error=6", |control| control.stale_if_error_seconds() == Some(6)),
        (new().immutable(), "immutable", CacheControl::is_immutable),
        (new().directive_value("community", "UCI"), "community=UCI", |control| {
            control.value("community") == Some("UCI")
        }),
    ];
    for (control, text, stands) in table {
        assert_eq!(control.to_string(), text);
        assert!(stands(&control), "{text}");
        assert!(stands(&text.parse().unwrap()), "{text}");
        assert!(!stands(&CacheControl::new()), "{text}");
        assert!(stands(&read(&[&written(control).unwrap()]).unwrap().parse().unwrap()), "{text} as a targeted field");
    }
    let lists: CacheControl = "no-cache=\"A\", no-cache=\"B,,C\", max-stale=soon".parse().unwrap();
    assert_eq!(lists.no_cache_names().unwrap(), ["A", "B", "C"]);
    assert_eq!(lists.max_stale_seconds(), None);
}

#[test]
fn rfc_9213_a_targeted_field_is_read_as_a_dictionary() {
    for (lines, control) in [
        (&["max-age=60, public"][..], Some("max-age=60, public")),
        (&["max-age=60", "no-store"], Some("max-age=60, no-store")),
        (&["no-store=?1, private=?0"], Some("no-store")),
        (&["private=?0"], None),
        (&["max-age=60;ext=\"a, b\", immutable;x"], Some("max-age=60, immutable")),
        (&["max-age=60, max-age=30"], Some("max-age=30")),
        (&["no-cache=\"A\", no-cache=\"B\""], Some("no-cache=\"B\"")),
        (&["max-age=\"60\", s-maxage=token, stale-if-error=1.5, public"], Some("public")),
        (&["max-age, public"], Some("max-age, public")),
        (&["max-age=(1 2), ext=(a b), public"], Some("public")),
        (
            &["private=\"Set-Cookie\", ext=tok, x=:YQ==:, d=1.50"],
            Some("private=\"Set-Cookie\", ext=tok, x=:YQ==:, d=1.5"),
        ),
        (&[], None),
        (&[""], None),
        (&["Max-Age=60"], None),
        (&["max-age=60,"], None),
        (&["max-age=60,,public"], None),
        (&["max-age = 60"], None),
        (&["private=Set-Cookie, Link=é"], None),
        (&["max-age=1234567890123456"], None),
        (&["max-age=60", "\"broken"], None),
    ] {
        assert_eq!(read(lines).as_deref(), control, "{lines:?}");
    }
}

#[test]
fn rfc_9213_a_targeted_field_is_written_as_a_dictionary() {
    let new = CacheControl::new;
    for (control, text) in [
        (new().public().max_age(60), Some("public, max-age=60")),
        (new().max_age(u64::MAX), Some("max-age=999999999999999")),
        (new().no_cache_fields(["A"]).no_cache_fields(["B"]).immutable(), Some("no-cache=\"A, B\", immutable")),
        (new().directive_value("community", "UCI"), Some("community=UCI")),
        (new().directive_value("ext", "a b"), Some("ext=\"a b\"")),
        (new().directive_value("ext", "7seas").public(), Some("ext=\"7seas\", public")),
        (new().directive_value("max-age", "soon").public(), Some("public")),
        (new().directive_value("max-age", "-5"), None),
        (new().directive_value("private", "\"é\""), Some("private")),
        (new().directive_value("ext", "é").directive("!x").public(), Some("public")),
        (new(), None),
    ] {
        assert_eq!(written(control.clone()).as_deref(), text, "{control}");
    }
}

#[test]
fn rfc_9213_a_targeted_field_is_patched_by_djangos_rules_and_alone() {
    let mut headers = field(&["private, max-age=600", "ext=1"]);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    CacheControl::new().public().max_age(60).targeted("CDN-Cache-Control").patch(&mut headers);
    assert_eq!(headers.get_all(CDN).iter().collect::<Vec<_>>(), ["max-age=60, ext=1, public"]);
    assert_eq!(headers[CACHE_CONTROL], "private");

    let mut broken = field(&["Max-Age=1"]);
    CacheControl::new().no_store().targeted("cdn-cache-control").patch(&mut broken);
    assert_eq!(broken[CDN], "no-store");
}

#[test]
fn what_a_layer_does_is_also_a_value() {
    let mut headers = HeaderMap::new();
    let patches: [&dyn PatchHeaders; 4] = [
        &CacheControl::new().public().max_age(60),
        &VaryOn::new(["Accept-Language"]),
        &VaryOn::cookie(),
        &NeverCache::new(),
    ];
    for patch in patches {
        patch.patch(&mut headers);
    }
    assert_eq!(headers["vary"], "Accept-Language, Cookie");
    assert_eq!(headers[CACHE_CONTROL], "max-age=0, no-cache, no-store, must-revalidate, private");
}

#[test]
#[should_panic(expected = "\"a b\" is no header name")]
fn a_field_that_is_none_panics_where_it_is_written() {
    let _: Targeted = CacheControl::new().targeted("a b");
}

mod over_services {
    use std::convert::Infallible;

    use axum::Router;
    use axum::handler::Handler;
    use axum::routing::{any, get};
    use http::{Request, Response};
    use larder::{CacheControl, cache_control, never_cache, vary_on_cookie, vary_on_headers};
    use tower::{Layer, ServiceExt, service_fn};

    macro_rules! layers {
        () => {
            (
                cache_control(CacheControl::new().max_age(3600)).field("cdn-cache-control"),
                cache_control(CacheControl::new().max_age(60)),
                vary_on_cookie(),
                vary_on_headers(["Accept"]),
                never_cache(),
            )
        };
    }

    fn check<B>(response: &Response<B>) {
        assert_eq!(response.headers()["cdn-cache-control"], "max-age=3600");
        assert_eq!(response.headers()["cache-control"], "max-age=0, no-cache, no-store, must-revalidate, private");
        assert_eq!(response.headers()["vary"], "Accept, Cookie");
    }

    #[tokio::test]
    async fn each_layer_works_on_a_plain_service() {
        let inner = service_fn(|_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(()))));
        check(&layers!().layer(inner).oneshot(Request::new(())).await.unwrap());
    }

    #[tokio::test]
    async fn each_layer_works_on_a_router_a_route_and_a_handler() {
        async fn hello() -> &'static str {
            "hello"
        }
        let app: Router = Router::new()
            .route("/route", get(hello).layer(layers!()))
            .route("/handler", any(hello.layer(layers!())))
            .merge(Router::new().route("/router", get(hello)).layer(layers!()));
        for path in ["/route", "/handler", "/router"] {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            check(&app.clone().oneshot(request).await.unwrap());
        }
    }
}

#[cfg(feature = "axum")]
mod returned {
    use axum::Router;
    use axum::body::Body;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use http::Request;
    use larder::headers::{NeverCache, VaryOn};
    use larder::{Cache, CacheControl, CacheLayer, cache_control};
    use tower::ServiceExt;

    #[tokio::test]
    async fn what_a_handler_returns_is_merged_with_its_own_headers_and_with_layers() {
        let handler = || async {
            let own = [("cache-control", "private, max-age=600"), ("vary", "Accept")];
            let control = CacheControl::new().public().max_age(60);
            (
                own,
                control,
                VaryOn::new(["accept", "Cookie"]),
                CacheControl::new().max_age(9).targeted("x-cache-control"),
                "hi",
            )
        };
        let layer = cache_control(CacheControl::new().max_age(30));
        let app: Router = Router::new().route("/", get(handler).layer(layer));
        let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "max-age=30, public");
        assert_eq!(response.headers()["vary"], "Accept, Cookie");
        assert_eq!(response.headers()["x-cache-control"], "max-age=9");
    }

    #[tokio::test]
    async fn a_handler_keeps_its_answer_out_of_the_cache_at_run_time() {
        async fn page(request: axum::extract::Request) -> axum::response::Response {
            let name = request.uri().path().to_owned();
            if name == "/mine" { (NeverCache::new(), name).into_response() } else { name.into_response() }
        }
        let cache = CacheLayer::per_site().cache(&Cache::memory()).cache_status("larder");
        let app: Router = Router::new().fallback(page).layer(cache);
        for (path, status) in
            [("/mine", "larder; fwd=uri-miss; detail=private"), ("/ours", "larder; fwd=uri-miss; stored")]
        {
            let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            assert_eq!(response.headers()["cache-status"], status);
        }
    }
}

//! Rule 14 in axum: `nest` strips what it matched off the URL, the cache must not.
//! One router nested twice, and routes that only the raw path tells apart.

use axum::Router;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::http::{Request, Uri};
use axum::routing::{MethodRouter, get};
use larder::KeyScheme;
use tower::Layer;

use crate::world::{Answer, World, ask, worlds};

fn inner(world: &World, scheme: KeyScheme) -> Router {
    let hello = |OriginalUri(url): OriginalUri| async move { format!("this is {url}") };
    let page = get(hello).layer(world.site().page_timeout(30).key_scheme(scheme));
    Router::new()
        .route("/", page.clone())
        .route("/page", page.clone())
        .nest("/deep", Router::new().route("/page", page))
}

async fn visit(router: &Router, url: &str) -> Answer {
    ask(router, Request::get(url).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn rule_14_a_router_nested_twice_shares_no_page() {
    for scheme in [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61] {
        for world in worlds() {
            let site = Router::new()
                .nest("/one", inner(&world, scheme))
                .nest("/two", inner(&world, scheme))
                .nest("/users/{id}", inner(&world, scheme));
            let cached = world.site().key_scheme(scheme).key_prefix("outside").layer(site.clone());
            let urls = [
                "/one/page",
                "/two/page",
                "/one/deep/page",
                "/two/deep/page",
                "/one",
                "/two",
                "/users/1/page",
                "/users/2/page",
            ];
            for url in urls.iter().chain(&urls) {
                assert_eq!(visit(&site, url).await.text(), format!("this is {url}"), "{} {scheme:?}", world.name);
                let request = Request::get(*url).body(Body::empty()).unwrap();
                assert_eq!(ask(&cached, request).await.text(), format!("this is {url}"), "{} {scheme:?}", world.name);
            }
            assert!(visit(&site, "/one/page").await.is_hit());
        }
    }
}

#[tokio::test]
async fn rule_14_what_the_router_tells_apart_the_cache_tells_apart() {
    for scheme in [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61] {
        for world in worlds() {
            let site = Router::new()
                .route("/a/b", get(|| async { "two segments" }))
                .route("/{one}", get(|| async { "one segment" }))
                .route("/a//b", get(|| async { "an empty segment" }))
                .route("/a/../b", get(|| async { "dots" }))
                .route("/b", get(|| async { "b" }))
                .layer(world.site().key_scheme(scheme));
            for _ in 0..3 {
                for (path, expected) in [
                    ("/a/b", "two segments"),
                    ("/a%2Fb", "one segment"),
                    ("/a%2fb", "one segment"),
                    ("/a//b", "an empty segment"),
                    ("/a/../b", "dots"),
                    ("/b", "b"),
                    ("/b;x", "one segment"),
                    ("/%62", "one segment"),
                ] {
                    assert_eq!(visit(&site, path).await.text(), expected, "{} {scheme:?} {path}", world.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn rule_14_a_rewriting_layer_outside_the_router_is_seen() {
    // The host chooses the tree before the router runs: the URL that the router sees is the original one.
    for world in worlds() {
        let site = Router::new()
            .route("/tree/{name}/page", get(|OriginalUri(url): OriginalUri| async move { url.to_string() }))
            .layer(world.site());
        let site = tower::util::MapRequestLayer::new(|mut request: Request<Body>| {
            let name = request.headers()["x-tree"].to_str().unwrap().to_owned();
            *request.uri_mut() = format!("/tree/{name}{}", request.uri().path()).parse().unwrap();
            request
        })
        .layer(site);
        for name in ["oak", "elm", "oak"] {
            let request = Request::get("/page").header("x-tree", name).body(Body::empty()).unwrap();
            assert_eq!(ask(&site, request).await.text(), format!("/tree/{name}/page"), "{}", world.name);
        }
    }
}

#[tokio::test]
async fn rule_14_a_rewriting_layer_inside_the_router_is_seen() {
    // The router has noted the original URL already; what a route's own layer makes of it by a header is another page.
    let by: [fn(&str) -> String; 2] = [|name| format!("/{name}/page"), |name| format!("http://{name}.example/page")];
    for to in by {
        for world in worlds() {
            let page: MethodRouter = get(|url: Uri| async move { url.to_string() }).layer(world.site());
            let page = page.layer(tower::util::MapRequestLayer::new(move |mut request: Request<Body>| {
                *request.uri_mut() = to(request.headers()["x-tree"].to_str().unwrap()).parse().unwrap();
                request
            }));
            let site = Router::new().nest("/{garden}", Router::new().route("/page", page));
            for (garden, name) in [("a", "oak"), ("a", "elm"), ("b", "oak"), ("a", "oak"), ("a", "elm")] {
                let url = format!("/{garden}/page");
                let request = Request::get(&url).header("x-tree", name).body(Body::empty()).unwrap();
                assert_eq!(ask(&site, request).await.text(), to(name), "{} {url}", world.name);
            }
        }
    }
}

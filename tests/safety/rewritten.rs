//! Rules 4 and 14 where something between the layers changes the request: the inner layer keys by the URL that the client
//! sent, and must still tell apart what the service inside it is asked.

use http::{HeaderValue, Method, Uri};
use larder::{CacheLayer, KeyScheme};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::world::{HOME, Handler, Plain, World, ask, get_with, head, page, request, worlds};

const SCHEMES: [KeyScheme; 3] = [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61];

/// Answers with the URL that it was asked for.
fn echo() -> Handler {
    Handler::new(|request, _| page(format!("this is {}", request.uri)))
}

/// A layer outside, in another place than the layer under test, so that this one knows the URL as the client sent it.
fn outside(world: &World) -> CacheLayer {
    world.site().key_prefix("outside")
}

/// A service that asks `inner` for another URL, made from the header `x-tenant`, and says so in `Vary`.
fn rewriting<S, B>(
    to: fn(&Uri, &str) -> String,
    inner: S,
) -> impl Service<Plain, Response = http::Response<B>, Error = S::Error, Future: Send> + Clone
where
    S: Service<Plain, Response = http::Response<B>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Send + 'static,
{
    service_fn(move |mut request: Plain| {
        let inner = inner.clone();
        async move {
            let tenant = request.headers()["x-tenant"].to_str().unwrap().to_owned();
            *request.uri_mut() = to(request.uri(), &tenant).parse().unwrap();
            let mut response = inner.oneshot(request).await?;
            response.headers_mut().append("vary", HeaderValue::from_static("x-tenant"));
            Ok(response)
        }
    })
}

#[tokio::test]
async fn rule_04_a_url_rewritten_by_a_header_is_another_page_inside() {
    let by: [fn(&Uri, &str) -> String; 5] = [
        |url, tenant| format!("http://example.com/{tenant}{}", url.path()),
        |url, tenant| format!("/{tenant}{}", url.path()),
        |url, tenant| format!("{url}?tenant={tenant}"),
        |url, tenant| format!("http://{tenant}.example{}", url.path()),
        |url, tenant| if tenant == "oak" { url.to_string() } else { format!("https://example.com{}", url.path()) },
    ];
    for to in by {
        for scheme in SCHEMES {
            for world in worlds() {
                let handler = echo();
                let layer = world.site().key_scheme(scheme);
                let site = outside(&world).layer(rewriting(to, layer.layer(handler.clone())));
                let alone = rewriting(to, layer.layer(handler.clone()));
                for tenant in ["oak", "elm", "oak", "elm", "elm"] {
                    let expected = format!("this is {}", to(&HOME.parse().unwrap(), tenant));
                    for method in [Method::GET, Method::HEAD] {
                        let answer = ask(&site, request(method.clone(), HOME, &[("x-tenant", tenant)])).await;
                        if method == Method::GET {
                            assert_eq!(answer.text(), expected, "{} {scheme:?}", world.name);
                        }
                    }
                    let answer = ask(&alone, get_with(HOME, &[("x-tenant", tenant)])).await;
                    assert_eq!(answer.text(), expected, "{} {scheme:?} alone", world.name);
                    // The outer one forgets: from here on the inner one is asked.
                    outside(&world).pages().delete(HOME).await.unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn deleting_by_the_url_as_it_was_sent_deletes_what_it_was_rewritten_to() {
    let to = |url: &Uri, tenant: &str| format!("http://example.com/{tenant}{}", url.path());
    for scheme in SCHEMES {
        for world in worlds() {
            let handler = echo();
            let layer = world.site().key_scheme(scheme);
            let site = outside(&world).layer(rewriting(to, layer.layer(handler.clone())));
            let visit = |tenant: &'static str| get_with(HOME, &[("x-tenant", tenant)]);
            for tenant in ["oak", "elm"] {
                ask(&site, visit(tenant)).await;
            }
            assert!(layer.pages().get(HOME).await.unwrap().is_some());
            assert!(layer.pages().delete(HOME).await.unwrap());
            assert!(outside(&world).pages().delete(HOME).await.unwrap());
            assert!(layer.pages().get(HOME).await.unwrap().is_none());
            for tenant in ["oak", "elm"] {
                ask(&site, visit(tenant)).await;
            }
            assert_eq!(handler.calls(), 4, "{} {scheme:?}", world.name);
        }
    }
}

/// A service that adds a header line to what `inner` answers.
fn adding<S, B>(
    (name, value): (&'static str, &'static str),
    inner: S,
) -> impl Service<Plain, Response = http::Response<B>, Error = S::Error, Future: Send> + Clone + Send + 'static
where
    S: Service<Plain, Response = http::Response<B>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Send + 'static,
{
    service_fn(move |request: Plain| {
        let inner = inner.clone();
        async move {
            let mut response = inner.oneshot(request).await?;
            response.headers_mut().append(name, HeaderValue::from_static(value));
            Ok(response)
        }
    })
}

#[tokio::test]
async fn the_innermost_of_three_leaves_the_page_to_the_outermost_of_the_same_place() {
    // What the layers between add, such as `private`, must not be lost because the page lies there without it.
    for line in [("cache-control", "private"), ("set-cookie", "a=1"), ("vary", "*"), ("x-frame-options", "DENY")] {
        for (world, other) in worlds().into_iter().zip(worlds()) {
            for between in 0..2 {
                let handler = Handler::saying(&[]);
                world.cache.clear().await.unwrap();
                other.cache.clear().await.unwrap();
                let innermost = world.site().page_timeout(30).layer(handler.clone());
                let middle = |inner| other.site().layer(inner);
                let site = if between == 0 {
                    tower::util::BoxCloneSyncService::new(world.site().layer(adding(line, middle(innermost))))
                } else {
                    let middle = other.site().layer(adding(line, innermost));
                    tower::util::BoxCloneSyncService::new(world.site().layer(middle))
                };
                for _ in 0..3 {
                    let answer = ask(&site, get_with(HOME, &[])).await;
                    assert_eq!(answer.lines(line.0).last(), Some(&line.1), "{} {between}: {answer:?}", world.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn what_the_outer_lets_through_the_inner_of_the_same_place_does_not_keep() {
    // The layer between makes a request that the outer one did not look up into one that the inner one would keep, where
    // the outer one would find it without what the layer between adds.
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let inner = adding(("cache-control", "private"), world.site().page_timeout(30).layer(handler.clone()));
        let overriding = tower::util::MapRequest::new(inner, |mut request: Plain| {
            *request.method_mut() = Method::GET;
            request
        });
        let site = world.site().layer(overriding);
        ask(&site, request(Method::POST, HOME, &[])).await;
        let answer = ask(&site, get_with(HOME, &[])).await;
        assert_eq!((answer.is_hit(), answer.text()), (false, "answer 2"), "{}: {answer:?}", world.name);
        assert!(!ask(&site, head(HOME)).await.is_hit());
    }
}

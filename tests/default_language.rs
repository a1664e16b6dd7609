//! A layer with a default language around a handler that chooses one itself: nobody gets another's language (safety rule 4).

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use larder::{Cache, CacheLayer, Language};
use tower::{Layer, ServiceExt, service_fn};

async fn page(layer: &CacheLayer, asked: &str, found: Option<&str>) -> String {
    let handler = service_fn(|request: Request<String>| async move {
        let chosen = request.headers()["accept-language"].clone();
        let body = Full::<Bytes>::from(format!("in {}", chosen.to_str().unwrap()));
        let response = Response::builder().header("vary", "Accept-Language").header("content-language", chosen);
        Ok::<_, Infallible>(response.body(body).unwrap())
    });
    let mut request = Request::get("http://example.com/").header("accept-language", asked).body(String::new()).unwrap();
    request.extensions_mut().extend(
        found
            .map(|found| {
                let mut extensions = http::Extensions::new();
                extensions.insert(Language::new(found));
                extensions
            })
            .unwrap_or_default(),
    );
    let response = layer.layer(handler).oneshot(request).await.unwrap();
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn rule_4_a_default_language_does_not_replace_accept_language() {
    let layer = CacheLayer::per_site().cache(&Cache::memory()).language("en");
    assert_eq!(page(&layer, "fr", None).await, "in fr");
    assert_eq!(page(&layer, "de", None).await, "in de");
    assert_eq!(page(&layer, "fr", None).await, "in fr");
}

#[tokio::test]
async fn pgk_12_the_language_of_a_request_does() {
    let layer = CacheLayer::per_site().cache(&Cache::memory()).language("en");
    assert_eq!(page(&layer, "fr", Some("fr")).await, "in fr");
    assert_eq!(page(&layer, "fr-CA, fr", Some("fr")).await, "in fr", "the page of the same language");
}

#[tokio::test]
async fn rule_4_the_default_language_and_the_same_one_found_for_a_request_are_told_apart() {
    // Both are `ja` in the address. Where the response varies on the raw header, the page of the first goes by that, the
    // page of the second by the language that was found, whatever the header says.
    let layer = || CacheLayer::per_site().cache(&Cache::memory()).language("ja");
    let of_found_first = layer();
    assert_eq!(page(&of_found_first, "ja", Some("ja")).await, "in ja");
    assert_eq!(page(&of_found_first, "en", None).await, "in en");
    assert_eq!(page(&of_found_first, "en-US", Some("ja")).await, "in ja");
    let of_default_first = layer();
    assert_eq!(page(&of_default_first, "ja;q=0.1, en", None).await, "in ja;q=0.1, en");
    assert_eq!(page(&of_default_first, "ja;q=0.1, en", Some("ja")).await, "in ja;q=0.1, en");
    assert_eq!(page(&of_default_first, "ja", Some("ja")).await, "in ja;q=0.1, en", "the page of the language");
    assert_eq!(page(&of_default_first, "ja", None).await, "in ja");
}

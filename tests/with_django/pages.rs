//! Pages that Django's own middleware keeps on memcached: larder names their keys, the tool shows them, and deleting them
//! through larder makes Django render again. Neither ever takes the other's page for its own.

use std::collections::BTreeSet;
use std::process::Command;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use larder::{CacheLayer, KeyScheme, PageUrl};
use serde_json::{Value, json};

use super::connect;
use super::real::{Django, Memcached};

const URL: &str = "http://testserver/news/7?page=2&vary=";

/// What differs between sites and goes into the keys of pages.
struct Site {
    backend: &'static str,
    distribution: &'static str,
    key_prefix: &'static str,
    middleware_prefix: &'static str,
    language: Option<&'static str>,
    time_zone: Option<&'static str>,
}

const SITES: [Site; 3] = [
    Site {
        backend: "PyMemcacheCache",
        distribution: "rendezvous",
        key_prefix: "",
        middleware_prefix: "",
        language: None,
        time_zone: None,
    },
    Site {
        backend: "PyLibMCCache",
        distribution: "modula",
        key_prefix: "blog",
        middleware_prefix: "pages",
        language: Some("pt-br"),
        time_zone: Some("Asia/Tokyo"),
    },
    Site {
        backend: "PyMemcacheCache",
        distribution: "rendezvous",
        key_prefix: "blog",
        middleware_prefix: "",
        language: Some("en-us"),
        time_zone: None,
    },
];

impl Site {
    fn django(&self, servers: &[Memcached]) -> Django {
        let addresses: Vec<String> = servers.iter().map(Memcached::address).collect();
        let backend = format!("django.core.cache.backends.memcached.{}", self.backend);
        Django::with_settings(&json!({
            "CACHES": {"default": {"BACKEND": backend, "LOCATION": addresses, "KEY_PREFIX": self.key_prefix}},
            "CACHE_MIDDLEWARE_KEY_PREFIX": self.middleware_prefix,
            "USE_I18N": self.language.is_some(),
            "LANGUAGE_CODE": self.language.unwrap_or("en-us"),
            "USE_TZ": self.time_zone.is_some(),
            "TIME_ZONE": self.time_zone.unwrap_or("UTC"),
        }))
    }

    fn layer(&self, cache: &larder::Cache) -> CacheLayer {
        let mut layer =
            CacheLayer::per_site().cache(cache).key_prefix(self.middleware_prefix).key_scheme(KeyScheme::Django52);
        if let Some(language) = self.language {
            layer = layer.language(language);
        }
        if let Some(time_zone) = self.time_zone {
            layer = layer.time_zone(time_zone);
        }
        layer
    }
}

/// All keys on the servers, as `larder memcached keys` prints them.
fn keys_on(servers: &[Memcached]) -> BTreeSet<String> {
    let addresses: Vec<String> = servers.iter().map(Memcached::address).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.env_clear().args(["memcached", "keys", "--servers", &addresses.join(",")]);
    let output = command.output().expect("the command starts");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn body(page: &Value) -> &str {
    assert_eq!(page["status"], json!(200));
    page["body"].as_str().unwrap()
}

fn response_headers(page: &Value) -> HeaderMap {
    let lines = page["headers"].as_object().unwrap();
    lines
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn larder_names_the_keys_of_djangos_pages_and_deletes_them() {
    for site in &SITES {
        let servers = super::three_servers();
        let mut django = site.django(&servers);
        let options = format!("distribution={}&key_prefix={}", site.distribution, site.key_prefix);
        let cache = connect(&servers, &options).await;
        let pages = site.layer(&cache).pages();
        for vary in ["", "Accept-Language", "X-Missing,X-Shade"] {
            cache.clear().await.unwrap();
            let url = format!("{URL}{vary}");
            let lines = json!({"Accept-Language": "ja,en;q=0.5", "X-Shade": "dark"});
            let rendered = django.get_page(&url, lines.clone());
            let first = body(&rendered).to_owned();
            assert_eq!(body(&django.get_page(&url, lines.clone())), first, "Django serves it from memcached");

            // Exactly the two keys that larder names are on the servers.
            let request = Request::get(&url).header("Accept-Language", "ja,en;q=0.5").header("X-Shade", "dark");
            let request = request.body(()).unwrap();
            let keys = pages.keys(&request, &response_headers(&rendered)).unwrap();
            let named: BTreeSet<String> = [&keys.header, &keys.page].map(|key| cache.make_key(key)).into();
            assert_eq!(keys_on(&servers), named, "{vary:?}");

            // Django's page is no page of larder's: it is a miss, and stays where it is.
            let ours = PageUrl::new(&url)
                .header(HeaderName::from_static("accept-language"), HeaderValue::from_static("ja,en;q=0.5"))
                .header(HeaderName::from_static("x-shade"), HeaderValue::from_static("dark"));
            assert!(pages.get(ours.clone()).await.unwrap().is_none());
            assert_eq!(body(&django.get_page(&url, lines.clone())), first);

            // Deleted through the handle on pages, Django renders again.
            assert!(pages.delete(ours).await.unwrap());
            let second = body(&django.get_page(&url, lines.clone())).to_owned();
            assert_ne!(second, first);
            assert_eq!(body(&django.get_page(&url, lines.clone())), second);

            // Deleted by their keys, it does as well; either of them is enough.
            assert!(cache.delete(&keys.page).await.unwrap());
            let third = body(&django.get_page(&url, lines.clone())).to_owned();
            assert_ne!(third, second);
            cache.delete_many([&keys.header, &keys.page]).await.unwrap();
            // What is left says that something was deleted, and of what.
            let left = keys_on(&servers);
            assert!(left.iter().all(|key| key.contains(":larder.deletions.")), "{left:?}");
            assert_ne!(body(&django.get_page(&url, lines)), third);
        }
    }
}

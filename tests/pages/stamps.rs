//! What lies in a store so that it can be told what was purged: what becomes of pages where it is lost, or is something
//! else. The store with textual keys stands for all of them.

use bytes::Bytes;
use larder::Tags;
use larder::backend::{Stored, flags};

use crate::world::{HOME, Handler, ask, get, page, text_world};

fn tagged() -> Handler {
    Handler::new(|_, call| {
        let mut response = page(format!("answer {call}"));
        response.extensions_mut().insert(Tags::new(["a", "b"]));
        response
    })
}

#[tokio::test]
async fn what_the_store_forgot_is_a_miss_and_then_kept_again() {
    let world = text_world();
    let text = world.text.as_ref().unwrap();
    let handler = tagged();
    let site = world.around(&handler);
    ask(&site, get(HOME)).await;
    let keys = text.keys();
    let stamps: Vec<&String> = keys.iter().filter(|key| key.contains(":larder.")).collect();
    // The URL's, and for each tag a stamp and a proof.
    assert_eq!((stamps.len(), keys.len(), text.counters().len()), (5, 7, 2), "{keys:?}");
    for key in keys.iter().chain(&text.counters()) {
        let calls = handler.calls();
        let is_needed = !key.contains(":larder.proof.") && !keys_of_counters(key);
        world.cache.raw_keys().delete(key).await.unwrap();
        for _ in 0..2 {
            let answer = ask(&site, get(HOME)).await;
            assert_eq!(answer.text(), format!("answer {}", calls + usize::from(is_needed)), "{key}");
        }
    }
}

fn keys_of_counters(key: &str) -> bool {
    key.contains(":larder.purges") || key.contains(":larder.deletions.")
}

#[tokio::test]
async fn rule_21_what_is_no_stamp_of_ours_is_a_miss_and_makes_way() {
    let foreign = |data: &'static [u8], flags| Stored { data: Bytes::from_static(data), flags };
    let odd = [
        foreign(b"", flags::STAMP),
        foreign(b"\x80\x04N.", flags::STAMP),
        foreign(b"\x80\x04N.1234567", flags::STAMP),
        foreign(b"\x80\x04N.12345678", flags::BYTES),
        foreign(b"a text", flags::TEXT),
        foreign(b"-7", flags::INTEGER),
        foreign(b"99999999999999999999999", flags::INTEGER),
        foreign(b"9223372036854775807", flags::INTEGER),
    ];
    let world = text_world();
    let text = world.text.as_ref().unwrap();
    let handler = tagged();
    let (layer, site) = (world.site(), world.around(&handler));
    ask(&site, get(HOME)).await;
    let keys: Vec<String> =
        text.keys().into_iter().chain(text.counters()).filter(|key| key.contains(":larder.")).collect();
    for key in &keys {
        for odd in &odd {
            text.forge(key, odd.clone());
            let calls = handler.calls();
            ask(&site, get(HOME)).await;
            assert!(handler.calls() <= calls + 1);
            assert!(ask(&site, get(HOME)).await.is_hit(), "{key} {odd:?}");
            text.forge(key, odd.clone());
            world.cache.purge_tag("a").await.unwrap();
            assert!(!ask(&site, get(HOME)).await.is_hit(), "{key} {odd:?}");
            assert!(ask(&site, get(HOME)).await.is_hit(), "{key} {odd:?}");
            text.forge(key, odd.clone());
            layer.pages().delete(HOME).await.unwrap();
            assert!(!ask(&site, get(HOME)).await.is_hit(), "{key} {odd:?}");
            assert!(ask(&site, get(HOME)).await.is_hit(), "{key} {odd:?}");
        }
    }
}

#[tokio::test]
async fn stamps_live_as_long_as_what_bears_them_and_not_for_ever() {
    let world = text_world();
    let text = world.text.as_ref().unwrap();
    let site = tower::Layer::layer(&world.site().timeout(60 * 24 * 60 * 60), tagged());
    ask(&site, get(HOME)).await;
    world.wait(59 * 24 * 60 * 60);
    assert!(ask(&site, get(HOME)).await.is_hit(), "a page of sixty days");
    world.wait(24 * 60 * 60);
    world.cache.get::<String>("any").await.unwrap();
    assert_eq!(text.keys(), [""; 0], "and nothing of it is left");

    let site = tower::Layer::layer(&world.site().timeout(60), tagged());
    for _ in 0..40 {
        ask(&site, get(HOME)).await;
        assert!(ask(&site, get(HOME)).await.is_hit());
        world.wait(24 * 60 * 60);
    }
    world.wait(30 * 24 * 60 * 60);
    world.cache.get::<String>("any").await.unwrap();
    assert_eq!(text.keys(), [""; 0]);
}

//! Whole pages in files: shared between processes, and a directory that fails is a miss and never an error.

use larder::{Cache, CacheLayer};
use tower::Layer;

use super::{entries_in, folder, open};
use crate::world::{HOME, Handler, ask, get};

#[tokio::test]
async fn a_page_that_one_filled_is_a_hit_for_another() {
    let (_around, folder) = folder();
    let site = |handler: &Handler| {
        let cache = Cache::builder(open(&folder)).build();
        CacheLayer::per_site().cache(&cache).cache_status("larder").layer(handler.clone())
    };
    let handlers = [Handler::saying(&[("vary", "accept-language")]), Handler::saying(&[("vary", "accept-language")])];
    let [first, second] = [site(&handlers[0]), site(&handlers[1])];
    let asked = ask(&first, get(HOME)).await;
    assert!(!asked.is_hit());
    // The page is stored after it was answered.
    let answer = loop {
        let answer = ask(&first, get(HOME)).await;
        if answer.is_hit() {
            break answer;
        }
        assert!(handlers[0].calls() < 1000, "it is never stored: {answer:?}");
    };
    let other = ask(&second, get(HOME)).await;
    assert!(other.is_hit() && other.body == answer.body, "{other:?}");
    assert_eq!(handlers[1].calls(), 0);
    assert!(!entries_in(&folder).is_empty());
}

#[tokio::test]
async fn two_caches_of_one_url_are_one_place_to_layers_inside_each_other() {
    let (_around, folder) = folder();
    let url = |timeout: u8| format!("file://{}?timeout={timeout}", folder.display());
    let [outer, inner] = [Cache::connect(&url(10)).await.unwrap(), Cache::connect(&url(20)).await.unwrap()];
    let handler = Handler::saying(&[]);
    let inside = CacheLayer::per_site().cache(&inner).layer(handler.clone());
    // What stands between them makes the page private: it must not be found outside as the inner one has it.
    let between = larder::never_cache().layer(inside);
    let site = CacheLayer::per_site().cache(&outer).cache_status("larder").layer(between);
    for call in 1..=3 {
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.is_hit(), answer.text()), (false, format!("answer {call}").as_str()), "{answer:?}");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_is_a_miss_and_no_error() {
    let (around, _) = folder();
    let file = around.path().join("file");
    std::fs::write(&file, "").unwrap();
    let handler = Handler::saying(&[]);
    let cache = Cache::builder(open(&file.join("cache"))).build();
    let site = CacheLayer::per_site().cache(&cache).cache_status("larder").layer(handler.clone());
    for number in 1..10 {
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, format!("answer {number}").as_str()));
    }
}

//! Whole pages in a database: a page that one process stored is a hit in another, and is gone when its time is up.

use std::time::Duration;

use larder::{Cache, CacheLayer, ManualClock, Timestamp};
use tower::Layer;

use super::stores::{Place, made};
use super::world::{HOME, Handler, ask, get, get_with};

/// Long enough for any machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_page_of_one_process_is_a_hit_in_another() {
    for place in Place::all().await {
        let hands = ManualClock::at(Timestamp::from_secs(1_800_000_000));
        let handler = Handler::saying(&[("vary", "accept-language"), ("cache-control", "max-age=60")]);
        let mut sites = Vec::new();
        for _ in 0..2 {
            // Not the guard's patience, which would call a busy machine a miss.
            let cache = Cache::builder(made(place.builder(), hands.clock()).await).patience(None).build();
            let layer = CacheLayer::per_site().cache(&cache).cache_status("larder");
            sites.push(layer.layer(handler.clone()));
        }
        let [one, other] = &sites[..] else { unreachable!("there are two") };
        let first = ask(one, get(HOME)).await;
        assert!(!first.is_hit());
        // Pages may be stored behind the visitor's back.
        let hit = async {
            loop {
                let answer = ask(other, get(HOME)).await;
                if answer.is_hit() {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let hit = tokio::time::timeout(DEADLINE, hit).await.expect("it is stored");
        assert!(hit.text().starts_with("answer "), "{hit:?}");
        let in_japanese = ask(other, get_with(HOME, &[("accept-language", "ja")])).await;
        assert!(!in_japanese.is_hit(), "another variant, in {}", place.url);
        hands.advance(Duration::from_secs(60));
        assert!(!ask(one, get(HOME)).await.is_hit(), "its time is up");
    }
}

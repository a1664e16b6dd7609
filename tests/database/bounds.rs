//! The table stays within its bounds: dead entries go first, then those that expire soonest, and not on every write.

use std::time::Duration;

use larder::backend::Backend;
use larder::{ManualClock, Timestamp};

use super::stores::{Place, made, number};

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for any machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn hands() -> ManualClock {
    ManualClock::at(Timestamp::from_secs(1_800_000_000))
}

async fn rows(place: &Place) -> u64 {
    place.say("SELECT COUNT(*) FROM my_cache_table").await.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_entries_go_first_and_then_those_that_expire_soonest() {
    for place in Place::all().await {
        let hands = hands();
        let database = made(place.builder().max_entries(1_000_000), hands.clock()).await;
        let entry = |name: &str, key: u64| (format!("{name}{key}"), number(key as i64));
        let dying: Vec<_> = (0..10).map(|key| entry("dying", key)).collect();
        database.set_many(&dying, Some(SECOND)).await.unwrap();
        for key in 0..20 {
            let (key, value) = entry("living", key);
            let seconds = 100 + value.data.len() as u64 + key[6..].parse::<u64>().unwrap();
            database.set(&key, value, Some(SECOND * seconds as u32)).await.unwrap();
        }
        database.set("for ever", number(0), None).await.unwrap();
        hands.advance(SECOND);

        let roomy = place.builder().max_entries(31).clock(hands.clock()).build().unwrap();
        assert_eq!(roomy.cull().await.unwrap(), 0, "31 entries, dead ones included, are not too many");
        let narrow = place.builder().max_entries(30).clock(hands.clock()).build().unwrap();
        assert_eq!(narrow.cull().await.unwrap(), 10, "the dead ones");
        assert_eq!(rows(&place).await, 21);
        let narrower = place.builder().max_entries(10).clock(hands.clock()).build().unwrap();
        assert_eq!(narrower.cull().await.unwrap(), 12, "down to nine tenths");
        let left: Vec<String> = (12..20).map(|key| format!("living{key}")).chain(["for ever".to_owned()]).collect();
        assert!(database.get_many(&left).await.unwrap().iter().all(Option::is_some), "{}", place.url);
        assert_eq!(rows(&place).await, 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_keeps_the_table_small() {
    for place in Place::all().await {
        let database = made(place.builder().max_entries(40), hands().clock()).await;
        for key in 0..200 {
            database.set(&format!("k{key}"), number(key), Some(SECOND * (key as u32 + 1))).await.unwrap();
        }
        // It is done in the background.
        let small = async {
            while rows(&place).await > 42 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                database.set("one more", number(1), None).await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, small).await.expect("it is culled");
        assert_eq!(database.get("k199").await.unwrap(), Some(number(199)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_removes_all_that_is_dead_and_nothing_else() {
    for place in Place::all().await {
        let hands = hands();
        let database = made(place.builder(), hands.clock()).await;
        // More than one batch.
        let dying: Vec<_> = (0..1_200).map(|key| (format!("dying{key}"), number(key))).collect();
        assert!(database.set_many(&dying, Some(SECOND * 10)).await.unwrap().is_empty());
        database.set("living", number(1), Some(SECOND * 10 + Duration::from_micros(1))).await.unwrap();
        database.set("for ever", number(1), None).await.unwrap();
        hands.advance(SECOND * 10 - Duration::from_micros(1));
        assert_eq!(database.purge_expired().await.unwrap(), 0);
        hands.advance(Duration::from_micros(1));
        assert_eq!(database.purge_expired().await.unwrap(), 1_200);
        assert_eq!(rows(&place).await, 2);
        assert!(database.contains("living").await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_entries_are_purged_in_the_background_when_asked() {
    let place = Place::sqlite();
    let hands = hands();
    let database = made(place.builder().purge_every(Duration::from_millis(20)), hands.clock()).await;
    database.set("dying", number(1), Some(SECOND)).await.unwrap();
    database.set("living", number(1), None).await.unwrap();
    hands.advance(SECOND);
    let purged = async {
        while rows(&place).await > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, purged).await.expect("it is purged");
    assert!(database.contains("living").await.unwrap());
}

/// A handle may outlive the runtime that a look was begun in, as a static one does among tests.
#[test]
fn a_look_that_ended_with_its_runtime_is_not_the_last_one() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = Place::sqlite();
    let open = async || made(place.builder().max_entries(20), larder::Clock::system()).await;
    let first = runtime();
    let database = first.block_on(open());
    // The look that follows the write is begun, and gets no time.
    first.block_on(database.set("k", number(0), None)).unwrap();
    drop(first);

    runtime().block_on(async {
        for key in 0..60 {
            database.set(&format!("k{key}"), number(key), None).await.unwrap();
        }
        let bounded = async {
            while rows(&place).await > 21 {
                database.set("k", number(0), None).await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, bounded).await.expect("it is culled");
    });
}

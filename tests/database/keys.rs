//! Which row a key finds, where the conformance suite does not look: on tables that cannot tell all keys apart, and in rows
//! that were moved.

use larder::backend::Backend;

use super::stores::{Place, number, text};

const DJANGOS_MYSQL_TABLE: &str = "CREATE TABLE my_cache_table (cache_key varchar(255) NOT NULL PRIMARY KEY, \
    value longtext NOT NULL, expires datetime(6) NOT NULL) COLLATE utf8mb4_general_ci";

#[tokio::test(flavor = "multi_thread")]
async fn a_look_alike_key_takes_the_place_and_is_never_answered() {
    let place = Place::mariadb().await;
    place.say(DJANGOS_MYSQL_TABLE).await;
    let database = place.open().await;
    database.set("abc", number(1), None).await.unwrap();
    for other in ["ABC", "Abc", "äbc"] {
        assert_eq!(database.get(other).await.unwrap(), None);
        assert!(!database.contains(other).await.unwrap());
        assert!(!database.touch(other, None).await.unwrap());
        assert_eq!(database.incr(other, 1).await.unwrap(), None);
        assert!(!database.delete(other).await.unwrap());
        database.delete_many(&[other.to_owned()]).await.unwrap();
        assert_eq!(database.get_many(&[other.to_owned(), "abc".to_owned()]).await.unwrap(), [None, Some(number(1))]);
    }
    database.clear("AB").await.unwrap();
    assert_eq!(database.get("abc").await.unwrap(), Some(number(1)));

    database.set("ABC", text("capitals"), None).await.unwrap();
    assert_eq!(database.get("ABC").await.unwrap(), Some(text("capitals")));
    assert_eq!(database.get("abc").await.unwrap(), None);
    assert!(database.add("abc", text("small"), None).await.unwrap(), "nothing alive is under this very key");
    assert_eq!(database.get("abc").await.unwrap(), Some(text("small")));
    assert!(!database.add("abc", text("late"), None).await.unwrap());
    assert_eq!(place.say("SELECT COUNT(*) FROM my_cache_table").await, "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_key_of_the_column_is_kept_as_it_is() {
    for place in Place::all().await {
        let database = place.open().await;
        // Characters count, not bytes.
        let (widest, wider) = ("é".repeat(255), "é".repeat(256));
        database.set(&widest, number(1), None).await.unwrap();
        database.set(&wider, number(2), None).await.unwrap();
        assert_eq!(database.get(&widest).await.unwrap(), Some(number(1)));
        assert_eq!(database.incr(&wider, 1).await.unwrap(), Some(3));
        let rows = place.say("SELECT cache_key FROM my_cache_table").await;
        assert_eq!(rows.lines().filter(|row| *row == widest).count(), 1, "{rows}");
        assert_eq!(rows.lines().filter(|row| row.starts_with("larder.sha256:")).count(), 1, "{rows}");
    }
}

/// Safety rule 12: bytes copied under another key are a miss.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_moved_to_another_digest_is_a_miss() {
    for place in Place::all().await {
        let database = place.open().await;
        database.set("mine ", text("mine"), None).await.unwrap();
        database.set("yours ", text("yours"), None).await.unwrap();
        let keys = place.say("SELECT cache_key FROM my_cache_table ORDER BY value DESC").await;
        let [a, b]: [&str; 2] = keys.lines().collect::<Vec<_>>().try_into().unwrap();
        for (from, to) in [(a, "moving"), (b, a), ("moving", b)] {
            place.say(&format!("UPDATE my_cache_table SET cache_key = '{to}' WHERE cache_key = '{from}'")).await;
        }
        let both = ["mine ".to_owned(), "yours ".to_owned()];
        assert_eq!(database.get_many(&both).await.unwrap(), [None, None]);
        assert_eq!(database.get("mine ").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_finds_keys_behind_their_digests() {
    for place in Place::all().await {
        let database = place.open().await;
        let long = "x".repeat(300);
        let keys: Vec<String> = (0..50).map(|number| format!("blog:1:{long}{number}")).collect();
        let others = [format!("blogs:1:{long}"), "blogs:1:a ".to_owned(), "blogs:1:a".to_owned()];
        for key in keys.iter().chain(&others) {
            database.set(key, number(1), None).await.unwrap();
        }
        database.clear("blog:").await.unwrap();
        assert!(database.get_many(&keys).await.unwrap().iter().all(Option::is_none), "{}", place.url);
        assert!(database.get_many(&others).await.unwrap().iter().all(Option::is_some), "{}", place.url);
        database.clear(&format!("blogs:1:{long}")).await.unwrap();
        database.clear("\0").await.unwrap();
        let left: Vec<bool> = database.get_many(&others).await.unwrap().iter().map(Option::is_some).collect();
        assert_eq!(left, [false, true, true], "{}", place.url);
    }
}

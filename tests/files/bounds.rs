//! Never more than allowed: entries, bytes; who goes first; and that a set lists no directory while there is room.

use std::time::{Duration, Instant};

use larder::backend::{Backend, Files, Stored, flags};
use larder::{Error, ManualClock, Timestamp};

use super::{bytes_in, entries_in, folder, integer, text};

#[tokio::test]
async fn there_are_never_more_entries_than_allowed() {
    let (_around, folder) = folder();
    let files = Files::builder(&folder).max_entries(30).build().unwrap();
    for number in 0..200 {
        let key = format!("k{number}");
        files.set(&key, integer(number), None).await.unwrap();
        assert!(entries_in(&folder).len() <= 30);
        assert_eq!(files.get(&key).await.unwrap(), Some(integer(number)), "what was just stored is there");
    }
    // A third goes at a time (Django's CULL_FREQUENCY), the oldest first.
    assert!(entries_in(&folder).len() >= 20);
    assert_eq!(files.get("k0").await.unwrap(), None);
    for number in 190..200 {
        assert_eq!(files.get(&format!("k{number}")).await.unwrap(), Some(integer(number)));
    }
}

#[tokio::test]
async fn there_are_never_more_bytes_than_allowed() {
    let (_around, folder) = folder();
    let files = Files::builder(&folder).max_bytes(100_000).build().unwrap();
    for number in 0..100 {
        let value = Stored { data: vec![7; 5_000 + number].into(), flags: flags::BYTES };
        files.set(&format!("k{}", number % 40), value, None).await.unwrap();
        assert!(bytes_in(&folder) <= 100_000);
    }
    assert!(bytes_in(&folder) > 50_000);
    let error = files.set("k", Stored { data: vec![0; 100_000].into(), flags: 0 }, None).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 100_000, .. }), "{error}");
}

#[tokio::test]
async fn the_dead_go_before_the_living() {
    let (_around, folder) = folder();
    let hands = ManualClock::at(Timestamp::from_secs(1_800_000_000));
    let files = Files::builder(&folder).max_entries(30).clock(hands.clock()).build().unwrap();
    for number in 0..15 {
        files.set(&format!("old but living {number}"), integer(number), None).await.unwrap();
    }
    for number in 0..15 {
        files.set(&format!("dead {number}"), integer(number), Some(Duration::from_secs(1))).await.unwrap();
    }
    hands.advance(Duration::from_secs(1));
    for number in 0..15 {
        files.set(&format!("new {number}"), integer(number), None).await.unwrap();
    }
    for number in 0..15 {
        assert!(files.contains(&format!("old but living {number}")).await.unwrap());
        assert!(files.contains(&format!("new {number}")).await.unwrap());
    }
}

#[tokio::test]
async fn counting_is_right_after_every_kind_of_change() {
    let (_around, folder) = folder();
    let files = Files::builder(&folder).max_entries(10).build().unwrap();
    // Were a change counted wrongly, these would add up to a culling.
    for round in 0..50 {
        files.set("a", text(&"x".repeat(round)), None).await.unwrap();
        files.add("b", integer(1), None).await.unwrap();
        files.incr("b", 100).await.unwrap();
        files.touch("a", Some(Duration::from_secs(60))).await.unwrap();
        files.delete("b").await.unwrap();
        files.set("c", integer(1), None).await.unwrap();
        files.clear("c").await.unwrap();
        files.delete("missing").await.unwrap();
    }
    for number in 0..9 {
        files.set(&format!("k{number}"), integer(1), None).await.unwrap();
    }
    assert_eq!(entries_in(&folder).len(), 10);
    files.clear("").await.unwrap();
    for number in 0..10 {
        files.set(&format!("n{number}"), integer(1), None).await.unwrap();
    }
    assert_eq!(entries_in(&folder).len(), 10);
}

#[tokio::test]
async fn an_entry_alone_may_be_all_there_is() {
    let (_around, folder) = folder();
    let files = Files::builder(&folder).max_entries(1).build().unwrap();
    for number in 0..20 {
        files.set(&format!("k{number}"), integer(number), None).await.unwrap();
        assert_eq!(entries_in(&folder).len(), 1);
        assert_eq!(files.get(&format!("k{number}")).await.unwrap(), Some(integer(number)));
    }
}

#[tokio::test]
async fn a_store_that_was_filled_before_is_bounded_from_the_first_set_on() {
    let (_around, folder) = folder();
    let large = Files::builder(&folder).build().unwrap();
    for number in 0..100 {
        large.set(&format!("k{number}"), integer(number), None).await.unwrap();
    }
    let small = Files::builder(&folder).max_entries(40).build().unwrap();
    small.set("new", integer(1), None).await.unwrap();
    assert!(entries_in(&folder).len() <= 40);
    assert!(small.contains("new").await.unwrap());
}

/// The lock that counts was lost, or a crash came between a change and its count: a culling counts anew.
#[tokio::test]
async fn wrong_counts_put_themselves_right() {
    let (_around, folder) = folder();
    let files = Files::builder(&folder).max_entries(50).build().unwrap();
    for number in 0..50 {
        files.set(&format!("k{number}"), integer(number), None).await.unwrap();
    }
    for shard in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        if shard.join("lock").exists() {
            std::fs::write(shard.join("lock"), [255; 16]).unwrap();
        }
    }
    let again = Files::builder(&folder).max_entries(50).build().unwrap();
    again.set("k0", integer(0), None).await.unwrap();
    again.set("k1", integer(1), None).await.unwrap();
    assert_eq!(entries_in(&folder).len(), 50, "nothing had to go");
}

/// With Django's way, the later sets would take many times as long as the first ones.
#[tokio::test]
async fn a_set_costs_the_same_however_much_lies_there() {
    let (_around, folder) = folder();
    let files = Files::builder(&folder).max_entries(1_000_000).build().unwrap();
    let entries = |from: usize| -> Vec<(String, Stored)> {
        (from..from + 500).map(|number| (format!("k{number}"), integer(1))).collect()
    };
    let mut times = Vec::new();
    for round in 0..12 {
        let begun = Instant::now();
        assert_eq!(files.set_many(&entries(round * 500), None).await.unwrap(), Vec::<usize>::new());
        times.push(begun.elapsed());
    }
    let (early, late) = (times[1..4].iter().min().unwrap(), times[9..].iter().min().unwrap());
    assert!(*late < *early * 10, "{times:?}");
    assert_eq!(entries_in(&folder).len(), 6_000);
}

#[tokio::test]
async fn what_cannot_be_read_in_one_directory_keeps_no_other_from_being_culled() {
    let (_around, folder) = folder();
    let files = Files::builder(&folder).max_entries(20).build().unwrap();
    for shard in ["00", "7f", "ff"] {
        let shard_folder = folder.join(shard);
        std::fs::create_dir_all(&shard_folder).unwrap();
        std::fs::write(shard_folder.join("lock"), []).unwrap();
        // A link to itself: whoever opens it fails.
        let name = shard_folder.join(format!("{}.larder", shard.repeat(32)));
        std::os::unix::fs::symlink(&name, &name).unwrap();
    }
    for number in 0..100 {
        files.set(&format!("k{number}"), integer(number), None).await.unwrap();
    }
    let entries = entries_in(&folder).into_iter().filter(|file| file.is_file()).count();
    assert!(entries <= 20, "{entries}");
}

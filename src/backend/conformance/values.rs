//! What comes back, where it lies, and what is refused: the rules that need neither a clock nor a second task.
//! The suite runs them one by one.

use std::slice;

use super::{Checked, Trial, answers, ensure, seconds, stored};
use crate::backend::{Backend, KeyRule, LONGEST_KEY, flags};
use crate::error::Error;

/// The largest value that is tried, in bytes.
const LARGE: usize = 8 << 20;
/// The largest limit that is tried to be exceeded, in bytes.
const TRIED_LIMIT: usize = 64 << 20;

pub(super) async fn keeps_nothing<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    let one = stored("1", flags::INTEGER);
    backend.set(key, one.clone(), None).await?;
    answers!(backend.get(key).await?, None, "get after set");
    answers!(backend.contains(key).await?, false, "contains after set");
    answers!(backend.add(key, one.clone(), None).await?, true, "add");
    answers!(backend.add(key, one.clone(), None).await?, true, "a second add");
    answers!(backend.touch(key, None).await?, false, "touch");
    answers!(backend.incr(key, 1).await?, None, "incr");
    answers!(backend.delete(key).await?, false, "delete");
    answers!(backend.set_many(&[(key.clone(), one)], None).await?, Vec::<usize>::new(), "set_many");
    answers!(backend.get_many(slice::from_ref(key)).await?, vec![None], "get_many");
    backend.delete_many(slice::from_ref(key)).await?;
    backend.clear("").await?;
    backend.close().await?;
    Ok(())
}

pub(super) async fn round_trip<B: Backend>(trial: &Trial<B>) -> Checked {
    ensure!(!trial.backend.name().is_empty(), "its name is empty");
    let every_byte: Vec<u8> = (0..=255).collect();
    for (position, data) in [&b""[..], b"hello", b"\r\nEND\r\n", b"\0", &every_byte].into_iter().enumerate() {
        for flags in [flags::BYTES, flags::TEXT, flags::SERDE, flags::PAGE, flags::HEADER_LISTS, u32::MAX] {
            let key = &trial.key(&format!("{position}:{flags}"));
            let value = stored(data.to_vec(), flags);
            trial.backend.set(key, value.clone(), Some(seconds(60))).await?;
            answers!(trial.backend.get(key).await?, Some(value), "get of {data:?} with the flags {flags}");
            answers!(trial.backend.contains(key).await?, true, "contains of it");
        }
    }
    for number in ["0", "-1", "9223372036854775807", "340282366920938463463374607431768211455"] {
        let (key, value) = (&trial.key(number), stored(number, flags::INTEGER));
        trial.backend.set(key, value.clone(), None).await?;
        answers!(trial.backend.get(key).await?, Some(value), "get of the integer {number}");
    }
    Ok(())
}

pub(super) async fn replaces<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    for value in [stored("1", flags::INTEGER), stored("a longer text", flags::TEXT), stored("", flags::BYTES)] {
        backend.set(key, value.clone(), Some(seconds(60))).await?;
        answers!(backend.get(key).await?, Some(value), "get after a set over another value");
    }
    if !trial.exceptions.real_time {
        backend.set(key, stored("for ever", flags::TEXT), None).await?;
        trial.advance(seconds(61));
        answers!(
            backend.contains(key).await?,
            true,
            "contains, 61 s after a set for 60 s was followed by one for ever"
        );
    }
    Ok(())
}

pub(super) async fn large<B: Backend>(trial: &Trial<B>) -> Checked {
    let size = LARGE.min(trial.backend.largest_value().saturating_sub(LONGEST_KEY));
    let data: Vec<u8> = (0..size).map(|position| (position % 251) as u8).collect();
    let (key, value) = (&trial.key("k"), stored(data, flags::BYTES));
    trial.backend.set(key, value.clone(), Some(seconds(60))).await?;
    let got = trial.backend.get(key).await?;
    ensure!(got.as_ref() == Some(&value), "{size} bytes came back as {:?} bytes", got.map(|got| got.data.len()));
    trial.backend.delete(key).await?;
    Ok(())
}

pub(super) fn has_a_limit<B: Backend>(trial: &Trial<B>) -> bool {
    trial.backend.largest_value() < TRIED_LIMIT
}

pub(super) async fn too_large<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    let value = stored(vec![0; backend.largest_value() + 1], flags::BYTES);
    backend.set(key, stored("old", flags::TEXT), None).await?;
    let answer = backend.set(key, value.clone(), None).await;
    ensure!(matches!(answer, Err(Error::TooLarge { .. })), "set of a byte more than largest_value: {answer:?}");
    answers!(backend.get(key).await?, None, "get after a set that was refused (MEM-4)");
    let small = stored("small", flags::TEXT);
    let entries = [(trial.key("a"), small.clone()), (trial.key("b"), value), (trial.key("c"), small.clone())];
    answers!(backend.set_many(&entries, None).await?, vec![1], "set_many with the second one too large");
    answers!(backend.get(&trial.key("c")).await?, Some(small), "get of the third one");
    Ok(())
}

pub(super) async fn missing<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    answers!(backend.get(key).await?, None, "get");
    answers!(backend.contains(key).await?, false, "contains");
    answers!(backend.touch(key, Some(seconds(60))).await?, false, "touch");
    answers!(backend.delete(key).await?, false, "delete");
    answers!(backend.incr(key, 1).await?, None, "incr");
    answers!(backend.get(key).await?, None, "get after a touch and an incr of a missing key");
    Ok(())
}

pub(super) async fn deleted<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    backend.set(key, stored("v", flags::TEXT), Some(seconds(60))).await?;
    answers!(backend.delete(key).await?, true, "delete");
    answers!(backend.get(key).await?, None, "get after delete");
    answers!(backend.delete(key).await?, false, "a second delete");
    Ok(())
}

pub(super) async fn add<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    let (first, second) = (stored("first", flags::TEXT), stored("second", flags::BYTES));
    answers!(backend.add(key, first.clone(), Some(seconds(60))).await?, true, "add where nothing is");
    answers!(backend.add(key, second.clone(), Some(seconds(60))).await?, false, "add where something is");
    answers!(backend.get(key).await?, Some(first), "get after an add that lost");
    backend.delete(key).await?;
    answers!(backend.add(key, second.clone(), None).await?, true, "add after delete");
    answers!(backend.get(key).await?, Some(second), "get after an add that won");
    Ok(())
}

pub(super) async fn incr<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    backend.set(key, stored("41", flags::INTEGER), Some(seconds(60))).await?;
    for (delta, sum) in [(1, 42), (0, 42), (58, 100), (-1, 99), (-100, -1), (-5, -6), (106, 100), (-99, 1)] {
        answers!(backend.incr(key, delta).await?, Some(sum), "incr by {delta}");
        let number = backend.get(key).await?.map(|stored| (stored.flags, stored.data));
        let text = number.as_ref().map(|(flags, data)| (*flags, String::from_utf8_lossy(data).trim_end().to_owned()));
        answers!(text, Some((flags::INTEGER, sum.to_string())), "get after incr by {delta}");
    }
    backend.set(key, stored((i64::MAX - 1).to_string(), flags::INTEGER), None).await?;
    answers!(backend.incr(key, 1).await?, Some(i64::MAX), "incr to the largest number");
    backend.set(key, stored("0", flags::INTEGER), None).await?;
    answers!(backend.incr(key, i64::MIN).await?, Some(i64::MIN), "incr to the smallest number");
    Ok(())
}

pub(super) async fn incr_refuses<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    for flags in [flags::BYTES, flags::TEXT, flags::SERDE, flags::PAGE] {
        let value = stored("5", flags);
        backend.set(key, value.clone(), None).await?;
        let answer = backend.incr(key, 1).await;
        ensure!(matches!(answer, Err(Error::NotANumber { .. })), "incr of \"5\" with the flags {flags}: {answer:?}");
        answers!(backend.get(key).await?, Some(value), "get after it");
    }
    let (most, least) = (i64::MAX.to_string(), i64::MIN.to_string());
    for (number, delta) in [(&most[..], 1), (&least, -1), ("9223372036854775808", -1), ("18446744073709551616", 0)] {
        let value = stored(number.to_owned(), flags::INTEGER);
        backend.set(key, value.clone(), None).await?;
        let answer = backend.incr(key, delta).await;
        ensure!(matches!(answer, Err(Error::Overflow { .. })), "incr of {number} by {delta}: {answer:?}");
        answers!(backend.get(key).await?, Some(value), "get after it");
    }
    Ok(())
}

pub(super) async fn incr_unsigned<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    backend.set(key, stored("41", flags::INTEGER), Some(seconds(60))).await?;
    for (delta, sum) in [(1, 42), (0, 42), (58, 100), (-1, 99), (-95, 4), (-5, 0), (-1, 0), (7, 7), (i64::MIN, 0)] {
        answers!(backend.incr(key, delta).await?, Some(sum), "incr by {delta}");
        answers!(backend.get(key).await?, Some(stored(sum.to_string(), flags::INTEGER)), "get after incr by {delta}");
    }
    for (number, delta) in [(i64::MAX.to_string(), 1), (i64::MAX.to_string(), i64::MAX), (u64::MAX.to_string(), 1)] {
        let value = stored(number.clone(), flags::INTEGER);
        backend.set(key, value.clone(), None).await?;
        let answer = backend.incr(key, delta).await;
        ensure!(matches!(answer, Err(Error::Overflow { .. })), "incr of {number} by {delta}: {answer:?}");
        answers!(backend.get(key).await?, Some(value), "get after it");
    }
    for value in
        [stored("-5", flags::INTEGER), stored("18446744073709551616", flags::INTEGER), stored("five", flags::TEXT)]
    {
        backend.set(key, value.clone(), None).await?;
        ensure!(backend.incr(key, 1).await.is_err(), "incr of {value:?} is no error");
        answers!(backend.get(key).await?, Some(value), "get after it");
    }
    backend.set(key, stored((i64::MAX - 1).to_string(), flags::INTEGER), None).await?;
    answers!(backend.incr(key, 1).await?, Some(i64::MAX), "incr to the largest number");
    Ok(())
}

pub(super) async fn bulk<B: Backend>(trial: &Trial<B>) -> Checked {
    let backend = &trial.backend;
    let [a, b, c, missing] = ["a", "b", "c", "missing"].map(|key| trial.key(key));
    let value = |key: &str| stored(format!("of {key}"), flags::TEXT);
    let entries: Vec<_> = [&c, &a, &b].map(|key| (key.clone(), value(key))).into();
    answers!(backend.set_many(&entries, Some(seconds(60))).await?, Vec::<usize>::new(), "set_many");
    let asked = [b.clone(), missing.clone(), a.clone(), b.clone(), c.clone()];
    let expected = vec![Some(value(&b)), None, Some(value(&a)), Some(value(&b)), Some(value(&c))];
    answers!(backend.get_many(&asked).await?, expected, "get_many of b, missing, a, b, c");
    let twice = [(a.clone(), value("nobody")), (a.clone(), value("the last"))];
    backend.set_many(&twice, None).await?;
    answers!(backend.get(&a).await?, Some(value("the last")), "get after a set_many with one key twice");
    backend.delete_many(&[a.clone(), missing, c.clone(), a.clone()]).await?;
    answers!(
        backend.get_many(&[a, b.clone(), c]).await?,
        vec![None, Some(value(&b)), None],
        "get_many after delete_many"
    );
    answers!(backend.get_many(&[]).await?, Vec::new(), "get_many of nothing");
    answers!(backend.set_many(&[], None).await?, Vec::<usize>::new(), "set_many of nothing");
    backend.delete_many(&[]).await?;
    if !trial.exceptions.real_time {
        trial.advance(seconds(60));
        answers!(backend.get_many(&[b]).await?, vec![None], "get_many after the lifetime that set_many gave");
    }
    Ok(())
}

pub(super) async fn portable_keys<B: Backend>(trial: &Trial<B>) -> Checked {
    let longest = trial.key("");
    let longest = format!("{longest}{}", "x".repeat(LONGEST_KEY - longest.len()));
    let mut keys: Vec<String> =
        ["a", "A", "a:", ":a", "a/b", "../a", "a.b", "%61", "*", "?", "[a]", "_", "'", "\"", "\\", "{a}"]
            .map(|key| trial.key(key))
            .into();
    keys.push(format!("{}y", &longest[1..]));
    keys.push(longest);
    distinct(trial, &keys).await
}

pub(super) fn takes_any_key<B: Backend>(trial: &Trial<B>) -> bool {
    trial.backend.key_rule() == KeyRule::Warn
}

pub(super) async fn hostile_keys<B: Backend>(trial: &Trial<B>) -> Checked {
    let long = "x".repeat(10_000);
    let longer = format!("{long}y");
    let mut keys: Vec<String> = [
        "",
        " ",
        "  ",
        "a",
        "a ",
        " a",
        "a\r\n",
        "a\r\nset b 0 0 1\r\nx",
        "a\n",
        "a\tb",
        "a\0",
        "a\0b",
        "\u{7f}",
        "é",
        "e\u{301}",
        "清",
        "\u{a0}",
        "\u{feff}",
        "😀",
        &long,
        &longer,
    ]
    .map(|key| trial.key(key))
    .into();
    keys.push(String::new());
    distinct(trial, &keys).await
}

/// Stores something else under each key, then finds all of it.
async fn distinct<B: Backend>(trial: &Trial<B>, keys: &[String]) -> Checked {
    let value = |position: usize| stored(format!("value {position}"), flags::TEXT);
    for (position, key) in keys.iter().enumerate() {
        trial.backend.set(key, value(position), Some(seconds(60))).await?;
    }
    for (position, key) in keys.iter().enumerate() {
        answers!(trial.backend.get(key).await?, Some(value(position)), "get of the key {}", super::shown(key));
    }
    let all = trial.backend.get_many(keys).await?;
    answers!(all, (0..keys.len()).map(|position| Some(value(position))).collect::<Vec<_>>(), "get_many of all keys");
    for key in keys {
        answers!(trial.backend.delete(key).await?, true, "delete of the key {}", super::shown(key));
    }
    Ok(())
}

pub(super) async fn close<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    backend.close().await?;
    backend.set(key, stored("v", flags::TEXT), None).await?;
    backend.close().await?;
    backend.close().await?;
    answers!(backend.get(key).await?, Some(stored("v", flags::TEXT)), "get after close");
    Ok(())
}

pub(super) async fn clear_prefix<B: Backend>(trial: &Trial<B>) -> Checked {
    let backend = &trial.backend;
    // The second prefix is full of what is special in patterns of SQL, of globs and of regular expressions.
    for prefix in ["blog:", "b%_*?[^g].:"] {
        let inside = [prefix.to_owned(), format!("{prefix}1:a"), format!("{prefix}2:b")].map(|key| trial.key(&key));
        let outside =
            ["blog", "blo", "Blog:1:a", "blogs:1:a", "x:blog:1:a", "bxyzg.:1:a", ""].map(|key| trial.key(key));
        for key in inside.iter().chain(&outside) {
            backend.set(key, stored("v", flags::TEXT), None).await?;
        }
        backend.clear(&trial.key(prefix)).await?;
        for key in &inside {
            answers!(backend.contains(key).await?, false, "contains of {key:?} after clear of {:?}", trial.key(prefix));
        }
        for key in &outside {
            answers!(backend.contains(key).await?, true, "contains of {key:?} after clear of {:?}", trial.key(prefix));
        }
    }
    Ok(())
}

pub(super) async fn clear<B: Backend>(trial: &Trial<B>) -> Checked {
    let backend = &trial.backend;
    let keys: Vec<String> = (0..1000).map(|number| trial.key(&number.to_string())).chain(["x".to_owned()]).collect();
    for key in &keys {
        backend.set(key, stored("v", flags::TEXT), None).await?;
    }
    backend.clear("").await?;
    for key in &keys {
        answers!(backend.contains(key).await?, false, "contains of {key:?} after clear");
    }
    backend.set(&keys[0], stored("new", flags::TEXT), None).await?;
    answers!(backend.get(&keys[0]).await?, Some(stored("new", flags::TEXT)), "get of what was set after clear");
    Ok(())
}

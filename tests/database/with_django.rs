//! Django's own database cache and larder on one SQLite table: integers are shared, nothing else is mistaken for a value,
//! and each honours the other's lifetimes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use larder::backend::{Backend, Database};
use larder::{Cache, ManualClock, Timestamp};
use serde_json::{Value, json};

use super::real::python;
use super::stores::{Place, made, number, text};

/// A Django with a cache on a table of a SQLite file.
struct Django {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Django {
    fn on(place: &Place, use_tz: bool, zone: &str) -> Self {
        let mut child = Command::new(python())
            .args(["-u", "-c", include_str!("django_side.py"), place.path(), "my_cache_table"])
            .args([if use_tz { "True" } else { "False" }, zone])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is not installed: apt-get install python3-venv");
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Django { child, orders, answers }
    }

    /// The settings under which Django writes moments in UTC.
    fn all_on(place: &Place) -> [Self; 2] {
        [Django::on(place, true, "Asia/Tokyo"), Django::on(place, false, "UTC")]
    }

    fn ask(&mut self, order: Value) -> Value {
        writeln!(self.orders, "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("Django ended at {order}"));
        assert_eq!(answer.get("exception"), None, "{order}");
        answer["result"].take()
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn int(number: impl ToString) -> Value {
    json!({"int": number.to_string()})
}

async fn on_djangos_table(place: &Place, django: &mut Django) -> Database {
    // Creates the file, too.
    django.ask(json!(["createcachetable"]));
    let database = place.builder().build().unwrap();
    assert!(!database.create_table().await.unwrap(), "Django's table is there, and is one of ours");
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn integers_are_read_written_and_counted_by_both() {
    let place = Place::sqlite();
    for mut django in Django::all_on(&place) {
        let cache = Cache::builder(on_djangos_table(&place, &mut django).await).build();
        for number in
            [0, 1, -1, 255, 256, 65_535, 65_536, -32_769, i32::MAX.into(), i32::MIN.into(), i64::MAX, i64::MIN]
        {
            django.ask(json!(["set", "by django", int(number)]));
            assert_eq!(cache.get::<i64>("by django").await.unwrap(), Some(number));
            cache.set("by larder", number, 300).await.unwrap();
            assert_eq!(django.ask(json!(["get", "by larder"])), int(number));
        }
        cache.set("large", u128::MAX, 300).await.unwrap();
        assert_eq!(django.ask(json!(["get", "large"])), int(u128::MAX));
        django.ask(json!(["set", "large", int(i128::MIN)]));
        assert_eq!(cache.get::<i128>("large").await.unwrap(), Some(i128::MIN));

        django.ask(json!(["set", "visits", int(41), null]));
        assert_eq!(cache.incr("visits", 1).await.unwrap(), 42);
        assert_eq!(django.ask(json!(["incr", "visits", int(958)])), int(1_000));
        assert_eq!(cache.decr("visits", 2_000).await.unwrap(), -1_000);
        assert_eq!(django.ask(json!(["get", "visits"])), int(-1_000));
        assert_eq!(django.ask(json!(["delete", "visits"])), json!(true));
        assert_eq!(cache.get::<i64>("visits").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_values_are_none_to_the_other_side_and_break_nothing() {
    let place = Place::sqlite();
    let mut django = Django::on(&place, true, "UTC");
    let database = on_djangos_table(&place, &mut django).await;
    let cache = Cache::builder(database.clone()).build();

    for value in [json!("text"), json!(1.5), json!(true), json!(null), json!([1, 2]), json!(""), int("9".repeat(60))] {
        django.ask(json!(["set", "theirs", value]));
        assert_eq!(cache.get::<String>("theirs").await.unwrap(), None, "{value}");
        assert_eq!(cache.get_many::<String>(["theirs"]).await.unwrap().len(), 0);
        assert!(cache.contains("theirs").await.unwrap());
        assert!(!cache.add("theirs", 1, 300).await.unwrap(), "it is theirs");
        assert!(cache.incr("theirs", 1).await.is_err());
        assert_eq!(django.ask(json!(["get", "theirs"])), value, "left alone");
    }
    cache.set("theirs", 5, 300).await.unwrap();
    assert_eq!(django.ask(json!(["get", "theirs"])), int(5));

    cache.set("ours", "text", 300).await.unwrap();
    cache.set("list", vec![1, 2], 300).await.unwrap();
    cache.set("bytes", b"\0\xff".as_slice(), 300).await.unwrap();
    database.set(":1:page", larder::backend::Stored { data: "a frame".into(), flags: 65 }, None).await.unwrap();
    for key in ["ours", "list", "bytes", "page"] {
        assert_eq!(django.ask(json!(["get", key, "default"])), json!(null), "{key}");
        assert_eq!(django.ask(json!(["has_key", key])), json!(true), "{key}");
        assert_eq!(django.ask(json!(["touch", key, 600])), json!(true), "{key}");
    }
    assert_eq!(cache.get::<String>("ours").await.unwrap().as_deref(), Some("text"), "touched, and as it was");
    assert_eq!(django.ask(json!(["get_many", ["ours", "theirs"]])), json!({"ours": null, "theirs": 5}));
    // Names agree, blanks and all that Django only warns of included.
    for key in ["a b", "é", "A", "a", "_%", &"x".repeat(250)] {
        cache.set(key, 7, 300).await.unwrap();
        assert_eq!(django.ask(json!(["get", key])), int(7), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_honours_the_lifetimes_of_the_other() {
    let place = Place::sqlite();
    for mut django in Django::all_on(&place) {
        on_djangos_table(&place, &mut django).await;
        let hands = ManualClock::at(Timestamp::from(SystemTime::now()));
        let database = made(place.builder(), hands.clock()).await;
        let cache = Cache::builder(database).build();

        django.ask(json!(["set", "dead", int(1), -5]));
        assert_eq!(cache.get::<i64>("dead").await.unwrap(), None);
        assert!(cache.add("dead", 2, 300).await.unwrap());
        django.ask(json!(["set", "minutes", int(1), 600]));
        django.ask(json!(["set", "for ever", int(1), null]));
        cache.set("ours", 1, 600).await.unwrap();
        cache.set("ours for ever", 1, larder::Timeout::Never).await.unwrap();
        cache.set("with a fraction", 1, Duration::from_micros(600_000_001)).await.unwrap();
        for key in ["minutes", "for ever"] {
            assert_eq!(cache.get::<i64>(key).await.unwrap(), Some(1), "{key}");
        }
        for key in ["ours", "ours for ever", "with a fraction"] {
            assert_eq!(django.ask(json!(["get", key])), int(1), "{key}");
            assert_eq!(django.ask(json!(["has_key", key])), json!(true), "{key}");
        }
        // An hour later by our clock, and by Django's what was set an hour ago.
        hands.advance(Duration::from_secs(3_600));
        assert_eq!(cache.get::<i64>("minutes").await.unwrap(), None);
        assert_eq!(cache.get::<i64>("for ever").await.unwrap(), Some(1));
        hands.set(Timestamp::from(SystemTime::now() - Duration::from_secs(3_600)));
        cache.set("an hour ago", 1, 600).await.unwrap();
        cache.set("ours for ever", 1, larder::Timeout::Never).await.unwrap();
        assert_eq!(cache.get::<i64>("an hour ago").await.unwrap(), Some(1));
        assert_eq!(django.ask(json!(["get", "an hour ago"])), json!(null));
        assert_eq!(django.ask(json!(["get", "ours for ever"])), int(1));
        django.ask(json!(["clear"]));
        assert_eq!(cache.get::<i64>("ours for ever").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn django_takes_the_table_that_larder_made() {
    let place = Place::sqlite();
    let database = place.open().await;
    database.set(":1:k", number(1), None).await.unwrap();
    database.set("a key with a NUL \0", text("digested"), None).await.unwrap();
    let mut django = Django::on(&place, true, "UTC");
    django.ask(json!(["createcachetable"]));
    assert_eq!(django.ask(json!(["incr", "k"])), int(2));
    // Past its 1,000 entries Django culls, our rows included, and nothing fails.
    let entries: Vec<_> = (0..1_100).map(|key| (format!("z{key}"), number(key))).collect();
    database.set_many(&entries, None).await.unwrap();
    django.ask(json!(["set", "one more", int(1)]));
    let left: usize = place.say("SELECT COUNT(*) FROM my_cache_table").await.trim().parse().unwrap();
    assert!(left < 1_000, "{left}");
}

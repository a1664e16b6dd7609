//! Databases that are down, slow, stopped in the middle or read-only: typed errors in time, and all is well afterwards.

use std::time::{Duration, Instant};

use larder::backend::{Backend, Database, DatabaseProblem};
use larder::{Cache, Error};

use super::real::{MariaDb, Postgres, next_address};
use super::stores::{Place, number, problem};

/// Long enough for any machine.
const DEADLINE: Duration = Duration::from_secs(60);

async fn answers_again(database: &Database) {
    let again = async {
        while database.get("k").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("it answers again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_an_error_in_time_that_tells_no_password() {
    let nobody = next_address();
    for scheme in ["postgres", "mysql"] {
        let url = format!("{scheme}://me:secret@{nobody}/site?pool_wait=300ms");
        let begun = Instant::now();
        let (what, said) = problem(Database::from_url(&url).unwrap().get("k").await);
        assert_eq!(what, DatabaseProblem::Down, "{said}");
        assert!(said.contains(&nobody.to_string()) && said.contains("site"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        assert!(begun.elapsed() < DEADLINE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_database_are_told() {
    let place = Place::mariadb().await;
    for url in [place.url.replace("larder:larder", "larder:wrong"), format!("{}_missing", place.url)] {
        let (what, said) = problem(Database::from_url(&url).unwrap().get("k").await);
        assert_eq!(what, DatabaseProblem::Refused, "{said}");
        assert!(!said.contains("wrong"), "{said}");
    }
    let url = format!("{}_missing", Place::postgres().await.url);
    let (what, said) = problem(Database::from_url(&url).unwrap().get("k").await);
    assert_eq!(what, DatabaseProblem::Refused, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_postgres_is_used_again() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let url = server.new_database();
    let database = Database::from_url(&format!("{url}?pool_wait=500ms&create_table=yes")).unwrap();
    database.set("k", number(1), None).await.unwrap();
    // Again: connections that were opened before the restart are gone after it.
    for round in 1..=2 {
        server.restart();
        answers_again(&database).await;
        assert_eq!(database.incr("k", 1).await.unwrap(), Some(1 + round));
    }
    server.stop();
    let (what, _) = problem(database.get("k").await);
    assert_eq!(what, DatabaseProblem::Down);
    server.start_again();
    answers_again(&database).await;
    assert_eq!(database.get("k").await.unwrap(), Some(number(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_mariadb_is_late_and_comes_back() {
    let server = tokio::task::spawn_blocking(MariaDb::start).await.unwrap();
    let url = format!("{}?statement_timeout=300ms&pool_wait=500ms&create_table=yes", server.new_database());
    let database = Database::from_url(&url).unwrap();
    let made = async { while database.set("k", number(1), None).await.is_err() {} };
    tokio::time::timeout(DEADLINE, made).await.expect("it answers");
    server.pause();
    for _ in 0..3 {
        let begun = Instant::now();
        let (what, said) = problem(database.get("k").await);
        assert_eq!(what, DatabaseProblem::Down, "{said}");
        assert!(begun.elapsed() < DEADLINE);
    }
    server.resume();
    answers_again(&database).await;
    assert_eq!(database.get("k").await.unwrap(), Some(number(1)));
}

/// Through a cache, the guard answers within its own patience, and pages go on (safety rule 24).
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_on_a_paused_database_does_not_wait_for_it() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let url = format!("{}?create_table=yes&connect_timeout=20s&get_timeout=20s&set_timeout=20s", server.new_database());
    Cache::connect(&url).await.unwrap().set("k", 1, 60).await.unwrap();
    let cache = Cache::connect(&url.replace("20s", "200ms")).await.unwrap();
    server.pause();
    let begun = Instant::now();
    let answer = cache.get::<i64>("k").await;
    assert!(matches!(answer, Err(Error::Timeout { .. })), "{answer:?}");
    assert!(begun.elapsed() < DEADLINE);
    server.resume();
    let again = async {
        while cache.get::<i64>("k").await.ok() != Some(Some(1)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("it answers again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_only_is_read_and_says_so() {
    let place = Place::sqlite();
    let writing = place.open().await;
    writing.set("k", number(1), None).await.unwrap();
    let reading = Database::from_url(&format!("{}?mode=ro", place.url)).unwrap();
    assert_eq!(reading.get("k").await.unwrap(), Some(number(1)));
    let refused = [
        problem(reading.set("k", number(2), None).await),
        problem(reading.add("new", number(2), None).await),
        problem(reading.incr("k", 1).await),
        problem(reading.delete("k").await),
        problem(reading.clear("").await),
        problem(reading.purge_expired().await),
    ];
    for (what, said) in refused {
        assert_eq!(what, DatabaseProblem::ReadOnly, "{said}");
    }
    assert_eq!(writing.get("k").await.unwrap(), Some(number(1)));

    let postgres = Place::postgres().await;
    postgres.open().await.set("k", number(1), None).await.unwrap();
    postgres.say(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", postgres.path())).await;
    let reading = postgres.builder().build().unwrap();
    assert_eq!(reading.get("k").await.unwrap(), Some(number(1)));
    assert_eq!(problem(reading.set("k", number(2), None).await).0, DatabaseProblem::ReadOnly);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_says_so_and_keeps_what_it_has() {
    let place = Place::sqlite();
    let database = place.open().await;
    database.set("k", number(1), None).await.unwrap();
    // A bound that a connection of its own keeps to would be no test; a file system that is full is one.
    let Some(disk) = SmallDisk::mount() else {
        println!("only root can mount a small disk: left out");
        return;
    };
    let url = format!("sqlite://{}/cache.db?create_table=yes", disk.path());
    let database = Database::from_url(&url).unwrap();
    database.set("k", number(1), None).await.unwrap();
    let large = larder::backend::Stored { data: vec![7; 4 << 20].into(), flags: 0 };
    let (what, said) = problem(database.set("large", large, None).await);
    assert_eq!(what, DatabaseProblem::Full, "{said}");
    assert_eq!(database.get("k").await.unwrap(), Some(number(1)));
    database.set("small", number(2), None).await.unwrap();
}

/// A file system of two megabytes in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "larder"])
            .arg(folder.path())
            .output()
            .ok()?;
        mount.status.success().then_some(SmallDisk(folder))
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    std::fs::write(&path, "this is a text and no database, and long enough to be looked at".repeat(100)).unwrap();
    let database = Database::from_url(&format!("sqlite://{}", path.display())).unwrap();
    let (what, said) = problem(database.get("k").await);
    assert_eq!(what, DatabaseProblem::Other, "{said}");
    assert!(said.contains("cache.db"), "{said}");
    problem(database.create_table().await);
    let missing = format!("sqlite://{}/missing/cache.db", folder.path().display());
    let (_, said) = problem(Database::from_url(&missing).unwrap().create_table().await);
    assert!(said.contains("missing/cache.db"), "{said}");
}

#[tokio::test]
async fn urls_that_cannot_be_used_say_why() {
    let said = |url: &str| match Database::from_url(url) {
        Err(Error::Config(said)) => said,
        other => panic!("{url}: {other:?}"),
    };
    assert!(said("redis://h").contains("known are sqlite, postgres, mysql"));
    assert!(said("sqlite://").contains("it names no file"));
    assert!(said("sqlite:///x?tabel=y").contains("unknown option \"tabel\""));
    assert!(said("sqlite:///x?sslmode=require").contains("\"sslmode\""));
    assert!(said("sqlite:///x?max_entries=many").contains("\"max_entries\" is \"many\""));
    assert!(said("sqlite:///x?pool_size=0").contains("pool"));
    assert!(said("sqlite:///x?purge_every=0").contains("purge_every"));
    assert!(said("sqlite:///x?journal_mode=log").contains("wal"));
    assert!(said("sqlite:///x?table=").contains("name of a cache table"));
    assert!(said("mysql://me:secret@host").contains("names no database"));
    let longest = "18446744073709551615s";
    let patient =
        format!("sqlite::memory:?pool_wait={longest}&statement_timeout={longest}&purge_every={longest}&max_entries=0");
    Database::from_url(&patient).unwrap().set("k", number(1), None).await.unwrap();
    for url in ["postgres://me:secret@host:port/db", "mysql://me:secret@[::1/db", "postgres://me:secret@h/db?sslmode=x"]
    {
        let said = said(url);
        assert!(!said.contains("secret") && said.contains("user:password@host"), "{said}");
    }
}

/// Whoever compares and replaces may wait for ever for a table that others have made odd.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_replaced_is_an_error_and_no_endless_loop() {
    let place = Place::sqlite();
    let database = place.open().await;
    place.say("INSERT INTO my_cache_table VALUES ('blob', CAST('gAVLAS4=' AS BLOB), '9999-12-31 23:59:59')").await;
    let incr = tokio::time::timeout(DEADLINE, database.incr("blob", 1)).await.expect("no endless loop");
    assert_eq!(incr.unwrap(), Some(2));

    database.set("k", number(1), None).await.unwrap();
    place.say("CREATE TRIGGER odd BEFORE UPDATE ON my_cache_table BEGIN SELECT RAISE(IGNORE); END").await;
    let incr = tokio::time::timeout(DEADLINE, database.incr("k", 1)).await.expect("no endless loop");
    let (what, said) = problem(incr);
    assert_eq!(what, DatabaseProblem::Busy, "{said}");
    assert_eq!(database.get("k").await.unwrap(), Some(number(1)));
}

//! The table: made once, as Django makes it, under any name; and what is said where it is missing or another one.

use larder::backend::{Backend, Database, DatabaseProblem};

use super::stores::{Place, number, problem, text};

#[tokio::test(flavor = "multi_thread")]
async fn it_is_made_once_and_kept() {
    for place in Place::all().await {
        let database = place.builder().build().unwrap();
        assert!(database.create_table().await.unwrap(), "{}", place.url);
        database.set("k", number(1), None).await.unwrap();
        assert!(!database.create_table().await.unwrap());
        assert_eq!(database.get("k").await.unwrap(), Some(number(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_name_may_be_anything() {
    for place in Place::all().await {
        for name in ["my cache table", "Ünïcode", "se\"lect ` '; --", "MyTable", "a{table}?$1", "100%"] {
            let database = place.builder().table(name).build().unwrap();
            assert!(database.create_table().await.unwrap(), "{name} in {}", place.url);
            assert!(!database.create_table().await.unwrap(), "{name} in {}", place.url);
            database.set("k", text(name), None).await.unwrap();
            assert_eq!(database.incr("n", 1).await.unwrap(), None);
            assert!(database.add("n", number(1), None).await.unwrap());
            assert_eq!(
                database.get_many(&["k".into(), "n".into()]).await.unwrap(),
                [Some(text(name)), Some(number(1))]
            );
            database.clear("").await.unwrap();
        }
        for name in ["", "a\0b"] {
            assert!(place.builder().table(name).build().is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_make_it_at_once() {
    for place in Place::all().await {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let database = place.builder().build().unwrap();
                tokio::spawn(async move { database.create_table().await.unwrap() })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        place.builder().build().unwrap().set("k", number(1), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_djangos_columns_and_index() {
    let [sqlite, postgres, mariadb] = Place::all().await;
    for place in [&sqlite, &postgres, &mariadb] {
        place.open().await;
    }
    let schema = sqlite.say("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC").await;
    // As the vectors of createcachetable have it.
    assert_eq!(
        schema,
        "CREATE TABLE \"my_cache_table\" (\n    \"cache_key\" varchar(255) NOT NULL PRIMARY KEY,\n    \
         \"value\" text NOT NULL,\n    \"expires\" datetime NOT NULL\n)\n\
         CREATE INDEX \"my_cache_table_expires\" ON \"my_cache_table\" (\"expires\")\n"
    );
    let columns = postgres
        .say(
            "SELECT column_name, data_type, character_maximum_length, is_nullable FROM information_schema.columns \
             WHERE table_name = 'my_cache_table' ORDER BY ordinal_position",
        )
        .await;
    assert_eq!(columns, "cache_key|character varying|255|NO\nvalue|text||NO\nexpires|timestamp with time zone||NO\n");
    let indexes = postgres.say("SELECT indexname FROM pg_indexes WHERE tablename = 'my_cache_table' ORDER BY 1").await;
    assert_eq!(indexes, "my_cache_table_expires\nmy_cache_table_pkey\n");
    let columns = mariadb
        .say(
            "SELECT column_name, column_type, is_nullable, column_key FROM information_schema.columns \
             WHERE table_name = 'my_cache_table' AND table_schema = DATABASE() ORDER BY ordinal_position",
        )
        .await;
    assert_eq!(columns, "cache_key\tvarchar(255)\tNO\tPRI\nvalue\tlongtext\tNO\t\nexpires\tdatetime(6)\tNO\tMUL\n");
    let index = mariadb.say("SHOW INDEX FROM my_cache_table WHERE Key_name = 'my_cache_table_expires'").await;
    assert_eq!(index.lines().count(), 1, "{index}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_missing_the_error_says_how_to_make_it() {
    for place in Place::all().await {
        let database = place.builder().table("pages").build().unwrap();
        let keys = ["k".to_owned()];
        let told = [
            problem(database.get("k").await),
            problem(database.get_many(&keys).await),
            problem(database.set("k", number(1), None).await),
            problem(database.add("k", number(1), None).await),
            problem(database.touch("k", None).await),
            problem(database.delete("k").await),
            problem(database.delete_many(&keys).await),
            problem(database.incr("k", 1).await),
            problem(database.contains("k").await),
            problem(database.clear("").await),
            problem(database.clear("x").await),
            problem(database.purge_expired().await),
            problem(database.cull().await),
        ];
        for (problem, said) in told {
            assert_eq!(problem, DatabaseProblem::MissingTable, "{said}");
            assert!(said.contains("\"pages\"") && said.contains("larder create-table"), "{said}");
        }
        assert!(database.create_table().await.unwrap());
        database.set("k", number(1), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_is_no_cache_table() {
    for place in Place::all().await {
        if place.url.starts_with("sqlite") {
            place.open().await;
        }
        place.say("CREATE TABLE users (name varchar(20))").await;
        let database = place.builder().table("users").build().unwrap();
        let (what, said) = problem(database.create_table().await);
        assert_eq!(what, DatabaseProblem::ForeignTable, "{said}");
        assert!(said.contains("\"users\""), "{said}");
    }
}

/// CCT-2: a view of that name is left alone as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_left_alone() {
    for place in Place::all().await {
        place.open().await.set("k", number(7), None).await.unwrap();
        place.say("CREATE VIEW seen AS SELECT * FROM my_cache_table").await;
        let view = place.builder().table("seen").build().unwrap();
        assert!(!view.create_table().await.unwrap());
        assert_eq!(view.get("k").await.unwrap(), Some(number(7)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_call_makes_it_where_that_is_asked_for() {
    for place in Place::all().await {
        let database = Database::from_url(&format!("{}?create_table=yes&table=t", place.url)).unwrap();
        database.set("k", number(1), None).await.unwrap();
        assert_eq!(database.incr("k", 1).await.unwrap(), Some(2));
    }
    let in_memory = Database::from_url("sqlite::memory:").unwrap();
    assert_eq!(in_memory.get("k").await.unwrap(), None);
}

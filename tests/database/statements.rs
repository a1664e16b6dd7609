//! How many statements a call takes, as the server counts them.

use larder::Clock;
use larder::backend::Backend;

use super::real::MariaDb;
use super::stores::{Place, made, number};

/// The statements on the table that MariaDB ran since the last question, but for the look at how many entries there are,
/// which comes now and then.
async fn ran(place: &Place, table: &str) -> usize {
    let count = format!(
        "SELECT COUNT(*) FROM mysql.general_log WHERE command_type = 'Execute' AND argument LIKE '%`{table}`%' \
         AND argument <> 'SELECT COUNT(*) FROM `{table}`'"
    );
    let ran = place.say(&count).await.trim().parse::<usize>().unwrap();
    place.say("TRUNCATE mysql.general_log").await;
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_one_statement_whatever_the_number_of_keys() {
    // A server of its own: its log is switched on and emptied.
    let server = tokio::task::spawn_blocking(MariaDb::start).await.unwrap();
    let place = Place::on(server);
    place.say("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON").await;
    let database = made(place.builder().table("counted"), Clock::system()).await;
    let keys: Vec<String> = (0..300).map(|key| format!("k{key}")).collect();
    let entries: Vec<_> = keys[..90].iter().map(|key| (key.clone(), number(1))).collect();
    ran(&place, "counted").await;

    macro_rules! takes {
        ($call:expr, $statements:literal) => {
            $call.await.unwrap();
            assert_eq!(ran(&place, "counted").await, $statements, stringify!($call));
        };
    }
    takes!(database.get("missing"), 1);
    takes!(database.set("k1", number(1), None), 1);
    takes!(database.get("k1"), 1);
    takes!(database.contains("k1"), 1);
    takes!(database.touch("k1", None), 1);
    takes!(database.add("new", number(1), None), 1);
    takes!(database.incr("k1", 1), 2);
    takes!(database.delete("k1"), 1);
    takes!(database.set_many(&entries, None), 1);
    takes!(database.get_many(&keys), 1);
    takes!(database.delete_many(&keys), 1);
    takes!(database.get_many(&[]), 0);
    takes!(database.set_many(&[], None), 0);
    takes!(database.delete_many(&[]), 0);
}

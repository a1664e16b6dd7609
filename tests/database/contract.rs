//! Every database keeps the contract of a backend, without an exception.

use larder::backend::Database;
use larder::backend::conformance::{Exceptions, check};

use super::stores::{Place, made};

/// The rules of the suite; the one that is left out is for clocks that cannot be turned.
const KEPT: usize = 25;

async fn keeps_the_contract(place: &Place) {
    let make = async |clock| made(place.builder(), clock).await;
    let report = check(make, Exceptions::none()).await.unwrap_or_else(|broken| panic!("{}: {broken}", place.url));
    assert_eq!(report.left_out, ["entries expire in real time"]);
    assert_eq!(report.kept.len(), KEPT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_keeps_the_contract() {
    keeps_the_contract(&Place::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_in_memory_keeps_the_contract() {
    let make = async |clock| Database::builder("sqlite::memory:").unwrap().clock(clock).build().unwrap();
    assert_eq!(check(make, Exceptions::none()).await.unwrap().kept.len(), KEPT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_contract() {
    keeps_the_contract(&Place::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mariadb_keeps_the_contract() {
    keeps_the_contract(&Place::mariadb().await).await;
}

/// The one documented exception: a table that Django made there may not tell keys apart that differ in small and capital
/// letters. Then one takes the place of the other, and nothing else changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn djangos_own_table_on_mariadb_keeps_all_but_look_alike_keys() {
    let place = Place::mariadb().await;
    place
        .say(
            "CREATE TABLE `my_cache_table` (`cache_key` varchar(255) NOT NULL PRIMARY KEY, \
             `value` longtext NOT NULL, `expires` datetime(6) NOT NULL) COLLATE utf8mb4_general_ci; \
             CREATE INDEX `my_cache_table_expires` ON `my_cache_table` (`expires`)",
        )
        .await;
    let broken = check(async |clock| made(place.builder(), clock).await, Exceptions::none()).await.unwrap_err();
    let rules: Vec<&str> = broken.rules.iter().map(|(rule, _)| *rule).collect();
    let look_alike = ["any key that travels is a key", "any text is a key", "clear of a prefix keeps to it"];
    assert!(rules.iter().all(|rule| look_alike.contains(rule)), "{broken}");
    assert!(broken.rules.iter().all(|(_, seen)| seen.ends_with("got None") || seen.ends_with("got false")), "{broken}");
}

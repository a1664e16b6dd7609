//! The conformance suite, over every way to reach a server.

use larder::backend::Redis;
use larder::backend::conformance::{Exceptions, Report, check};

use super::{builder, real};

/// What needs a clock that the test turns, since a server has its own; and
const LEFT_OUT: [&str; 8] = [
    // It refuses those that memcached would.
    "any text is a key",
    "entries expire by the clock that was given",
    "an entry is dead from the very instant on",
    "what never expires does not",
    "lifetimes may be longer than thirty days",
    "touch gives a new lifetime",
    "incr and a failing add keep the lifetime",
    "a dead entry is absent to every call",
];

async fn kept(make: impl AsyncFn() -> Redis) -> Report {
    check(async |_| make().await, Exceptions::none().real_time()).await.unwrap()
}

fn assert_whole(report: &Report) {
    let left_out: Vec<&str> = report.left_out.iter().copied().filter(|rule| !LEFT_OUT.contains(rule)).collect();
    assert_eq!(left_out, ["a value over the limit is TooLarge and leaves nothing"], "{report}");
    assert_eq!(report.kept.len() + report.left_out.len(), 26, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_keeps_the_contract() {
    let server = real::Redis::start();
    assert_whole(&kept(async || builder(&server.url()).build().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_behind_a_socket_with_a_password_and_a_database_keeps_the_contract() {
    let server = real::Redis::with(&["--requirepass", "s3cret"]);
    let url = format!("redis+unix://:s3cret@{}?db=3", server.unix_socket().display());
    assert_whole(&kept(async || builder(&url).build().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_behind_tls_keeps_the_contract() {
    let server = real::Redis::with_tls(&[]);
    let url = server.url();
    let make = async || builder(&url).tls_ca(&server.certificates().authority).unwrap().build().unwrap();
    assert_whole(&kept(make).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_speaks_only_the_old_protocol_keeps_the_contract() {
    let server = real::Redis::with(&["--rename-command", "HELLO", ""]);
    assert_whole(&kept(async || builder(&server.url()).build().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_keeps_the_contract() {
    let cluster = super::clusters::Cluster::start();
    assert_whole(&kept(async || builder(&cluster.url()).build().unwrap()).await);
}

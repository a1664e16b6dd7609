//! Connections that break in every way between the store and a server that is well; and callers that go away.

use std::sync::Arc;
use std::time::Duration;

use larder::backend::{Backend, Patience, Redis, Stored, flags};
use larder::{Cache, Error};
use tokio::task::JoinSet;

use super::real::{self, Fault, Proxy};
use super::{open, text, until};

async fn behind_a_proxy(server: &real::Redis) -> (Proxy, Redis) {
    let proxy = Proxy::to(server.socket_address()).await;
    let redis = open(&format!("redis://{}", proxy.address()));
    redis.set("k", text("v"), None).await.unwrap();
    (proxy, redis)
}

/// The machine is gone without a word: nothing but silence tells, and after some of it the line is opened anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_went_silent_is_replaced() {
    let server = real::Redis::start();
    let (proxy, redis) = behind_a_proxy(&server).await;
    proxy.forsake();
    until("it is replaced", async || {
        let answer = tokio::time::timeout(Duration::from_millis(50), redis.get("k")).await;
        answer.ok().map(|answer| assert_eq!(answer.unwrap(), Some(text("v"))))
    })
    .await;
    assert_eq!(proxy.opened(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_a_typed_error_and_forgotten() {
    let server = real::Redis::start();
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"$x\r\n",
        b":5\r\n",
        b"*0\r\n",
        b"*1\r\n*1\r\n*x\r\n",
        b"\0\0\0\0\0\0\0\0\r\n",
    ] {
        let (proxy, redis) = behind_a_proxy(&server).await;
        proxy.set(Fault::Speak(garbage.to_vec()));
        let answer = tokio::time::timeout(super::PATIENCE, redis.get("k")).await.expect("no hang");
        assert!(matches!(answer, Err(Error::Backend { backend: "redis", .. })), "{answer:?}");
        proxy.set(Fault::None);
        until("it is well again", async || redis.get("k").await.ok().filter(Option::is_some)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_in_the_middle_of_a_value_is_never_half_a_value() {
    let server = real::Redis::start();
    let large = Stored { data: vec![7; 1 << 20].into(), flags: flags::BYTES };
    for passed in [0, 1, 5, 1000, 500_000] {
        let (proxy, redis) = behind_a_proxy(&server).await;
        redis.set("large", large.clone(), None).await.unwrap();
        proxy.set(Fault::CloseAfter(passed));
        match tokio::time::timeout(super::PATIENCE, redis.get("large")).await.expect("no hang") {
            Ok(stored) => assert_eq!(stored, Some(large.clone())),
            Err(error) => assert!(matches!(error, Error::Backend { .. }), "{error}"),
        }
        proxy.set(Fault::None);
        until("it is well again", async || (redis.get("large").await.ok()? == Some(large.clone())).then_some(())).await;
    }
}

/// Values carry their keys: no caller ever gets another's, however many of them go away in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_go_away_mix_up_nothing() {
    let server = real::Redis::start();
    let (proxy, redis) = behind_a_proxy(&server).await;
    proxy.set(Fault::Delay(Duration::from_millis(2)));
    let redis = Arc::new(redis);
    let mut tasks = JoinSet::new();
    for task in 0..16_u64 {
        let redis = Arc::clone(&redis);
        tasks.spawn(async move {
            for number in 0..150 {
                let key = format!("{task}:{}", number % 7);
                let value = Stored { data: format!("of {key}").into(), flags: flags::TEXT };
                let patience = Duration::from_micros(100 + (task * 131 + number * 977) % 4000);
                let calls = async {
                    redis.set(&key, value.clone(), None).await?;
                    redis.get(&key).await
                };
                if let Ok(answer) = tokio::time::timeout(patience, calls).await {
                    assert_eq!(answer.unwrap(), Some(value));
                }
                let keys = [key.clone(), "missing".to_owned()];
                if let Ok(answer) = tokio::time::timeout(patience, redis.get_many(&keys)).await {
                    let [found, missing] = &answer.unwrap()[..] else { panic!("two answers") };
                    assert!(found.as_ref().is_none_or(|found| found.data == format!("of {key}")), "{found:?}");
                    assert_eq!(*missing, None);
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

/// Safety rule 11: no such key reaches the socket.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_would_not_fit_everywhere_is_refused_before_anything_is_sent() {
    let server = real::Redis::start();
    let (proxy, redis) = behind_a_proxy(&server).await;
    let cache = Cache::builder(redis).patience(Patience::default().get(super::PATIENCE).set(super::PATIENCE)).build();
    proxy.forget();
    let long = "x".repeat(251);
    for key in ["a\r\nFLUSHALL\r\n", "a b", "\t", "\0", "\u{7f}", &long] {
        let errors = [
            cache.set(key, 1, 60).await.unwrap_err(),
            cache.get::<i64>(key).await.unwrap_err(),
            cache.incr(key, 1).await.unwrap_err(),
            cache.delete(key).await.unwrap_err(),
            cache.get_many::<i64>(["fine", key]).await.unwrap_err(),
        ];
        assert!(errors.iter().all(|error| matches!(error, Error::Key { .. })), "{errors:?}");
    }
    assert_eq!(String::from_utf8_lossy(&proxy.asked()), "");
}

/// Whatever is in a key that comes to it all the same, the server gets one command.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_key_is_one_argument_of_one_command() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    for key in ["a\r\nFLUSHALL\r\n", "\r\n*1\r\n$8\r\nFLUSHALL\r\n", "a b", "\0", "*", "{a}"] {
        redis.set("witness", text("stays"), None).await.unwrap();
        redis.set(key, text("v"), None).await.unwrap();
        assert_eq!(redis.get(key).await.unwrap(), Some(text("v")));
        redis.clear(key).await.unwrap();
        assert_eq!(redis.get(key).await.unwrap(), None);
        assert_eq!(redis.get("witness").await.unwrap(), Some(text("stays")));
    }
}

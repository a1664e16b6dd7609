//! Servers that speak nonsense, answer another question, or lie about lengths: an error, a new connection, and never a value
//! under a key it was not stored for.

use std::sync::Arc;
use std::time::Duration;

use larder::memcached::{Client, Error, Expiry};

use super::real::{Fault, Memcached, Proxy};
use super::{healed, is_server_trouble, patient};

const NEVER: Expiry = Expiry::Never;

/// Every operation that could believe a wrong answer, and what became of each; none may hand out data.
async fn every_answer(client: &Client) -> Vec<Result<(), Error>> {
    vec![
        client.get("key").await.map(|value| assert_eq!(value.expect("it is there").data, "stored")),
        client.get_many(&["key", "other"]).await.map(|values| {
            assert_eq!(values[0].as_ref().expect("it is there").data, "stored");
            assert_eq!(values[1].as_ref().expect("it is there").data, "another");
        }),
        client.get_and_touch("key", NEVER).await.map(|value| assert_eq!(value.expect("it is there").data, "stored")),
        client.get_with_cas("key").await.map(|value| assert_eq!(value.expect("it is there").data, "stored")),
        client.incr("counter", 1).await.map(|counted| assert!(counted.is_some_and(|count| count < 1000))),
        client.touch("key", NEVER).await.map(|is_there| assert!(is_there)),
        client.set("key", "stored", 0, NEVER).await,
        client.add("key", "added", 0, NEVER).await.map(|has_added| assert!(!has_added)),
        client.delete("missing").await.map(|was_there| assert!(!was_there)),
    ]
}

async fn stage(server: &Memcached, has_sasl: bool) -> (Proxy, Client) {
    let proxy = Proxy::to(server.socket_address()).await;
    let builder = patient(proxy.address()).timeout(Duration::from_secs(1)).connect_timeout(Duration::from_secs(1));
    let builder = if has_sasl { builder.sasl("user", "secret") } else { builder };
    let client = builder.build().unwrap();
    healed(|| client.set("key", "stored", 0, NEVER)).await;
    healed(|| client.set("other", "another", 0, NEVER)).await;
    healed(|| client.set("counter", "5", 0, NEVER)).await;
    (proxy, client)
}

/// Plays one lie, and sees that the truth is believed again afterwards. Says how many calls failed.
async fn lie(proxy: &Proxy, client: &Client, fault: Fault) -> usize {
    proxy.set(fault);
    let outcomes = tokio::time::timeout(Duration::from_secs(60), every_answer(client)).await.expect("a call hangs");
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert!(is_server_trouble(&error) || matches!(error, Error::Server { .. }), "{error:?}");
    }
    proxy.set(Fault::None);
    healed(|| client.get("key")).await;
    for outcome in every_answer(client).await {
        outcome.unwrap();
    }
    failed
}

#[tokio::test]
async fn garbage_is_an_error_and_the_next_call_is_well() {
    let server = Memcached::start();
    let (proxy, client) = stage(&server, false).await;
    let endless = vec![b'x'; 200_000];
    let garbage: [&[u8]; 24] = [
        b"\r\n",
        b"\n",
        b"hello\r\n",
        b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<html>",
        b"\0\0\0\0\0\0\0\0",
        b"\x81\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x15\x03\x03\0\x02\x02\x46",
        b"-ERR unknown command\r\n",
        b"ERROR\r\n",
        b"VALUE\r\n",
        b"VALUE key\r\n",
        b"VALUE key 0 99999999999999999999999\r\n",
        b"VALUE key 0 4294967296\r\n",
        b"VALUE key 0 -1\r\n",
        b"VALUE key 0 3 7 9\r\nabc\r\nEND\r\n",
        b"VALUE stranger 0 3\r\nabc\r\nEND\r\n",
        b"VA 3\r\nabc\r\n",
        b"VA 3 f0 O4000000000\r\nabc\r\n",
        b"VA 18446744073709551615 f0\r\n",
        b"VA 9999999999 f0\r\n",
        b"VA x f0\r\nabc\r\n",
        b"HD O4000000000\r\n",
        b"MN\r\nMN\r\nMN\r\n",
        &endless,
    ];
    for words in garbage {
        let failed = lie(&proxy, &client, Fault::Speak(words.to_vec())).await;
        assert!(failed >= 8, "{:?}: {failed} failed", String::from_utf8_lossy(&words[..words.len().min(40)]));
    }
}

/// Whatever a server says at the greeting, connecting fails and says so.
#[tokio::test]
async fn garbage_at_the_greeting_is_an_error() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    for words in ["hello\r\n", "ERROR\r\n", "\0\0\0\0", "MN\r\nMN\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "M"] {
        proxy.set(Fault::Speak(words.as_bytes().to_vec()));
        let client = patient(proxy.address()).connect_timeout(Duration::from_secs(1)).build().unwrap();
        let error = client.get("key").await.unwrap_err();
        assert!(is_server_trouble(&error) && error.to_string().contains(&proxy.address()), "{error}");
    }
    // A redirect to a web server is told from one that is not there.
    let client = patient(proxy.address()).build().unwrap();
    proxy.set(Fault::Speak(b"ERROR\r\n".to_vec()));
    let error = client.get("key").await.unwrap_err();
    assert!(matches!(&error, Error::Protocol { .. }) && error.to_string().contains("1.6"), "{error}");
}

/// Puts another token on every answer of the meta protocol: ` O12` becomes ` O13`.
fn other_token(said: &[u8]) -> Vec<u8> {
    let text: Vec<char> = said.iter().map(|byte| *byte as char).collect();
    let mut changed = Vec::with_capacity(said.len());
    let mut is_token = false;
    for (position, letter) in text.iter().enumerate() {
        is_token = match letter {
            'O' if position > 0 && text[position - 1] == ' ' => true,
            '0'..='9' => is_token,
            _ => false,
        };
        let is_last = is_token && letter.is_ascii_digit() && !text.get(position + 1).is_some_and(char::is_ascii_digit);
        changed.push(if is_last { ((*letter as u8 - b'0' + 1) % 10) + b'0' } else { *letter as u8 });
    }
    changed
}

#[tokio::test]
async fn an_answer_to_another_question_is_an_error() {
    let server = Memcached::start();
    let (proxy, client) = stage(&server, false).await;
    assert_eq!(other_token(b"VA 6 f0 O19\r\nstored\r\n"), b"VA 6 f0 O10\r\nstored\r\n");
    let failed = lie(&proxy, &client, Fault::Rewrite(Arc::new(other_token))).await;
    // Not the classic get of several keys, which has no token, and not the miss, which has none on this server.
    assert!(failed >= 7, "{failed} failed");
}

#[tokio::test]
async fn an_answer_under_another_key_is_an_error() {
    let server = Memcached::start();
    let (proxy, client) = stage(&server, false).await;
    let swap = |said: &[u8]| {
        let text = String::from_utf8_lossy(said);
        text.replace("VALUE key ", "VALUE k1y ").into_bytes()
    };
    assert_eq!(lie(&proxy, &client, Fault::Rewrite(Arc::new(swap))).await, 1);
    // The two answers change places: each is under the name of the other, in the wrong order.
    let cross = |said: &[u8]| {
        let text = String::from_utf8_lossy(said);
        text.replace("VALUE key ", "VALUE ??? ")
            .replace("VALUE other ", "VALUE key ")
            .replace("VALUE ??? ", "VALUE other ")
            .into_bytes()
    };
    assert_eq!(lie(&proxy, &client, Fault::Rewrite(Arc::new(cross))).await, 1);
}

#[tokio::test]
async fn a_wrong_length_or_a_second_answer_is_an_error() {
    let server = Memcached::start();
    let (proxy, client) = stage(&server, false).await;
    for (said, lies) in
        [("VA 6 ", "VA 5 "), ("VA 6 ", "VA 7 "), ("VA 6 ", "VA 60 "), ("VA 6 ", "VA 0 "), ("VA 6 ", "VA 4 ")]
    {
        let rewrite = move |answer: &[u8]| String::from_utf8_lossy(answer).replace(said, lies).into_bytes();
        assert!(lie(&proxy, &client, Fault::Rewrite(Arc::new(rewrite))).await >= 3, "{lies}");
    }
    for (said, lies) in [(" 0 6\r\n", " 0 5\r\n"), (" 0 6\r\n", " 0 16\r\n")] {
        let rewrite = move |answer: &[u8]| String::from_utf8_lossy(answer).replace(said, lies).into_bytes();
        assert_eq!(lie(&proxy, &client, Fault::Rewrite(Arc::new(rewrite))).await, 1, "{lies}");
    }
    // Everything twice: the first answer is right, and the second belongs to nobody.
    lie(&proxy, &client, Fault::Rewrite(Arc::new(|answer| answer.repeat(2)))).await;
}

#[tokio::test]
async fn the_binary_protocol_believes_no_lies_either() {
    let server = Memcached::with(&[]).sasl("user", "secret").start();
    let (proxy, client) = stage(&server, true).await;
    // Byte 15 is the last of the opaque, 11 the last of the body's length, 0 the magic, 1 the operation.
    for (byte, what) in [(15, "opaque"), (0, "magic"), (1, "operation"), (9, "length")] {
        let rewrite = move |answer: &[u8]| {
            let mut answer = answer.to_vec();
            if let Some(byte) = answer.get_mut(byte) {
                *byte ^= 0x40;
            }
            answer
        };
        let failed = lie(&proxy, &client, Fault::Rewrite(Arc::new(rewrite))).await;
        assert!(failed >= 7, "{what}: {failed} failed");
    }
    for words in [&b"hello\r\n"[..], b"VA 3\r\nabc\r\n", &[0; 24], &[0x81; 24], &[0xff; 1000]] {
        assert!(lie(&proxy, &client, Fault::Speak(words.to_vec())).await >= 8, "{words:?}");
    }
}

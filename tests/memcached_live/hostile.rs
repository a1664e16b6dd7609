//! Keys and values that try to be commands: a key is refused before anything is sent, a value comes back as it was.

use bytes::Bytes;
use larder::memcached::{Client, Error, Expiry, KeyProblem, LARGEST_VALUE};

use super::patient;
use super::real::{Memcached, Proxy};

const NEVER: Expiry = Expiry::Never;

/// What every operation says of a key that it must refuse.
async fn errors_of(client: &Client, key: &[u8]) -> Vec<Error> {
    let good = b"good".as_slice();
    let entries = [(good, Bytes::from("x"), 0), (key, Bytes::from("x"), 0)];
    let mut errors = vec![
        client.get(key).await.unwrap_err(),
        client.get_with_cas(key).await.unwrap_err(),
        client.get_and_touch(key, NEVER).await.unwrap_err(),
        client.get_many(&[good, key]).await.unwrap_err(),
        client.set(key, "x", 0, NEVER).await.unwrap_err(),
        client.add(key, "x", 0, NEVER).await.unwrap_err(),
        client.replace(key, "x", 0, NEVER).await.unwrap_err(),
        client.append(key, "x").await.unwrap_err(),
        client.prepend(key, "x").await.unwrap_err(),
        client.cas(key, "x", 0, NEVER, 1).await.unwrap_err(),
        client.touch(key, NEVER).await.unwrap_err(),
        client.delete(key).await.unwrap_err(),
        client.incr(key, 1).await.unwrap_err(),
        client.decr(key, 1).await.unwrap_err(),
        client.delete_many(&[good, key]).await.unwrap_err(),
    ];
    errors.push(client.set_many(&entries, NEVER).await.unwrap_err());
    errors.push(client.server_of(key).unwrap_err());
    errors
}

#[tokio::test]
async fn a_key_that_could_be_a_command_is_refused_before_anything_is_sent() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    let client = patient(proxy.address()).build().unwrap();
    let long = vec![b'x'; 251];
    let wide = "é".repeat(126);
    let keys: [(&[u8], KeyProblem); 14] = [
        (b"", KeyProblem::Empty),
        (&long, KeyProblem::TooLong { length: 251 }),
        (wide.as_bytes(), KeyProblem::TooLong { length: 252 }),
        (b"a\r\nset hacked 0 0 1\r\n1", KeyProblem::BadByte),
        (b"a\nflush_all", KeyProblem::BadByte),
        (b"a\r", KeyProblem::BadByte),
        (b"a b", KeyProblem::BadByte),
        (b" ", KeyProblem::BadByte),
        (b"a noreply", KeyProblem::BadByte),
        (b"a\tb", KeyProblem::BadByte),
        (b"a\0b", KeyProblem::BadByte),
        (b"\0", KeyProblem::BadByte),
        (b"a\x1fb", KeyProblem::BadByte),
        (b"a\x7fb", KeyProblem::BadByte),
    ];
    for (key, expected) in keys {
        for error in errors_of(&client, key).await {
            let Error::Key { key: named, problem } = &error else { panic!("{key:?}: {error}") };
            assert_eq!(*problem, expected, "{key:?}");
            assert_eq!(*named, String::from_utf8_lossy(key));
            assert!(!error.to_string().contains(['\r', '\n', '\0']), "{error:?}");
        }
    }
    assert_eq!(String::from_utf8_lossy(&proxy.asked()), "");
    assert_eq!((proxy.opened(), server.stat("curr_items")), (0, 0));
}

/// Odd keys that memcached takes: they read like tokens of its protocols, or are not text at all.
fn odd_keys() -> Vec<Vec<u8>> {
    let words =
        ["q", "k", "O1", "T0", "-1", "0", "noreply", "b", "mn", "v", "s", "END", "VALUE", "EN", "HD", "%", "c=1"];
    let mut keys: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    keys.extend(
        ["café-日本語", "Ⅷ", "a\u{a0}b", "\u{85}", "{\"a\":1}", "//x?y#z", "\\r\\n"].map(|key| key.as_bytes().to_vec()),
    );
    keys.push(vec![0x80, 0xff, 0xfe, 0xc3]);
    keys.push(vec![b'x'; 250]);
    keys.push("日".repeat(83).into_bytes());
    keys
}

/// Values that read like answers and commands.
fn hostile_values() -> Vec<Bytes> {
    let mut values: Vec<Bytes> = [
        "",
        "\r\n",
        "\n",
        "\0",
        "END\r\n",
        "EN\r\n",
        "HD\r\n",
        "MN\r\n",
        "STORED\r\n",
        "VALUE k 0 1\r\nx\r\nEND\r\n",
        "VA 1 f0\r\nx\r\n",
        "\r\nset hacked 0 0 1\r\n1\r\n",
        "x\r\nms hacked 1\r\n1\r\nflush_all\r\nquit\r\n",
        "ERROR\r\n",
        "SERVER_ERROR out of memory\r\n",
    ]
    .map(|text| Bytes::from_static(text.as_bytes()))
    .to_vec();
    values.push((0..=255).collect());
    // A header of the binary protocol's answer, and its request.
    values.push(Bytes::from_static(b"\x81\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    values.push(Bytes::from_static(b"\x80\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    // Around the sizes where a client changes its ways.
    values.extend([16_384, 16_385, 65_535, 65_536, 65_537, 262_144].map(pattern));
    values.push(pattern(LARGEST_VALUE - 512));
    values
}

fn pattern(size: usize) -> Bytes {
    (0..size).map(|position| (position * 31 % 251) as u8).collect()
}

async fn everything_comes_back(client: &Client) {
    for (number, value) in hostile_values().into_iter().enumerate() {
        let flags = [0, 1, 16, u32::MAX - 8][number % 4] & !8;
        let key = format!("value:{number}");
        client.set(&key, value.clone(), flags, NEVER).await.unwrap();
        let single = client.get(&key).await.unwrap().unwrap();
        assert_eq!((single.flags, single.data == value), (flags, true), "value {number}");
        let with_cas = client.get_with_cas(&key).await.unwrap().unwrap();
        assert!(with_cas.data == value && with_cas.cas.is_some(), "value {number}");
        let touched = client.get_and_touch(&key, NEVER).await.unwrap().unwrap();
        assert!(touched.data == value, "value {number}");
        let several = client.get_many(&["missing", &key, "missing", &key]).await.unwrap();
        let data: Vec<Option<&Bytes>> = several.iter().map(|value| value.as_ref().map(|value| &value.data)).collect();
        assert!(data == [None, Some(&value), None, Some(&value)], "value {number}");
        if value.len() < 1000 {
            assert!(client.append(&key, value.clone()).await.unwrap());
            assert!(client.prepend(&key, "\r\n").await.unwrap());
            let joined = client.get(&key).await.unwrap().unwrap();
            assert!(
                joined.data == [b"\r\n", &value[..], &value[..]].concat() && joined.flags == flags,
                "value {number}"
            );
        }
    }
    for (number, key) in odd_keys().iter().enumerate() {
        let value = Bytes::from(number.to_string());
        assert!(client.add(key, value.clone(), 0, NEVER).await.unwrap(), "{key:?}");
        assert_eq!(client.get(key).await.unwrap().unwrap().data, value, "{key:?}");
        assert_eq!(client.incr(key, 1).await.unwrap(), Some(number as u64 + 1), "{key:?}");
        assert!(client.touch(key, NEVER).await.unwrap(), "{key:?}");
    }
    let found = client.get_many(&odd_keys()).await.unwrap();
    for (number, value) in found.into_iter().enumerate() {
        assert_eq!(value.unwrap().data, (number + 1).to_string());
    }
    assert_eq!(client.get("hacked").await.unwrap(), None);
    for key in odd_keys() {
        assert!(client.delete(&key).await.unwrap(), "{key:?}");
        assert_eq!(client.get(&key).await.unwrap(), None, "{key:?}");
    }
}

#[tokio::test]
async fn hostile_values_and_odd_keys_come_back_as_they_were() {
    let server = Memcached::with(&["-m", "256"]).start();
    let client = patient(server.address()).build().unwrap();
    everything_comes_back(&client).await;
    // As many items as were stored, and no command more than was asked.
    assert_eq!(server.stat("curr_items"), hostile_values().len() as u64);
    assert_eq!((server.stat("cmd_flush"), server.stat("curr_connections") < 20), (0, true));
}

#[tokio::test]
async fn hostile_values_and_odd_keys_come_back_over_the_binary_protocol() {
    let server = Memcached::with(&["-m", "256"]).sasl("user", "secret").start();
    let client = patient(server.address()).sasl("user", "secret").build().unwrap();
    everything_comes_back(&client).await;
}

/// What is sent for one hostile value is one command with its value, to the byte.
#[tokio::test]
async fn a_value_is_sent_as_one_command() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    let client = patient(proxy.address()).build().unwrap();
    client.get("warm").await.unwrap();
    proxy.forget();
    let value = "x\r\nset hacked 0 0 1\r\n1\r\nflush_all\r\n";
    client.set("key", value, 0, NEVER).await.unwrap();
    let asked = String::from_utf8(proxy.asked()).unwrap();
    let (line, rest) = asked.split_once("\r\n").unwrap();
    let mut words = line.split(' ');
    assert_eq!((words.next(), words.next()), (Some("ms"), Some("key")), "{asked}");
    assert_eq!(words.next().unwrap(), value.len().to_string(), "{asked}");
    assert_eq!(rest, format!("{value}\r\n"), "{asked}");
    assert_eq!(client.get("hacked").await.unwrap(), None);
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_and_harms_nobody() {
    let server = Memcached::start();
    let client = patient(server.address()).build().unwrap();
    client.set("other", "stays", 0, NEVER).await.unwrap();
    for size in [LARGEST_VALUE + 1, LARGEST_VALUE, 4 * LARGEST_VALUE] {
        let error = client.set("big", pattern(size), 0, NEVER).await.unwrap_err();
        let Error::TooLarge { key, size: named, limit } = &error else { panic!("{error}") };
        assert_eq!((key.as_str(), *named, *limit), ("big", size, LARGEST_VALUE));
        assert!(error.to_string().contains("-I"), "{error}");
        assert_eq!(client.get("big").await.unwrap(), None);
        assert_eq!(client.get("other").await.unwrap().unwrap().data, "stays");
    }
    let entries = [("a", Bytes::from("1"), 0), ("big", pattern(LARGEST_VALUE + 1), 0), ("b", Bytes::from("2"), 0)];
    let outcomes = client.set_many(&entries, NEVER).await.unwrap();
    assert!(matches!(outcomes[..], [Ok(()), Err(Error::TooLarge { .. }), Ok(())]), "{outcomes:?}");
    assert_eq!(client.get("b").await.unwrap().unwrap().data, "2");
}

/// The server has its own limit: what it refuses is an error, and the next answers are still those of the next questions.
#[tokio::test]
async fn a_value_over_the_servers_own_limit_is_refused_and_nothing_stale_stays() {
    let servers = [
        (Memcached::with(&["-I", "32k", "-o", "slab_chunk_max=16384"]).start(), false),
        (Memcached::with(&["-I", "32k", "-o", "slab_chunk_max=16384"]).sasl("user", "secret").start(), true),
    ];
    for (server, has_sasl) in &servers {
        let mut builder = patient(server.address());
        if *has_sasl {
            builder = builder.sasl("user", "secret");
        }
        let client = builder.build().unwrap();
        client.set("big", "small", 0, NEVER).await.unwrap();
        for round in 0..3 {
            let error = client.set("big", pattern(100_000), 0, NEVER).await.unwrap_err();
            assert!(matches!(&error, Error::TooLarge { key, .. } if key == "big"), "{error}");
            assert_eq!(client.get("big").await.unwrap(), None, "what lay there before is gone");
            let key = format!("next:{round}");
            client.set(&key, key.clone(), 0, NEVER).await.unwrap();
            assert_eq!(client.get(&key).await.unwrap().unwrap().data, key);
        }
    }
}

//! Copies: items from fleet to fleet with their flags and the time they have left, and files into a fleet.

use super::command::larder;
use super::real::{Memcached, new_folder};

#[test]
fn items_keep_flags_and_time_left() {
    let (from, to) = (Memcached::start(), [Memcached::start(), Memcached::start()]);
    let destination = format!("memcached://{},{}?distribution=ketama", to[0].address(), to[1].address());
    for number in 0..300 {
        larder_free_set(&from, &format!("key:{number}"), number % 7, 1_000);
    }
    larder_free_set(&from, "for ever".replace(' ', "-").as_str(), 16, 0);
    let copied = larder(&from.url(), &["memcached", "copy", "--to", &destination]).done();
    assert!(copied.text().starts_with("copied 301 items to "), "{copied:?}");
    let dump = larder(&destination, &["memcached", "dump"]).done().json();
    assert_eq!(dump.len(), 301);
    for line in &dump {
        let key = line["key"].as_str().unwrap();
        match key.strip_prefix("key:") {
            Some(number) => {
                assert_eq!(line["flags"], number.parse::<u64>().unwrap() % 7, "{line}");
                assert!((800..=1_000).contains(&line["time_left"].as_u64().unwrap()), "{line}");
            }
            None => assert_eq!((key, &line["time_left"]), ("for-ever", &serde_json::Value::Null)),
        }
    }
    // They lie where the ring of the destination looks for them.
    larder(&destination, &["has", "--raw", "key:1", "key:2", "key:3", "key:299"]).done();
    assert!(to.iter().all(|server| server.stat("curr_items") > 50));
}

fn larder_free_set(memcached: &Memcached, key: &str, flags: u32, seconds: u32) {
    assert_eq!(memcached.say(format!("set {key} {flags} {seconds} 2\r\n42\r\n")), b"STORED\r\n");
}

/// What pylibmc stored for "larder " * 40 with min_compress_len=1.
const COMPRESSED: &[u8] = b"x\x9c\xcbI,JI-R\xc8\x19\xa5P)\0A\x8fh\x11";

#[test]
fn compressed_items_are_copied_as_they_lie() {
    let (from, to) = (Memcached::start(), Memcached::start());
    let mut set = format!("set compressed 24 0 {}\r\n", COMPRESSED.len()).into_bytes();
    set.extend_from_slice(COMPRESSED);
    set.extend_from_slice(b"\r\n");
    assert_eq!(from.say(set), b"STORED\r\n");
    larder(&from.url(), &["memcached", "copy", "--to", &to.url()]).done();
    let get = "get compressed\r\n";
    assert_eq!(to.say(get), from.say(get));
}

#[test]
fn what_is_there_is_left_alone_unless_somebody_says_otherwise() {
    let (from, to) = (Memcached::start(), Memcached::start());
    larder(&from.url(), &["set", "a", "new"]).done();
    larder(&from.url(), &["set", "b", "new"]).done();
    larder(&to.url(), &["set", "a", "old"]).done();
    let copy = ["memcached", "copy", "--to", &to.url()];
    let copied = larder(&from.url(), &copy).done();
    assert!(copied.text().contains("copied 1 item ") && copied.text().contains("1 key there already"), "{copied:?}");
    assert_eq!(larder(&to.url(), &["get", "a"]).done().text(), "old\n");
    let refused = larder(&from.url(), &[&copy[..], &["--overwrite"]].concat()).ends_with(5);
    assert!(refused.err.contains(&to.address()) && refused.err.contains(&from.address()), "{refused:?}");
    larder(&from.url(), &[&copy[..], &["--overwrite", "--yes"]].concat()).done();
    assert_eq!(larder(&to.url(), &["get", "a"]).done().text(), "new\n");

    let other = Memcached::start();
    larder(&from.url(), &["memcached", "copy", "--to", &other.url(), "--pattern", "*:b"]).done();
    assert_eq!(larder(&other.url(), &["memcached", "keys"]).done().lines(), [":1:b"]);
}

#[test]
fn an_item_that_is_too_large_for_its_new_home_is_told() {
    let (from, to) = (Memcached::with(&["-I", "4m"]).start(), Memcached::start());
    larder(&from.url(), &["set", "small", "x"]).done();
    let large = "x".repeat(1_500_000);
    assert_eq!(from.say(format!("set :1:large 16 0 1500000\r\n{large}\r\n")), b"STORED\r\n");
    let copied = larder(&from.url(), &["memcached", "copy", "--to", &to.url()]).ends_with(4);
    assert!(copied.text().contains("copied 1 item ") && copied.err.contains(":1:large"), "{copied:?}");
    larder(&to.url(), &["has", "small"]).done();
}

#[test]
fn files_are_stored_under_their_names() {
    let memcached = Memcached::start();
    let url = memcached.url();
    let folder = new_folder("cli-files");
    let (text, bytes) = (folder.join("motd.txt"), folder.join("logo.png"));
    std::fs::write(&text, "welcome\n").unwrap();
    std::fs::write(&bytes, [0, 255, 13, 10]).unwrap();
    let files = [text.to_str().unwrap(), bytes.to_str().unwrap()];
    larder(&url, &[&["memcached", "copy"][..], &files, &["--flags", "16", "--timeout", "1h"]].concat()).done();
    assert_eq!(larder(&url, &["get", "--raw", "--bytes", "motd.txt"]).done().text(), "welcome\n");
    assert_eq!(larder(&url, &["get", "--raw", "--bytes", "logo.png"]).done().out, [0, 255, 13, 10]);
    let dump = larder(&url, &["memcached", "dump", "motd.txt"]).done().json();
    assert_eq!(dump[0]["flags"], 16);
    assert!(dump[0]["time_left"].as_u64().unwrap() <= 3_600);

    std::fs::write(&text, "good bye\n").unwrap();
    let kept = larder(&url, &["memcached", "copy", files[0]]).done();
    assert!(kept.text().contains("left alone"), "{kept:?}");
    larder(&url, &["memcached", "copy", files[0], "--overwrite"]).ends_with(5);
    larder(&url, &["memcached", "copy", files[0], "--overwrite", "--yes"]).done();
    assert_eq!(larder(&url, &["get", "--raw", "--bytes", "motd.txt"]).done().text(), "good bye\n");

    let missing = larder(&url, &["memcached", "copy", files[0], "/no/such/file"]).ends_with(1);
    assert!(missing.err.contains("/no/such/file"), "{missing:?}");
    larder(&url, &["memcached", "copy", files[0], files[0]]).ends_with(2);
    larder(&url, &["memcached", "copy"]).ends_with(2);
}

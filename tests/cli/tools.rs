//! Beside the tools of libmemcached: the same servers, the same answers, and all the keys that memcdump does not see.

use std::process::{Command, Output};

use super::command::larder;
use super::real::{Memcached, find_program, new_folder};

fn tool(name: &str, memcached: &Memcached, arguments: &[&str]) -> Output {
    let program =
        find_program(name).unwrap_or_else(|| panic!("{name} is not installed: apt-get install libmemcached-tools"));
    let servers = format!("--servers={}", memcached.address());
    Command::new(program).arg(servers).args(arguments).output().expect("it runs")
}

#[test]
fn each_reads_what_the_other_stored() {
    let memcached = Memcached::start();
    let url = memcached.url();
    larder(&url, &["set", "--raw", "greeting", "hello"]).done();
    assert_eq!(tool("memccat", &memcached, &["greeting"]).stdout, b"hello\n");
    assert_eq!(larder(&url, &["get", "--raw", "greeting"]).done().out, b"hello\n");

    let folder = new_folder("cli-tools");
    let file = folder.join("motd");
    std::fs::write(&file, "welcome").unwrap();
    assert!(tool("memccp", &memcached, &[file.to_str().unwrap()]).status.success());
    assert_eq!(larder(&url, &["get", "--raw", "--bytes", "motd"]).done().text(), "welcome");
    larder(&url, &["memcached", "copy", file.to_str().unwrap(), "--overwrite", "--yes"]).done();
    assert_eq!(tool("memccat", &memcached, &["motd"]).stdout, b"welcome\n");
}

#[test]
fn exit_codes_agree() {
    let memcached = Memcached::start();
    let url = memcached.url();
    memcached.say("set a 0 0 1\r\nx\r\n");
    for key in ["a", "b"] {
        let theirs = |name: &str, arguments: &[&str]| tool(name, &memcached, arguments).status.code();
        assert_eq!(theirs("memcexist", &[key]), Some(larder(&url, &["has", "--raw", key]).code), "exist {key}");
        assert_eq!(theirs("memccat", &[key]), Some(larder(&url, &["get", "--raw", key]).code), "cat {key}");
        assert_eq!(
            theirs("memctouch", &["--expire=1000", key]),
            Some(larder(&url, &["touch", "--raw", key]).code),
            "touch {key}"
        );
    }
    larder(&url, &["delete", "--raw", "a"]).done();
    assert_eq!(tool("memcrm", &memcached, &["a"]).status.code(), Some(larder(&url, &["delete", "--raw", "a"]).code));
    assert!(tool("memcping", &memcached, &[]).status.success());
    larder(&url, &["memcached", "ping"]).done();
    memcached.stop();
    assert!(!tool("memcping", &memcached, &[]).status.success());
    larder(&url, &["memcached", "ping"]).ends_with(3);
}

#[test]
fn counters_have_the_same_form() {
    let memcached = Memcached::start();
    let theirs = String::from_utf8(tool("memcstat", &memcached, &[]).stdout).unwrap();
    let ours = larder(&memcached.url(), &["memcached", "stats"]).done();
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.trim().split_once(':')?.0.to_owned())).collect()
    };
    let (theirs, ours) = (names(&theirs), names(ours.text()));
    assert!(theirs.len() > 20 && ours.len() >= theirs.len());
    let missing: Vec<&String> = theirs.iter().filter(|name| !ours.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn flushing_is_the_same() {
    let memcached = Memcached::start();
    memcached.say("set a 0 0 1\r\nx\r\n");
    larder(&memcached.url(), &["memcached", "flush", "--yes"]).done();
    assert_eq!(tool("memcexist", &memcached, &["a"]).status.code(), Some(1));
}

/// Of 300 popular keys memcdump lists none: it sees the cold ones only.
#[test]
fn hot_keys_are_listed_too() {
    let memcached = Memcached::start();
    for number in 0..1_000 {
        memcached.say(format!("set key:{number} 0 0 1\r\nx\r\nget key:{number}\r\nget key:{number}\r\n"));
    }
    let theirs = tool("memcdump", &memcached, &[]).stdout;
    let theirs = theirs.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    let ours = larder(&memcached.url(), &["memcached", "keys"]).done();
    assert_eq!(ours.lines().len(), 1_000);
    assert!(theirs <= 1_000, "{theirs}");
}

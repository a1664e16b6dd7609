//! What is in a memcached: all of its keys, their values, and what fills it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use bytes::Bytes;
use larder::Cache;
use larder::memcached::{Client, Expiry};

use super::busy_site;
use super::command::{larder, on_a_terminal};
use super::real::Memcached;

fn patient(url: &str) -> String {
    format!("{url}?get_timeout=60s&set_timeout=60s&connect_timeout=60s")
}

async fn fill(memcached: &Memcached, keys: &[String]) {
    let client = Client::from_url(&format!("{}?timeout=60s&connect_timeout=60s", memcached.url())).unwrap();
    let entries: Vec<(&String, Bytes, u32)> = keys.iter().map(|key| (key, Bytes::from_static(b"x"), 16)).collect();
    for stored in client.set_many(&entries, Expiry::Never).await.unwrap() {
        stored.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_are_listed() {
    let memcached = Memcached::start();
    let url = memcached.url();
    assert!(larder(&url, &["memcached", "keys"]).done().out.is_empty());
    let keys: Vec<String> = (0..20_000).map(|number| format!(":1:user:{number}:caf\u{e9}%25")).collect();
    fill(&memcached, &keys).await;

    let listed = larder(&url, &["memcached", "keys"]).done();
    let wanted: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(listed.lines().len(), keys.len());
    assert!(listed.lines().into_iter().collect::<BTreeSet<_>>() == wanted);
    let listed = larder(&url, &["memcached", "keys", "--json"]).done();
    assert_eq!(listed.json().iter().filter(|line| wanted.contains(line["key"].as_str().unwrap())).count(), keys.len());

    let listed = larder(&url, &["memcached", "keys", ":1:user:1999?:*"]).done();
    assert_eq!(listed.lines().len(), 10, "{listed:?}");
    let listed = larder(&url, &["memcached", "keys", "--regex", ":19{4}:"]).done();
    assert_eq!(listed.lines(), [":1:user:19999:caf\u{e9}%25"]);
    let none = larder(&url, &["memcached", "keys", "nothing*"]).ends_with(1);
    assert!(none.out.is_empty() && none.err.contains("nothing*"), "{none:?}");
    larder(&url, &["memcached", "keys", "[a"]).ends_with(2);
    larder(&url, &["memcached", "keys", "(", "--regex"]).ends_with(2);
    let long = larder(&url, &["memcached", "keys", "--long", "*:7:*"]).done();
    assert_eq!(long.lines().len(), 2);
    assert!(long.lines()[1].contains("never") && long.lines()[1].ends_with(":1:user:7:caf\u{e9}%25"), "{long:?}");
}

/// Keys of any bytes get into a memcached by the binary protocol; none of them may speak to the terminal.
#[test]
fn a_key_cannot_speak_to_the_terminal() {
    let memcached = Memcached::start();
    // The text protocol takes all but blanks and line ends.
    memcached.say(b"set \x1b[2J\x07\xff 0 0 1\r\nx\r\n");
    let listed = larder(&memcached.url(), &["memcached", "keys"]).done();
    assert_eq!(listed.text(), "\\x1b[2J\\x07\\xff\n");
    let listed = larder(&memcached.url(), &["memcached", "keys", "--json"]).done();
    assert_eq!(listed.json()[0]["key_base64"], "G1sySgf/");
    let summed = larder(&memcached.url(), &["memcached", "keys", "--summary"]).done();
    assert!(!summed.text().contains('\x1b'), "{summed:?}");
    // Nor can it be asked for, and the others are none the worse for it.
    memcached.say("set a 0 0 1\r\nx\r\n");
    let dump = larder(&memcached.url(), &["memcached", "dump"]).ends_with(0);
    assert!(dump.json().len() == 1 && dump.err.contains("\\x1b[2J") && !dump.err.contains('\x1b'), "{dump:?}");
    let deleted = larder(&memcached.url(), &["memcached", "delete", "*", "--yes"]).ends_with(0);
    assert!(deleted.text() == "deleted 1 key\n" && deleted.err.contains("passed over"), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_has_the_values() {
    let memcached = Memcached::start();
    let url = memcached.url();
    larder(&url, &["set", "text", "hello", "-t", "1000"]).done();
    larder(&url, &["set", "number", "42", "-t", "never"]).done();
    larder(&url, &["set", "list", "[1,2]", "--json"]).done();
    memcached.say(b"set raw 0 0 2\r\n\x00\xff\r\nset pickle 1 0 4\r\n\x80\x04N.\r\n");
    let dump = larder(&url, &["memcached", "dump"]).done().json();
    assert_eq!(dump.len(), 5);
    let line = |key: &str| dump.iter().find(|line| line["key"] == key).unwrap();
    assert_eq!((&line(":1:text")["value"], &line(":1:text")["kind"]), (&"hello".into(), &"text".into()));
    assert!((900..=1_000).contains(&line(":1:text")["time_left"].as_u64().unwrap()));
    assert_eq!((&line(":1:number")["value"], &line(":1:number")["time_left"]), (&42.into(), &serde_json::Value::Null));
    assert_eq!(line(":1:list")["value"], serde_json::json!([1, 2]));
    assert_eq!((&line("raw")["value_base64"], &line("raw")["flags"]), (&"AP8=".into(), &0.into()));
    assert_eq!(line("pickle")["kind"], "pickle");
    assert_eq!(line("raw")["server"], memcached.address());
    assert_eq!(larder(&url, &["memcached", "dump", ":1:*"]).done().lines().len(), 3);
    larder(&url, &["memcached", "dump", "nothing"]).ends_with(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_listed_wherever_its_keys_lie() {
    let fleet = [Memcached::start(), Memcached::start(), Memcached::start()];
    let servers = fleet.iter().map(Memcached::address).collect::<Vec<_>>().join(",");
    let url = format!("memcached://{servers}");
    // Each on a server that no ring would choose for all of them.
    for (number, memcached) in fleet.iter().enumerate() {
        for key in 0..5 {
            memcached.say(format!("set key:{number}:{key} 16 0 1\r\nx\r\n"));
        }
    }
    assert_eq!(larder(&url, &["memcached", "keys"]).done().lines().len(), 15);
    assert_eq!(larder(&url, &["memcached", "dump"]).done().lines().len(), 15);
    assert_eq!(larder(&url, &["memcached", "ping"]).done().lines().len(), 3);
    assert_eq!(larder(&url, &["memcached", "stats", "--json"]).done().json().len(), 3);
    larder(&url, &["memcached", "delete", "key:*:1", "--yes"]).done();
    assert_eq!(larder(&url, &["memcached", "keys"]).done().lines().len(), 12);

    // A list is whole or it is an error.
    fleet[1].stop();
    let failed = larder(&url, &["memcached", "keys"]).ends_with(3);
    assert!(failed.out.is_empty() && failed.err.contains(&fleet[1].address()), "{failed:?}");
    let failed = larder(&url, &["memcached", "ping"]).ends_with(3);
    assert!(failed.lines().len() == 2 && failed.err.contains(&fleet[1].address()), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_tells_what_fills_the_cache() {
    let memcached = Memcached::start();
    let url = memcached.url();
    let cache = Cache::connect(&patient(&url)).await.unwrap();
    busy_site::serve(&cache, 200).await.unwrap();
    // Pages are stored behind their responses.
    cache.close().await.unwrap();

    let listed = larder(&url, &["memcached", "keys"]).done();
    let summed = larder(&url, &["memcached", "keys", "--summary", "--json"]).done().json();
    let group = |pattern: &str| {
        summed.iter().find(|line| line["pattern"] == pattern).unwrap_or_else(|| panic!("{pattern}: {summed:?}"))
    };
    // 200 products, 40 articles, the front page in two languages.
    let pages = group(":1:views.decorators.cache.cache_page..GET.*");
    let lists = group(":1:views.decorators.cache.cache_header..*");
    assert_eq!((&pages["keys"], &lists["keys"]), (&242.into(), &242.into()));
    assert_eq!(group(":1:larder.page..*")["keys"], 242);
    assert_eq!(group(":1:user:*")["keys"], 100);
    assert_eq!(group(":1:rate/*")["keys"], 50);
    assert!(group(":1:rate/*")["next_to_expire"].as_u64().unwrap() <= 900);
    // Half of the visitors looked at what was there.
    assert!(pages["never_read"].as_u64().unwrap() < 242 && group(":1:user:*")["never_read"] == 100);
    let all: u64 = summed.iter().map(|line| line["keys"].as_u64().unwrap()).sum();
    assert_eq!(all, listed.lines().len() as u64);
    // Each group is a pattern that finds its keys again.
    for line in &summed {
        let found = larder(&url, &["memcached", "keys", line["pattern"].as_str().unwrap()]).done();
        assert_eq!(found.lines().len() as u64, line["keys"].as_u64().unwrap(), "{line}");
    }

    let table = larder(&url, &["memcached", "keys", "--summary"]).done();
    let first = table.lines()[0].replace(',', "");
    assert!(first.contains(&memcached.address()) && first.contains(&format!("{all} items")), "{table:?}");
    assert!(table.text().contains("KEYS OF") && table.lines().last().unwrap().ends_with("(all)"), "{table:?}");
    let short = larder(&url, &["memcached", "keys", "--summary", "--top", "1"]).done();
    assert!(short.text().contains(&format!("({} more groups)", summed.len() - 1)), "{short:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_has_enough_ends_it_quietly() {
    let memcached = Memcached::start();
    let keys: Vec<String> = (0..20_000).map(|number| format!("a-rather-long-key-that-fills-pipes:{number}")).collect();
    fill(&memcached, &keys).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["memcached", "keys"])
        .env("CACHE_URL", memcached.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    drop(reader);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success() && said.is_empty(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_is_shown_on_a_terminal_and_nowhere_else() {
    let memcached = Memcached::start();
    let keys: Vec<String> = (0..20_000).map(|number| format!("key:{number}")).collect();
    fill(&memcached, &keys).await;
    let seen = on_a_terminal(&memcached.url(), &["memcached", "keys", "--summary"], "").ends_with(0);
    assert!(seen.text().contains("20,000") && seen.text().contains("key:*"), "{}", seen.text());
    larder(&memcached.url(), &["memcached", "keys", "--summary"]).done();
    let quiet = on_a_terminal(&memcached.url(), &["memcached", "keys", "--summary", "--quiet"], "").ends_with(0);
    assert!(!quiet.text().contains("=>"), "{}", quiet.text());
}

#[test]
fn servers_with_a_login() {
    let sasl = Memcached::with(&[]).sasl("anna", "s3cret").start();
    let url = format!("memcached://anna:s3cret@{}", sasl.address());
    larder(&url, &["set", "a", "1"]).done();
    assert_eq!(larder(&url, &["incr", "a"]).done().text(), "2\n");
    larder(&url, &["memcached", "ping"]).done();
    assert!(larder(&url, &["memcached", "stats"]).done().text().contains("\tcurr_items: 1\n"));
    let refused = larder(&url, &["memcached", "keys"]).ends_with(2);
    assert!(refused.err.contains("SASL"), "{refused:?}");
    let stranger = format!("memcached://anna:wr0ng@{}", sasl.address());
    let refused = larder(&stranger, &["memcached", "ping"]).ends_with(3);
    assert!(!refused.err.contains("wr0ng"), "{refused:?}");

    let ascii = Memcached::with(&[]).ascii_auth("anna", "s3cret").start();
    let url = format!("memcached://anna:s3cret@{}?auth=ascii", ascii.address());
    larder(&url, &["set", "a", "1"]).done();
    let shouted = format!("MEMCACHED://anna:s3cret@{}?AUTH=ascii", ascii.address());
    for url in [&url, &shouted] {
        assert!(larder(url, &["memcached", "keys"]).done().lines().contains(&":1:a"));
    }

    let tls = Memcached::with(&[]).tls().start();
    let url = format!("{}?ca={}", tls.url(), tls.certificates().authority.display());
    larder(&url, &["set", "a", "1"]).done();
    assert_eq!(larder(&url, &["memcached", "keys"]).done().lines(), [":1:a"]);
    let distrusted = larder(&tls.url(), &["memcached", "keys"]).ends_with(3);
    assert!(distrusted.err.contains(&tls.address()), "{distrusted:?}");
}

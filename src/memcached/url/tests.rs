use proptest::prelude::*;

use super::super::ring::{Distribution, KeyHash};
use super::*;

/// What a builder is set up by; equal texts, equal builders (but for passwords, which are not shown).
fn shown(builder: &ClientBuilder) -> String {
    format!("{builder:?}")
}

fn read_as(url: &str) -> String {
    shown(&ClientBuilder::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}")))
}

fn message(url: &str) -> String {
    ClientBuilder::from_url(url).err().unwrap_or_else(|| panic!("{url} was read")).to_string()
}

#[test]
fn servers_weights_and_options_are_read() {
    let builder = ClientBuilder::new;
    let milliseconds = Duration::from_millis;
    for (url, same) in [
        ("memcached://a", builder().server("a")),
        ("memcached://127.0.0.1:11211/", builder().server("127.0.0.1:11211")),
        (
            "memcached://a:11211*3,[::1]:11212,b",
            builder().weighted_server("a:11211", 3).server("[::1]:11212").server("b"),
        ),
        ("memcached+unix:///run/memcached.sock", builder().server("/run/memcached.sock")),
        ("memcached+unix:///run/a%2Cb%3F.sock,/run/c", builder().server("/run/a,b?.sock").server("/run/c")),
        ("memcached+unix://u:p@/run/c", builder().server("/run/c").sasl("u", "p")),
        ("memcached+tls://a:1", builder().server("a:1").tls(Tls::new())),
        (
            "memcached+tls://a?server_name=b&verify=no",
            builder().server("a").tls(Tls::new().server_name("b").accept_any_certificate()),
        ),
        ("memcached://user:pass@a", builder().server("a").sasl("user", "pass")),
        ("memcached://us%3Aer:p%40ss:w@a?auth=ascii", builder().server("a").auth("us:er", "p@ss:w")),
        (
            "memcached://a,b?distribution=ketama&hash=fnv1a_32",
            builder().servers(["a", "b"]).distribution(Distribution::Ketama).key_hash(KeyHash::Fnv1a32),
        ),
        (
            "memcached://a?read_timeout=7ms&timeout=1s&connect_timeout=20ms",
            builder()
                .server("a")
                .connect_timeout(milliseconds(20))
                .read_timeout(milliseconds(7))
                .write_timeout(milliseconds(1000)),
        ),
        (
            "memcached://a?largest_value=2097152&compress_over=1000&when_down=next_server",
            builder().server("a").largest_value(2_097_152).compress_over(1000).when_down(WhenDown::NextServer),
        ),
    ] {
        assert_eq!(read_as(url), shown(&same), "{url}");
    }
}

#[test]
fn an_error_says_what_could_stand_there() {
    for (url, part) in [
        ("127.0.0.1:11211", "begins with memcached://, memcached+tls:// or memcached+unix://"),
        ("redis://a", "begins with memcached://"),
        ("memcached://", "names no server"),
        ("memcached://a,,b", "a comma too many"),
        ("memcached://a*x", "weight of a memcached server of a memcached URL is \"x\""),
        ("memcached:///run/m.sock", "memcached+unix:///path"),
        ("memcached+unix://run/m.sock", "does not begin with a slash"),
        ("memcached://a?prefix=x", "unknown option \"prefix\" of a memcached URL: known are distribution, hash,"),
        ("memcached://a?ca=/x", "(that one is for memcached+tls://)"),
        ("memcached://a?timeout=1&timeout=2", "\"timeout\" of a memcached URL is given twice"),
        ("memcached://a?timeout=0", "a time above zero with its unit, such as 250ms or 1s"),
        ("memcached://a?timeout=250", "a time above zero with its unit"),
        ("memcached://a?timeout=1.5s", "a time above zero"),
        ("memcached://a?compress_over=1k", "which is not a whole number"),
        ("memcached://a?distribution=ring", "known are rendezvous, modula, ketama, ketama_weighted, crc32"),
        ("memcached://a?hash=sha1", "known are default, md5, crc"),
        ("memcached://a?when_down=wait", "fail or next_server"),
        ("memcached://u:p@a?auth=digest", "sasl or ascii"),
        ("memcached://a?auth=ascii", "auth=ascii needs a user"),
        ("memcached://user@a", "a user without a password"),
        ("memcached://:p@a", "a password without a user"),
        ("memcached+tls://a?cert=/x", "needs cert_key"),
        ("memcached+tls://a?ca=/no/such/file", "ca of a memcached URL is \"/no/such/file\": No such file"),
        ("memcached+tls://a?verify=maybe", "yes or no"),
        ("memcached://a?hash=%zz", "percent-encoded"),
    ] {
        let message = message(url);
        assert!(message.contains(part), "{url}: {message}");
    }
}

#[test]
fn the_caller_takes_its_own_options_first() {
    let (builder, others) =
        read("memcached://a?timeout=300&read_timeout=9ms&key_prefix=b%3A", &["timeout", "key_prefix"]).unwrap();
    assert_eq!(shown(&builder), shown(&ClientBuilder::new().server("a").read_timeout(Duration::from_millis(9))));
    assert_eq!(others, [("timeout".to_owned(), "300".to_owned()), ("key_prefix".to_owned(), "b:".to_owned())]);
    let error = read("memcached://a?prefix=x", &["timeout", "key_prefix"]).err().unwrap().to_string();
    assert!(error.ends_with("when_down, auth, key_prefix"), "{error}");
}

fn from_pairs(pairs: &[(&str, &str)]) -> Result<Option<ClientBuilder>, Error> {
    ClientBuilder::from_variables(|name| {
        Ok(pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    })
}

#[test]
fn the_variables_of_platforms_are_read() {
    assert!(from_pairs(&[]).unwrap().is_none());
    assert!(from_pairs(&[("MEMCACHE_SERVERS", " "), ("MEMCACHE_USERNAME", "u")]).unwrap().is_none());
    let memcachier = [
        ("MEMCACHIER_SERVERS", "mc1.dev.ec2.memcachier.com:11211, mc2.dev.ec2.memcachier.com:11211"),
        ("MEMCACHIER_USERNAME", "a1b2"),
        ("MEMCACHIER_PASSWORD", "secret"),
    ];
    let same = ClientBuilder::new()
        .servers(["mc1.dev.ec2.memcachier.com:11211", "mc2.dev.ec2.memcachier.com:11211"])
        .sasl("a1b2", "secret");
    let read = from_pairs(&memcachier).unwrap().unwrap();
    assert_eq!(shown(&read), shown(&same));
    let both = [&memcachier[..], &[("MEMCACHE_SERVERS", "mine;other")]].concat();
    assert_eq!(shown(&from_pairs(&both).unwrap().unwrap()), shown(&ClientBuilder::new().servers(["mine", "other"])));
}

#[test]
fn a_variable_that_cannot_be_read_is_named() {
    let message = |pairs: &[(&str, &str)]| from_pairs(pairs).unwrap_err().to_string();
    assert!(message(&[("MEMCACHE_SERVERS", "a:x")]).starts_with("MEMCACHE_SERVERS: \"a:x\" is not"));
    let half = message(&[("MEMCACHIER_SERVERS", "a"), ("MEMCACHIER_USERNAME", "u")]);
    assert_eq!(half, "MEMCACHIER_USERNAME is set, MEMCACHIER_PASSWORD is not");
    let half = message(&[("MEMCACHIER_SERVERS", "a"), ("MEMCACHIER_PASSWORD", "hunter2")]);
    assert_eq!(half, "MEMCACHIER_PASSWORD is set, MEMCACHIER_USERNAME is not");
}

const SECRET: &str = "hunter2";

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", scheme in "memcached(\\+tls|\\+unix)?://|") {
        let _ = ClientBuilder::from_url(&format!("{scheme}{text}"));
    }

    /// However a URL with a password is mistyped, no error repeats the password.
    #[test]
    fn no_error_and_no_debug_repeats_a_password(
        before in "[:/?&=,@%a]{0,3}", after in "[:/?&=,@%a]{0,3}", tail in "[:/?&=,@%a*]{0,6}", scheme in "memcached(\\+tls|\\+unix)?",
    ) {
        let url = format!("{scheme}://user:{before}{SECRET}{after}@host{tail}");
        let said = match ClientBuilder::from_url(&url) {
            Ok(builder) => format!("{builder:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!said.contains(SECRET), "{}: {}", url, said);
    }
}

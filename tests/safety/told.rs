//! Rule 13: keys are neither in headers nor in what is logged above debug level.
//! Every event is read with its fields.

use larder::backend::KeyRule;
use larder::{Cache, KeyScheme, Language, ManualClock, Timestamp};
use tower::Layer;

use crate::log::Log;
use crate::world::{Handler, Text, World, ask, get_with, worlds};

/// What would give a key away: Django's shape, and the parts that a visitor or an operator put into it.
const TRACES: [&str; 5] = ["views.decorators", "cache_page", "cache_header", "secret", "tell-tale"];

fn gives_away(line: &str) -> bool {
    TRACES.iter().any(|trace| line.contains(trace))
}

const URL: &str = "http://secret.example/tell-tale?secret=1";

#[tokio::test]
async fn rule_13_keys_are_not_in_headers() {
    for scheme in [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61] {
        for world in worlds() {
            let handler = Handler::saying(&[("vary", "x-a")]);
            let layer = world.site().key_scheme(scheme).key_prefix("secret").language("tell-tale");
            let site = layer.layer(handler.clone());
            for _ in 0..2 {
                let answer = ask(&site, get_with(URL, &[("x-a", "secret")])).await;
                let headers = format!("{:?}", answer.headers);
                assert!(!gives_away(&headers), "{} {scheme:?}: {headers}", world.name);
                let keys = layer.pages().keys(&get_with(URL, &[("x-a", "secret")]), &answer.headers).unwrap();
                for digest in keys.page.split('.').filter(|part| part.len() >= 32) {
                    assert!(!headers.contains(digest), "{headers}");
                }
            }
        }
    }
}

/// Every way in which a request can go wrong that somebody would want to hear of.
async fn all_that_goes_wrong(log: &Log) {
    let _reading = log.read_along();
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    for rule in [KeyRule::Warn, KeyRule::Refuse] {
        for (prefix, language) in
            [("secret", "tell-tale"), ("secret blank", "tell-tale"), ("secret", "tell\r\ntale secret")]
        {
            for scheme in [KeyScheme::Sha256, KeyScheme::Django61] {
                for largest in [usize::MAX, 100] {
                    let text = Text::with(hands.clock(), rule, largest);
                    let cache = Cache::new(text.clone());
                    let world = World { name: "text", cache, hands: hands.clone(), text: None };
                    let handler = Handler::saying(&[("vary", "x-a")]);
                    let site = world.site().key_scheme(scheme).key_prefix(prefix).layer(handler);
                    for is_down in [false, true] {
                        text.take_down(is_down);
                        for _ in 0..2 {
                            let mut request = get_with(URL, &[("x-a", "secret")]);
                            request.extensions_mut().insert(Language::new(language));
                            ask(&site, request).await;
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn rule_13_the_page_floor_logs_no_keys_above_debug_level() {
    let log = Log::default();
    all_that_goes_wrong(&log).await;
    let lines = log.above_debug();
    assert!(lines.iter().any(|line| line.contains("could not")), "failures are told: {lines:?}");
    let leaks: Vec<&String> = lines.iter().filter(|line| gives_away(line)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

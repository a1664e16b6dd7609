//! Runs `memcached_ring.json`: on which server of a fleet each client of Django keeps a key, and on which larder does.
//! A case is one scheme on one fleet with its weights, for all keys of the file.

use larder::memcached::{Client, ClientBuilder, Distribution, Error, Server};
use serde_json::Value;

use crate::harness::{Case, Departures, Judged, Summary, run};

/// Where a key of another server stands in the complaint, so many are named.
const NAMED: usize = 3;

pub fn memcached_ring(departures: &Departures) -> Summary {
    run("memcached_ring", departures, judge)
}

fn judge(case: &Case) -> Judged {
    let client = client(&case.value).unwrap_or_else(|error| panic!("{error}"));
    let servers: Vec<&Server> = client.servers().collect();
    let keys = case.value["keys"].as_array().expect("a list of keys");
    let index = case.value["index"].as_array().expect("a server for each key");
    assert_eq!(keys.len(), index.len(), "a server for each key");
    let mut elsewhere = Vec::new();
    for (key, expected) in keys.iter().zip(index) {
        let key = key.as_str().expect("keys are text");
        let server = client.server_of(key).unwrap_or_else(|error| panic!("{error}"));
        let place = servers.iter().position(|other| std::ptr::eq(*other, server));
        if place.map(|place| place as u64) != expected.as_u64() {
            elsewhere.push((key, expected, place));
        }
    }
    let Some((_, expected, _)) = elsewhere.first() else { return Judged::Same };
    let named: Vec<String> =
        elsewhere.iter().take(NAMED).map(|(key, expected, place)| format!("{key:?} {expected} -> {place:?}")).collect();
    let got = format!("{} of {} keys elsewhere: {}", elsewhere.len(), keys.len(), named.join(", "));
    Judged::Differs { expected: expected.to_string(), got, ours: None }
}

fn client(scheme: &Value) -> Result<Client, Error> {
    let servers = scheme["servers"].as_array().expect("a list of servers");
    let weights = scheme["weights"].as_array().expect("a list of weights");
    let builder = servers.iter().zip(weights).fold(Client::builder(), |builder, (server, weight)| {
        let weight = weight.as_u64().and_then(|weight| u32::try_from(weight).ok()).expect("a weight");
        builder.weighted_server(server.as_str().expect("an address"), weight)
    });
    distributed(builder, scheme)?.build()
}

/// The distribution that a client has by its behaviours; those of pylibmc are set in its order, the last one wins.
fn distributed(builder: ClientBuilder, scheme: &Value) -> Result<ClientBuilder, Error> {
    let name = scheme["scheme"].as_str().unwrap_or_default();
    if name.starts_with("pymemcache") {
        return Ok(builder.distribution(Distribution::Rendezvous));
    }
    if name.starts_with("python_memcached") {
        return Ok(builder.distribution(Distribution::Crc32));
    }
    assert!(name.starts_with("libmemcached"), "an unknown client: {name}");
    let behaviors = &scheme["pylibmc_behaviors"];
    let is_on = |name: &str| match &behaviors[name] {
        Value::Bool(is_on) => *is_on,
        Value::Number(number) => number.as_u64() != Some(0),
        _ => false,
    };
    if is_on("ketama_weighted") {
        return Ok(builder.distribution(Distribution::KetamaWeighted));
    }
    let builder = builder.distribution(if is_on("ketama") { Distribution::Ketama } else { Distribution::Modula });
    match behaviors["hash"].as_str() {
        Some(hash) => Ok(builder.key_hash(hash.parse()?)),
        None => Ok(builder),
    }
}

//! Which server of a fleet keeps a key, exactly as the clients that Django uses decide it.
//! Pure: built once from the names of the servers, then asked by the client for every key.

use std::fmt;
use std::str::FromStr;

use super::Error;

mod buckets;
mod continuum;
mod key_hash;
mod rendezvous;

pub use key_hash::KeyHash;

use buckets::Buckets;
use continuum::Continuum;
use rendezvous::Rendezvous;

/// How keys are spread over the servers of a fleet.
///
/// All programs that share a fleet must agree on this, on the order of the servers, on their names as they are written
/// in the configuration (`localhost` and `127.0.0.1` are different servers to most schemes), and on their weights: where
/// they do not agree, each looks for the other's keys on the wrong server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Distribution {
    /// `rendezvous`: Django's `PyMemcacheCache` (pymemcache's `HashClient`). A server more or less moves only the keys
    /// that must move. The order of the servers does not matter; there are no weights.
    #[default]
    Rendezvous,
    /// `modula`: Django's `PyLibMCCache` as it comes: the hash of the key modulo the number of servers. A server more or
    /// less moves most keys. Weights are ignored, as libmemcached does.
    Modula,
    /// `ketama`: pylibmc's behaviour `ketama`: a continuum of 100 points a server. If any weight is above 1, the points
    /// are those of [`KetamaWeighted`](Self::KetamaWeighted), and keys are hashed as before.
    Ketama,
    /// `ketama_weighted`: pylibmc's behaviour `ketama_weighted`: a continuum of up to 160 points a server by its weight,
    /// all of it hashed by MD5. It is what other languages' clients usually mean by "ketama".
    KetamaWeighted,
    /// `crc32`: python-memcached, Django's `MemcachedCache` until 4.0: a server stands in the list as often as it weighs.
    Crc32,
}

impl Distribution {
    /// Every distribution.
    pub const ALL: [Distribution; 5] = [
        Distribution::Rendezvous,
        Distribution::Modula,
        Distribution::Ketama,
        Distribution::KetamaWeighted,
        Distribution::Crc32,
    ];

    /// Its name in a cache URL: `rendezvous`, `modula`, `ketama`, `ketama_weighted` or `crc32`.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::Rendezvous => "rendezvous",
            Distribution::Modula => "modula",
            Distribution::Ketama => "ketama",
            Distribution::KetamaWeighted => "ketama_weighted",
            Distribution::Crc32 => "crc32",
        }
    }

    /// What keys are hashed by where nobody says otherwise; nothing where the scheme has a hash of its own.
    fn usual_hash(self) -> Option<KeyHash> {
        match self {
            Distribution::Rendezvous | Distribution::Crc32 => None,
            Distribution::Modula | Distribution::Ketama => Some(KeyHash::OneAtATime),
            Distribution::KetamaWeighted => Some(KeyHash::Md5),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Distribution {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Distribution::ALL.into_iter().find(|distribution| distribution.name() == name);
        found.ok_or_else(|| {
            let known = Distribution::ALL.map(Distribution::name).join(", ");
            Error::Config(format!("unknown distribution {name:?} of memcached servers: known are {known}"))
        })
    }
}

/// A server as the schemes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The host as it is configured, an IPv6 address without its brackets; the path of a unix socket.
    pub(crate) host: String,
    /// Nothing for a unix socket.
    pub(crate) port: Option<u16>,
    /// At least 1.
    pub(crate) weight: u32,
}

/// The placement of keys on a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    servers: usize,
    scheme: Scheme,
}

#[derive(Clone, Debug)]
enum Scheme {
    Rendezvous(Rendezvous),
    Buckets(Buckets),
    Continuum(Continuum),
}

impl Ring {
    /// The ring of these servers; `key_hash` is for those schemes that leave a choice.
    ///
    /// # Errors
    /// [`Error::Config`] without servers, for a weight of zero, for weights or a key hash that the distribution has no
    /// use for.
    pub(crate) fn new(distribution: Distribution, key_hash: Option<KeyHash>, nodes: &[Node]) -> Result<Ring, Error> {
        check(distribution, key_hash, nodes)?;
        let key_hash = key_hash.or(distribution.usual_hash());
        let is_weighted = nodes.iter().any(|node| node.weight > 1);
        let scheme = match (distribution, key_hash) {
            (Distribution::Modula, Some(hash)) => Scheme::Buckets(Buckets::modula(hash, nodes.len())),
            (Distribution::Ketama, Some(hash)) if !is_weighted => Scheme::Continuum(Continuum::even(hash, nodes)),
            (Distribution::Ketama | Distribution::KetamaWeighted, Some(hash)) => {
                Scheme::Continuum(Continuum::weighted(hash, nodes))
            }
            (Distribution::Crc32, _) => Scheme::Buckets(Buckets::crc32(nodes)),
            (_, _) => Scheme::Rendezvous(Rendezvous::new(nodes)),
        };
        Ok(Ring { servers: nodes.len(), scheme })
    }

    /// The server that keeps the key, as a position in the list that the ring was built from.
    pub(crate) fn server_of(&self, key: &[u8]) -> usize {
        if self.servers == 1 {
            return 0;
        }
        match &self.scheme {
            Scheme::Rendezvous(rendezvous) => rendezvous.server_of(key),
            Scheme::Buckets(buckets) => buckets.server_of(key),
            Scheme::Continuum(continuum) => continuum.server_of(key),
        }
    }

    /// The server that stands in for those that are not up; the key's own one if it is up, nothing if none is.
    /// The keys of a server that is down spread over all others, the keys of the others stay where they are.
    pub(crate) fn server_among(&self, key: &[u8], is_up: impl Fn(usize) -> bool) -> Option<usize> {
        let home = self.server_of(key);
        if is_up(home) {
            return Some(home);
        }
        match &self.scheme {
            Scheme::Rendezvous(rendezvous) => rendezvous.server_among(key, is_up),
            Scheme::Buckets(buckets) => buckets.server_among(key, is_up),
            Scheme::Continuum(continuum) => continuum.server_among(key, is_up),
        }
    }
}

fn check(distribution: Distribution, key_hash: Option<KeyHash>, nodes: &[Node]) -> Result<(), Error> {
    if nodes.is_empty() {
        return Err(Error::Config("a memcached client needs at least one server".to_owned()));
    }
    if let Some(hash) = key_hash
        && distribution.usual_hash().is_none()
    {
        return Err(Error::Config(format!(
            "the distribution {distribution} has a hash of its own: leave {hash} away, or take modula, ketama or \
             ketama_weighted"
        )));
    }
    for node in nodes {
        if node.weight == 0 {
            return Err(Error::Config(format!("the weight of the memcached server {} is 0: at least 1", node.host)));
        }
        if node.weight > 1 && distribution == Distribution::Rendezvous {
            return Err(Error::Config(format!(
                "the memcached server {} has the weight {}, but the distribution rendezvous knows no weights: take \
                 ketama, ketama_weighted or crc32",
                node.host, node.weight
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(weights: &[u32]) -> Vec<Node> {
        let host = |number| format!("10.0.0.{number}");
        weights
            .iter()
            .enumerate()
            .map(|(number, weight)| Node { host: host(number), port: Some(11211), weight: *weight })
            .collect()
    }

    fn keys() -> impl Iterator<Item = Vec<u8>> {
        (0..2000).map(|number| format!(":1:page:{number}").into_bytes())
    }

    #[test]
    fn keys_of_a_server_that_is_down_spread_over_the_others_and_no_other_key_moves() {
        for distribution in Distribution::ALL {
            let ring = Ring::new(distribution, None, &fleet(&[1, 1, 1, 1])).unwrap();
            let mut guests = [0; 4];
            for key in keys() {
                let home = ring.server_of(&key);
                let found = ring.server_among(&key, |server| server != 2).unwrap();
                assert!(found != 2 && (home == 2 || found == home), "{distribution}: {home} {found}");
                guests[found] += usize::from(home == 2);
            }
            assert!([0, 1, 3].iter().all(|server| guests[*server] > 20), "{distribution}: {guests:?}");
        }
    }

    #[test]
    fn the_last_server_that_is_up_takes_every_key_and_after_it_nobody() {
        for distribution in Distribution::ALL {
            let weights = if distribution == Distribution::Rendezvous { [1, 1, 1] } else { [1, 40_000_000, 1] };
            let ring = Ring::new(distribution, None, &fleet(&weights)).unwrap();
            for key in keys().take(50) {
                assert_eq!(ring.server_among(&key, |server| server == 2), Some(2), "{distribution}");
                assert_eq!(ring.server_among(&key, |_| false), None, "{distribution}");
            }
        }
    }

    #[test]
    fn what_a_scheme_has_no_use_for_is_an_error_that_says_so() {
        let message =
            |distribution, hash, nodes: &[Node]| Ring::new(distribution, hash, nodes).unwrap_err().to_string();
        assert!(message(Distribution::Ketama, None, &[]).contains("at least one server"));
        assert!(message(Distribution::Ketama, None, &fleet(&[1, 0])).contains("10.0.0.1 is 0"));
        assert!(message(Distribution::Rendezvous, None, &fleet(&[1, 2])).contains("knows no weights"));
        assert!(message(Distribution::Crc32, Some(KeyHash::Md5), &fleet(&[1])).contains("leave md5 away"));
        assert!("ring".parse::<Distribution>().unwrap_err().to_string().contains("rendezvous, modula, ketama"));
        assert!("sha1".parse::<KeyHash>().unwrap_err().to_string().contains("fnv1a_32"));
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place_too() {
        for distribution in Distribution::ALL {
            let ring = Ring::new(distribution, None, &fleet(&[1, 1, 1])).unwrap();
            assert!(ring.server_of(b"\xff\xfe\x80") < 3, "{distribution}");
        }
    }
}

//! The servers of a client: which of them keeps a key, and who stands in while it is down. The client's operations ask here.

use smallvec::SmallVec;

use super::builder::WhenDown;
use super::codec::{Keys, Reply, Request};
use super::error::Error;
use super::key;
use super::ring::Ring;
use super::server::{Fault, Server};
use super::together::together;
use super::value::Value;

/// The most keys in one request, so that its answer comes within its time.
const MOST_KEYS: usize = 1000;

/// Servers, and where keys live on them.
pub(crate) struct Fleet {
    servers: Vec<Server>,
    ring: Ring,
    when_down: WhenDown,
}

/// Positions of servers that were found to be down while a call was under way.
type Avoided = SmallVec<[usize; 4]>;

/// Some keys of one server: where they stand among those that were asked for, and the keys.
struct Share {
    server: usize,
    positions: Vec<usize>,
    keys: Keys,
}

impl Fleet {
    pub(crate) fn new(servers: Vec<Server>, ring: Ring, when_down: WhenDown) -> Fleet {
        Fleet { servers, ring, when_down }
    }

    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server that keeps a key, whether it is up or not.
    pub(crate) fn home(&self, key: &[u8]) -> &Server {
        &self.servers[self.ring.server_of(key)]
    }

    /// Asks the server that keeps `key`, or the one that stands in for it.
    pub(crate) async fn ask(&self, key: &[u8], request: &Request<'_>) -> Result<(&Server, Reply), Error> {
        key::check(key)?;
        let mut avoided = Avoided::new();
        loop {
            let position = self.pick(key, &avoided);
            let server = &self.servers[position];
            match server.ask(request).await {
                Ok(reply) => return Ok((server, reply)),
                Err(fault) if self.moves_on(position, &fault, &avoided) => avoided.push(position),
                Err(fault) => return Err(fault.error),
            }
        }
    }

    /// The values of several keys, in their order: one request to each server, all at once.
    pub(crate) async fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>, Error> {
        keys.iter().try_for_each(|key| key::check(key.as_ref()))?;
        let mut values = vec![None; keys.len()];
        let mut asked: Vec<usize> = (0..keys.len()).collect();
        let mut avoided = Avoided::new();
        while !asked.is_empty() {
            let shares = self.shares(keys, &asked, &avoided);
            asked.clear();
            let replies =
                together(shares.iter().map(|share| async {
                    self.servers[share.server].ask(&Request::GetMany { keys: &share.keys }).await
                }));
            let mut found_down = Avoided::new();
            for (share, reply) in shares.iter().zip(replies.await) {
                match reply {
                    Ok(Reply::Values(found)) if found.len() == share.positions.len() => {
                        for (position, value) in share.positions.iter().zip(found) {
                            values[*position] = value;
                        }
                    }
                    Ok(reply) => return Err(odd(&self.servers[share.server], &reply)),
                    Err(fault) if self.moves_on(share.server, &fault, &avoided) => {
                        found_down.push(share.server);
                        asked.extend(&share.positions);
                    }
                    Err(fault) => return Err(fault.error),
                }
            }
            avoided.extend(found_down);
        }
        Ok(values)
    }

    /// The keys at these positions, by server.
    fn shares<K: AsRef<[u8]>>(&self, keys: &[K], asked: &[usize], avoided: &Avoided) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        // The share of each server that is not full.
        let mut open: SmallVec<[Option<usize>; 8]> = SmallVec::from_elem(None, self.servers.len());
        for position in asked {
            let key = keys[*position].as_ref();
            let server = self.pick(key, avoided);
            let share = *open[server].get_or_insert_with(|| {
                let room = asked.len().min(MOST_KEYS);
                shares.push(Share { server, positions: Vec::with_capacity(room), keys: Keys::with_capacity(room) });
                shares.len() - 1
            });
            shares[share].positions.push(*position);
            shares[share].keys.push(key);
            if shares[share].positions.len() == MOST_KEYS {
                open[server] = None;
            }
        }
        shares
    }

    /// The server to ask for a key.
    fn pick(&self, key: &[u8], avoided: &Avoided) -> usize {
        if self.when_down == WhenDown::Fail || self.servers.len() == 1 {
            return self.ring.server_of(key);
        }
        let is_up = |position: usize| !avoided.contains(&position) && !self.servers[position].is_left_alone();
        // Where all are down, the key's own says so.
        self.ring.server_among(key, is_up).unwrap_or_else(|| self.ring.server_of(key))
    }

    /// Whether a request that a server did not answer goes to the next one: it is down, and nothing of it was sent.
    fn moves_on(&self, position: usize, fault: &Fault, avoided: &Avoided) -> bool {
        self.when_down == WhenDown::NextServer
            && !fault.was_sent
            && !avoided.contains(&position)
            && avoided.len() + 1 < self.servers.len()
            && self.servers[position].is_down()
    }
}

/// The error of a reply that does not answer its request.
pub(crate) fn odd(server: &Server, reply: &Reply) -> Error {
    match reply {
        Reply::Refused(super::codec::Refusal::Said(said)) => {
            Error::Server { server: server.name().to_owned(), said: said.clone() }
        }
        _ => Error::Protocol { server: server.name().to_owned(), what: "an answer to another question".to_owned() },
    }
}

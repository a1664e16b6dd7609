//! Goes through all items of all servers: every dump is drained at once, and taken one after the other.
//! The commands that list, sum up, dump, delete and copy stand on it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder::memcached::{ItemInfo, LONGEST_KEY, Metadump};

use super::fleet::{Fleet, Node};
use super::pattern::Pattern;
use crate::failure::{Failure, note};
use crate::print::printable;

/// The items of several servers.
pub struct Scan {
    pub servers: Vec<Server>,
    /// How many items the servers say they have; some may be out of date and not told of.
    pub total: u64,
}

/// The items of one server, and the counters that stand above them.
pub struct Server {
    pub node: Node,
    pub counters: Counters,
    items: Metadump,
}

/// What of a server's counters is used here.
#[derive(Clone, Debug)]
pub struct Counters {
    pub items: u64,
    pub bytes: u64,
    pub most_bytes: u64,
    pub evictions: u64,
    clock: ServerClock,
}

/// The time by a server's own clock, which need not be ours.
#[derive(Clone, Copy, Debug)]
pub struct ServerClock {
    said: SystemTime,
    asked: Instant,
}

impl ServerClock {
    fn now(&self) -> SystemTime {
        self.said + self.asked.elapsed()
    }
}

impl Counters {
    fn of(stats: &[(String, String)]) -> Self {
        let counter = |name: &str| {
            let value = stats.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.parse::<u64>().ok());
            value.unwrap_or_default()
        };
        let said = match counter("time") {
            0 => SystemTime::now(),
            seconds => UNIX_EPOCH + Duration::from_secs(seconds.min(u64::from(u32::MAX) * 16)),
        };
        Counters {
            items: counter("curr_items"),
            bytes: counter("bytes"),
            most_bytes: counter("limit_maxbytes"),
            evictions: counter("evictions"),
            clock: ServerClock { said, asked: Instant::now() },
        }
    }

    /// How long an item still lives; `None` is for ever.
    pub fn time_left(&self, item: &ItemInfo) -> Option<Duration> {
        item.expires_at.map(|expires_at| expires_at.duration_since(self.clock.now()).unwrap_or_default())
    }
}

impl Scan {
    /// Begins with every server; one that refuses fails the whole, so that no list is silently short.
    pub async fn start(fleet: &Fleet) -> Result<Self, Failure> {
        let answers = fleet.ask(|node| async move {
            let server = node.server()?;
            let counters = Counters::of(&server.stats(None).await?);
            let items = server.metadump().await?;
            Ok((counters, items))
        });
        let mut servers = Vec::new();
        for (node, answer) in fleet.nodes.iter().zip(answers.await) {
            let (counters, items) = answer?;
            servers.push(Server { node: node.clone(), counters, items });
        }
        let total = servers.iter().map(|server| server.counters.items).sum();
        Ok(Scan { servers, total })
    }
}

impl Server {
    /// The next item, whatever its key.
    pub async fn next(&mut self) -> Result<Option<ItemInfo>, Failure> {
        Ok(self.items.next().await?)
    }

    /// The next items of `pattern` whose values can be asked for: at most `most` of them, of some `bytes` together; none at the end. `passed` is
    /// called for every item that was looked at.
    pub async fn next_batch(
        &mut self,
        pattern: &Pattern,
        most: usize,
        bytes: u64,
        mut passed: impl FnMut(),
    ) -> Result<Vec<ItemInfo>, Failure> {
        let mut batch = Vec::new();
        let mut size = 0;
        while batch.len() < most && size < bytes {
            let Some(item) = self.next().await? else { break };
            passed();
            if pattern.has(&item.key) && can_be_asked_for(&item.key) {
                size += item.size;
                batch.push(item);
            }
        }
        Ok(batch)
    }
}

/// Whether the text protocol has a word for this key. Programs that speak the binary one may store others, which are
/// listed, and told of here.
pub fn can_be_asked_for(key: &[u8]) -> bool {
    let is_word = key.len() <= LONGEST_KEY && key.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    if !is_word {
        note(&format!("the key {} holds blanks or control characters: it is passed over", printable(key)));
    }
    is_word
}

//! What fills the servers: how many keys of each group, their bytes, and what expires next.
//! `keys --summary` counts with it and prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use larder::memcached::ItemInfo;
use serde_json::json;

use super::group::Group;
use super::scan::Counters;
use crate::print::{Out, counted, grouped, printable, sized};
use crate::span::print_span;

/// How many groups are told apart; keys of any more are counted together.
const MOST_GROUPS: usize = 100_000;

/// More versions than this of one prefix are no versions: `user:1:name`, `user:2:name` ...
const MOST_VERSIONS: usize = 8;

/// Counts keys by group.
#[derive(Default)]
pub struct Summary {
    servers: Vec<String>,
    groups: BTreeMap<Group, Count>,
    rest: Count,
}

/// What is known of several keys together.
#[derive(Clone, Debug, Default)]
pub struct Count {
    keys: u64,
    bytes: u64,
    never_read: u64,
    without_expiry: u64,
    next_to_expire: Option<Duration>,
}

impl Count {
    fn add(&mut self, other: &Count) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.never_read += other.never_read;
        self.without_expiry += other.without_expiry;
        self.next_to_expire = self.next_to_expire.into_iter().chain(other.next_to_expire).min();
    }
}

impl Summary {
    /// Says of a server what its counters say.
    pub fn open(&mut self, name: &str, counters: &Counters) {
        self.servers.push(format!(
            "{name}: {}, {} of {} used, {}",
            counted(counters.items, "item"),
            sized(counters.bytes),
            sized(counters.most_bytes),
            counted(counters.evictions, "eviction"),
        ));
    }

    /// Counts an item.
    pub fn add(&mut self, item: &ItemInfo, time_left: Option<Duration>) {
        let one = Count {
            keys: 1,
            bytes: item.size,
            never_read: u64::from(!item.was_read),
            without_expiry: u64::from(time_left.is_none()),
            next_to_expire: time_left,
        };
        let group = Group::of(&item.key);
        let has_room = self.groups.len() < MOST_GROUPS;
        match self.groups.get_mut(&group) {
            Some(count) => count.add(&one),
            None if has_room => drop(self.groups.insert(group, one)),
            None => self.rest.add(&one),
        }
    }

    /// The groups, the largest first; all but `top` of them together.
    pub fn finish(self, top: usize) -> Groups {
        let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (prefix, version) in self.groups.keys().filter_map(|group| group.scope.clone()) {
            versions.entry(prefix).or_default().insert(version);
        }
        let mut merged: BTreeMap<Group, Count> = BTreeMap::new();
        for (group, count) in self.groups {
            let many =
                |(prefix, _): &(String, String)| versions.get(prefix).is_some_and(|all| all.len() > MOST_VERSIONS);
            let is_scoped = group.is_djangos() || !group.scope.as_ref().is_some_and(many);
            let group = if is_scoped { group } else { group.without_scope() };
            merged.entry(group).or_default().add(&count);
        }
        let mut groups: Vec<(String, Count)> = merged.into_iter().map(|(group, count)| (group.glob(), count)).collect();
        groups.sort_by(|(name, count), (other_name, other)| {
            other.bytes.cmp(&count.bytes).then_with(|| name.cmp(other_name))
        });
        let mut rest = self.rest;
        let others = groups.split_off(top.min(groups.len()));
        others.iter().for_each(|(_, count)| rest.add(count));
        let mut all = Count::default();
        groups.iter().for_each(|(_, count)| all.add(count));
        all.add(&rest);
        Groups { servers: self.servers, groups, others: others.len() as u64, rest, all }
    }
}

/// A summary that is ready to be printed.
pub struct Groups {
    servers: Vec<String>,
    groups: Vec<(String, Count)>,
    others: u64,
    rest: Count,
    all: Count,
}

impl Groups {
    /// A table. Its last column is a pattern that `keys`, `dump` and `delete` take.
    pub fn print(&self, out: &mut Out) -> io::Result<()> {
        for server in &self.servers {
            out.line(printable(server.as_bytes()))?;
        }
        out.line("")?;
        out.line(format!(
            "{:>11}  {:>10}  {:>5}  {:>14}  {:>10}  KEYS OF",
            "KEYS", "BYTES", "SHARE", "NEXT TO EXPIRE", "NEVER READ"
        ))?;
        for (name, count) in &self.groups {
            out.line(self.row(count, &printable(name.as_bytes())))?;
        }
        if self.rest.keys > 0 {
            out.line(self.row(&self.rest, &format!("({} more groups)", grouped(self.others.max(1)))))?;
        }
        out.line(self.row(&self.all, "(all)"))
    }

    fn row(&self, count: &Count, name: &str) -> String {
        let next = count.next_to_expire.map_or_else(|| "never".to_owned(), print_span);
        format!(
            "{:>11}  {:>10}  {:>5}  {next:>14}  {:>10}  {name}",
            grouped(count.keys),
            sized(count.bytes),
            percent(count.bytes, self.all.bytes),
            percent(count.never_read, count.keys),
        )
    }

    /// A line for each group.
    pub fn print_json(&self, out: &mut Out) -> io::Result<()> {
        let rest = (self.rest.keys > 0).then_some((None, &self.rest));
        for (name, count) in self.groups.iter().map(|(name, count)| (Some(name), count)).chain(rest) {
            out.json(&json!({
                "pattern": name,
                "keys": count.keys,
                "bytes": count.bytes,
                "next_to_expire": count.next_to_expire.map(|left| left.as_secs()),
                "without_expiry": count.without_expiry,
                "never_read": count.never_read,
            }))?;
        }
        Ok(())
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    match part as f64 * 100.0 / whole as f64 {
        share if share > 0.0 && share < 0.5 => "<1 %".to_owned(),
        share => format!("{share:.0} %"),
    }
}

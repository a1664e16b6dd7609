//! `larder memcached keys`: all keys as text, as a table, as lines of JSON, or summed up.

use larder::memcached::ItemInfo;
use serde_json::{Map, Value};

use super::arguments::Keys;
use super::fleet::Fleet;
use super::pattern::Pattern;
use super::progress::Progress;
use super::scan::{Scan, Server};
use super::summary::Summary;
use crate::failure::Failure;
use crate::print::{Out, grouped, printable, put_bytes};
use crate::span::print_span;

/// How many keys are printed between two looks at the terminal.
const PAGE: u64 = 1_000;

pub async fn run(fleet: &Fleet, arguments: Keys) -> Result<(), Failure> {
    let pattern = Pattern::of(&arguments.pattern)?;
    let scan = Scan::start(fleet).await?;
    let mut progress = Progress::new(&arguments.progress, scan.total, "keys", !arguments.summary);
    let mut out = Out::new();
    let mut summary = Summary::default();
    let mut number: u64 = 0;
    if arguments.long {
        out.line(format!("{:>10}  {:>10}  {:>5}  {:>5}  KEY", "BYTES", "TIME LEFT", "READ", "CLASS"))?;
    }
    for mut server in scan.servers {
        summary.open(&server.node.name, &server.counters);
        while let Some(item) = server.next().await? {
            progress.add(1);
            if !pattern.has(&item.key) {
                continue;
            }
            number += 1;
            if arguments.summary {
                summary.add(&item, server.counters.time_left(&item));
            } else if arguments.json {
                out.json(&Value::Object(as_json(&server, &item)))?;
            } else if arguments.long {
                out.line(as_row(&server, &item))?;
            } else {
                out.line(printable(&item.key))?;
            }
            if number.is_multiple_of(PAGE) {
                out.show()?;
            }
        }
    }
    progress.finish();
    if arguments.summary {
        let groups = summary.finish(arguments.top);
        if arguments.json { groups.print_json(&mut out)? } else { groups.print(&mut out)? }
    }
    out.finish()?;
    match (number, arguments.pattern.pattern) {
        (0, Some(pattern)) => Err(Failure::Missing(Some(format!("no key of {pattern:?} on {}", fleet.servers())))),
        _ => Ok(()),
    }
}

fn as_row(server: &Server, item: &ItemInfo) -> String {
    let time_left = server.counters.time_left(item).map_or_else(|| "never".to_owned(), print_span);
    let read = if item.was_read { "yes" } else { "no" };
    format!("{:>10}  {time_left:>10}  {read:>5}  {:>5}  {}", grouped(item.size), item.class, printable(&item.key))
}

/// What is known of an item, without its value.
pub fn as_json(server: &Server, item: &ItemInfo) -> Map<String, Value> {
    let mut line = Map::new();
    put_bytes(&mut line, "key", &item.key);
    line.insert("server".into(), server.node.name.as_str().into());
    line.insert("size".into(), item.size.into());
    line.insert("time_left".into(), server.counters.time_left(item).map(|left| left.as_secs()).into());
    line.insert("was_read".into(), item.was_read.into());
    line.insert("class".into(), item.class.into());
    line
}

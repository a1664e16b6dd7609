//! `larder memcached dump`: all keys with their values, one JSON object on a line.

use serde_json::Value;

use super::arguments::Dump;
use super::fleet::Fleet;
use super::keys::as_json;
use super::pattern::Pattern;
use super::progress::Progress;
use super::scan::Scan;
use crate::failure::Failure;
use crate::print::Out;
use crate::show::describe;

/// How many values are asked for at once, and how many bytes of them.
pub const MOST_AT_ONCE: usize = 200;
pub const BYTES_AT_ONCE: u64 = 4 << 20;

pub async fn run(fleet: &Fleet, arguments: Dump) -> Result<(), Failure> {
    let pattern = Pattern::of(&arguments.pattern)?;
    let scan = Scan::start(fleet).await?;
    let mut progress = Progress::new(&arguments.progress, scan.total, "keys", true);
    let mut out = Out::new();
    let mut number: u64 = 0;
    for mut server in scan.servers {
        loop {
            let items = server.next_batch(&pattern, MOST_AT_ONCE, BYTES_AT_ONCE, || progress.add(1)).await?;
            if items.is_empty() {
                break;
            }
            let keys: Vec<&[u8]> = items.iter().map(|item| item.key.as_slice()).collect();
            let values = server.node.client.get_many(&keys).await?;
            for (item, value) in items.iter().zip(values) {
                // What is gone by now is not in the cache.
                let Some(value) = value else { continue };
                let mut line = as_json(&server, item);
                describe(&mut line, value.flags, &value.data);
                out.json(&Value::Object(line))?;
                number += 1;
            }
            out.show()?;
        }
    }
    progress.finish();
    out.finish()?;
    match (number, arguments.pattern.pattern) {
        (0, Some(pattern)) => Err(Failure::Missing(Some(format!("no key of {pattern:?} on {}", fleet.servers())))),
        _ => Ok(()),
    }
}

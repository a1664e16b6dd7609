//! `larder memcached delete`: every key of a pattern, after they were counted and somebody said yes.

use super::arguments::Delete;
use super::dump::MOST_AT_ONCE;
use super::fleet::Fleet;
use super::pattern::Pattern;
use super::progress::Progress;
use super::scan::{Scan, can_be_asked_for};
use crate::ask::confirm;
use crate::failure::Failure;
use crate::print::{Out, counted, printable};

pub async fn run(fleet: &Fleet, arguments: Delete) -> Result<(), Failure> {
    let pattern = Pattern::new(Some(&arguments.pattern), arguments.regex)?;
    let scan = Scan::start(fleet).await?;
    let mut progress = Progress::new(&arguments.progress, scan.total, "looked at", false);
    let mut found = Vec::new();
    for mut server in scan.servers {
        let mut keys = Vec::new();
        while let Some(item) = server.next().await? {
            progress.add(1);
            if pattern.has(&item.key) && can_be_asked_for(&item.key) {
                keys.push(item.key);
            }
        }
        found.push((server.node, keys));
    }
    progress.finish();
    let many: u64 = found.iter().map(|(_, keys)| keys.len() as u64).sum();
    let Some(first) = found.iter().find_map(|(_, keys)| keys.first()) else {
        return Err(Failure::Missing(Some(format!("no key of {:?} on {}", arguments.pattern, fleet.servers()))));
    };
    let deed = format!(
        "This deletes {} of {:?}, such as {:?}, from {}.",
        counted(many, "key"),
        arguments.pattern,
        printable(first),
        fleet.servers()
    );
    confirm(&arguments.confirmation, &deed)?;
    let mut progress = Progress::new(&arguments.progress, many, "deleted", false);
    let mut deleted: u64 = 0;
    for (node, keys) in found {
        for batch in keys.chunks(MOST_AT_ONCE) {
            let were_there = node.client.delete_many(batch).await?;
            deleted += were_there.iter().filter(|was_there| **was_there).count() as u64;
            progress.add(batch.len() as u64);
        }
    }
    progress.finish();
    let mut out = Out::new();
    out.line(format!("deleted {}", counted(deleted, "key")))?;
    Ok(out.finish()?)
}

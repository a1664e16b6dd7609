//! `larder memcached copy --to`: items with their flags and the time they have left, from one fleet to another.

use std::sync::Arc;
use std::time::Duration;

use larder::memcached::{Client, Error, Expiry, Value};
use tokio::task::JoinSet;

use super::arguments::Copy;
use super::dump::{BYTES_AT_ONCE, MOST_AT_ONCE};
use super::fleet::Fleet;
use super::pattern::Pattern;
use super::progress::Progress;
use super::scan::Scan;
use crate::ask::confirm;
use crate::failure::{Failure, note};
use crate::print::{Out, counted, printable};
use crate::span::Span;

/// A key, and whether its item was stored.
pub type Outcome = (Arc<[u8]>, Result<bool, Error>);

/// What became of the items.
#[derive(Debug, Default)]
pub struct Tally {
    copied: u64,
    kept: u64,
    refused: u64,
}

pub async fn run(from: &Fleet, arguments: Copy, wait: Span) -> Result<(), Failure> {
    let pattern = Pattern::new(arguments.pattern.as_deref(), arguments.regex)?;
    let to = Fleet::of(arguments.to.as_deref().unwrap_or_default(), wait).await?;
    let client = to.client()?;
    let scan = Scan::start(from).await?;
    if arguments.overwrite {
        let what = match &arguments.pattern {
            Some(pattern) => format!("the keys of {pattern:?} among {}", counted(scan.total, "item")),
            None => counted(scan.total, "item"),
        };
        let deed = format!("This copies {what} from {} over what is on {}.", from.servers(), to.servers());
        confirm(&arguments.confirmation, &deed)?;
    }
    let mut progress = Progress::new(&arguments.progress, scan.total, "copied", false);
    let mut tally = Tally::default();
    for mut server in scan.servers {
        loop {
            let items = server.next_batch(&pattern, MOST_AT_ONCE, BYTES_AT_ONCE, || progress.add(1)).await?;
            if items.is_empty() {
                break;
            }
            let keys: Vec<&[u8]> = items.iter().map(|item| item.key.as_slice()).collect();
            let values = server.node.client.get_many(&keys).await?;
            let mut stores = JoinSet::new();
            for (item, value) in items.into_iter().zip(values) {
                let Some(value) = value else { continue };
                let expiry = match server.counters.time_left(&item) {
                    None => Expiry::Never,
                    // memcached counts whole seconds: what has less is as good as gone.
                    Some(left) if left < Duration::from_secs(1) => continue,
                    Some(left) => Expiry::In(left),
                };
                stores.spawn(store(client.clone(), item.key.into(), value, expiry, arguments.overwrite));
            }
            tally.take(stores).await?;
        }
    }
    progress.finish();
    tally.tell(&to)
}

/// Stores one item; says whether it did.
pub async fn store(client: Client, key: Arc<[u8]>, value: Value, expiry: Expiry, overwrite: bool) -> Outcome {
    let outcome = if overwrite {
        client.set(&key, value.data, value.flags, expiry).await.map(|()| true)
    } else {
        client.add(&key, value.data, value.flags, expiry).await
    };
    (key, outcome)
}

impl Tally {
    /// Waits for the stores. An item that the server refuses, such as one too large for it, is told and passed over;
    /// a server that is not there ends everything.
    pub async fn take(&mut self, mut stores: JoinSet<Outcome>) -> Result<(), Failure> {
        while let Some(stored) = stores.join_next().await {
            let Ok((key, outcome)) = stored else { continue };
            match outcome {
                Ok(true) => self.copied += 1,
                Ok(false) => self.kept += 1,
                Err(error @ (Error::TooLarge { .. } | Error::Server { .. } | Error::Key { .. })) => {
                    self.refused += 1;
                    note(&format!("{} was not copied: {error}", printable(&key)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Says how it went.
    pub fn tell(self, to: &Fleet) -> Result<(), Failure> {
        let mut out = Out::new();
        let mut line = format!("copied {} to {}", counted(self.copied, "item"), to.servers());
        if self.kept > 0 {
            line.push_str(&format!(
                "; {} there already and left alone (--overwrite replaces them)",
                counted(self.kept, "key")
            ));
        }
        out.line(line)?;
        out.finish()?;
        match self.refused {
            0 => Ok(()),
            refused => Err(Failure::Refused(format!("{} not copied", counted(refused, "item")))),
        }
    }
}

//! `larder memcached copy FILE...`: files as values, each under its own name without folders.

use std::sync::Arc;

use bytes::Bytes;
use larder::memcached::{Expiry, Value};
use tokio::task::JoinSet;

use super::arguments::Copy;
use super::copy::{Tally, store};
use super::fleet::Fleet;
use crate::ask::confirm;
use crate::failure::Failure;
use crate::print::counted;
use crate::span::Span;

pub async fn run(fleet: &Fleet, arguments: Copy) -> Result<(), Failure> {
    // All files are read before the first is stored: a wrong name leaves everything as it was.
    let mut files: Vec<(Arc<[u8]>, Bytes)> = Vec::new();
    for path in &arguments.files {
        let name = path.file_name().ok_or_else(|| Failure::Usage(format!("{} names no file", path.display())))?;
        let key: Arc<[u8]> = name.as_encoded_bytes().into();
        if files.iter().any(|(other, _)| *other == key) {
            return Err(Failure::Usage(format!("two files have the name {}: it would be one key", name.display())));
        }
        let data = std::fs::read(path).map_err(|error| {
            let message = format!("{} cannot be read: {error}", path.display());
            match error.kind() {
                std::io::ErrorKind::NotFound => Failure::Missing(Some(message)),
                _ => Failure::Usage(message),
            }
        })?;
        files.push((key, data.into()));
    }
    if arguments.overwrite {
        let deed = format!("This stores {} over what is on {}.", counted(files.len() as u64, "file"), fleet.servers());
        confirm(&arguments.confirmation, &deed)?;
    }
    let expiry = match arguments.timeout {
        Span::Never => Expiry::Never,
        Span::For(time) => Expiry::In(time),
    };
    let client = fleet.client()?;
    let mut stores = JoinSet::new();
    for (key, data) in files {
        let value = Value { data, flags: arguments.flags, cas: None };
        stores.spawn(store(client.clone(), key, value, expiry, arguments.overwrite));
    }
    let mut tally = Tally::default();
    tally.take(stores).await?;
    tally.tell(fleet)
}

//! The commands for memcached alone: what only an operator asks, of each server by itself.
//! `main` calls [`run`]; they stand on `larder::memcached`.

pub mod arguments;
mod copy;
mod delete;
mod dump;
mod files;
mod fleet;
mod flush;
mod group;
mod keys;
mod pattern;
mod ping;
mod progress;
mod scan;
mod stats;
mod summary;

use crate::arguments::PlaceArguments;
use crate::failure::Failure;
use arguments::Memcached;
use fleet::Fleet;

pub async fn run(place: &PlaceArguments, command: Memcached) -> Result<(), Failure> {
    let fleet = Fleet::of(&place.url()?, place.wait).await?;
    match command {
        Memcached::Ping => ping::run(&fleet).await,
        Memcached::Stats(stats) => stats::run(&fleet, stats).await,
        Memcached::Keys(keys) => keys::run(&fleet, keys).await,
        Memcached::Dump(dump) => dump::run(&fleet, dump).await,
        Memcached::Delete(delete) => delete::run(&fleet, delete).await,
        Memcached::Flush(flush) => flush::run(&fleet, flush).await,
        Memcached::Copy(copy) if copy.to.is_some() => copy::run(&fleet.leaving_compressed()?, copy, place.wait).await,
        Memcached::Copy(copy) => files::run(&fleet, copy).await,
    }
}

//! The commands on tags: purging the pages that have them.
//! `main` calls them; they stand on `Cache::purge_tags`.

use super::arguments::{PlaceArguments, Tag};
use super::failure::Failure;

pub async fn run(place: &PlaceArguments, Tag::Purge(purge): Tag) -> Result<(), Failure> {
    let mut cache = place.cache().await?;
    if let Some(version) = purge.key_version {
        cache = cache.version(version);
    }
    Ok(cache.purge_tags(purge.tags).await?)
}

//! Tags: names that stored pages have in common, so that all of them can be purged at once without looking for them.
//! Applications purge by `Cache::purge_tag`; the page floor takes stamps for the pages it stores, and looks at them again.

use std::collections::HashSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Cache;
use super::stamps::{Count, Stamp, count_now, count_up, read, stamp_at, write};
use crate::backend::Stored;
use crate::clock::Timestamp;
use crate::error::Error;

/// How long a tag's stamp is kept at least after a page with it was last stored. Pages that live longer may have to be made
/// once more.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long it is not told again to stay.
const RENEWED: Duration = Duration::from_secs(24 * 60 * 60);

/// A tag within a cache's scope, hashed: tags may hold anything, keys may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TagName([u8; 16]);

impl TagName {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        TagName(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn stamp_key(&self) -> String {
        format!("larder.tag.{}", hex::encode(self.0))
    }

    fn proof_key(&self) -> String {
        format!("larder.proof.{}", hex::encode(self.0))
    }
}

/// That a stamp was in its place before the count was read: what was begun at this count or later may bear the stamp.
/// It lies beside the stamp and names it, since nothing could change the stamp itself without bringing back a deleted one.
struct Proof {
    stamp: Stamp,
    count: Count,
    renewed_at: Timestamp,
}

impl Proof {
    fn write(&self) -> Stored {
        write([self.stamp.number(), self.count.number(), self.renewed_at.as_secs()])
    }

    fn read(stored: &Stored) -> Option<Self> {
        let [stamp, count, renewed_at] = read(stored)?;
        Some(Proof {
            stamp: Stamp::from_number(stamp),
            count: Count::from_number(count),
            renewed_at: Timestamp::from_secs(renewed_at),
        })
    }
}

/// Purging.
impl Cache {
    /// Makes every page with this tag unreachable, of all layers on this cache, at once: when it returns, no visitor is
    /// answered with one of them, in any process that shares the store, nor with a page whose handler was still running when
    /// it was called. The next request for each runs its handler. Other pages stay.
    ///
    /// Handlers name the tags of their pages by [`Tags`](crate::Tags), layers by
    /// [`CacheLayer::tags`](crate::CacheLayer::tags). The cache's prefix and version are part of a tag: another version of
    /// the cache has tags of its own. Nothing is searched for, so it costs the same however many pages there are: two round
    /// trips. The pages stay in the store, unreachable, until they expire or make room.
    ///
    /// Change first, then purge: what is begun after the purge was called may be kept.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let cache = larder::Cache::memory();
    /// // ... save the article, then:
    /// cache.purge_tag("article:7").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Limits
    /// A store can be asked to answer from what may be old: from [read replicas](crate::backend::RedisBuilder::read_from_replicas)
    /// of Redis, which hear of a purge a moment later, or from memcached servers that stood in for one that was down and is
    /// back. There a purge holds as far as a deletion does.
    ///
    /// # Errors
    /// What the backend says. The pages may then still be there: purge again.
    pub async fn purge_tag(&self, tag: impl AsRef<str>) -> Result<(), Error> {
        self.purge([self.tag_name(tag.as_ref())].into()).await
    }

    /// [`Cache::purge_tag`] for several tags: every page that has at least one of them. As many round trips as for one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// # let cache = larder::Cache::memory();
    /// cache.purge_tags(["article:7", "author:3"]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::purge_tag`].
    pub async fn purge_tags(&self, tags: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Error> {
        let names = tags.into_iter().map(|tag| self.tag_name(tag.as_ref())).collect();
        self.purge(names).await
    }

    async fn purge(&self, names: HashSet<TagName>) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        if let Some(objects) = self.backend().objects() {
            names.iter().for_each(|name| objects.purge(name.as_bytes()));
            return Ok(());
        }
        let stamps = names.iter().map(|name| self.final_key(&name.stamp_key()));
        let stamps = stamps.collect::<Result<Vec<_>, _>>()?;
        // In this order: what is begun in between is kept or not, what was begun before is not.
        count_up(self, &self.purges_key()?).await?;
        self.backend().delete_many(&stamps).await
    }
}

/// What the page floor asks.
impl Cache {
    /// The name of a tag within this cache.
    pub(crate) fn tag_name(&self, tag: &str) -> TagName {
        let scope = self.scope();
        let digest = Sha256::new().chain_update((scope.len() as u64).to_le_bytes()).chain_update(&**scope);
        let digest = digest.chain_update(tag).finalize();
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        TagName(name)
    }

    /// The stamps that are in their places, in the order of `names`.
    pub(crate) async fn tag_stamps(&self, names: &[TagName]) -> Result<Vec<Option<Stamp>>, Error> {
        let keys = names.iter().map(|name| self.final_key(&name.stamp_key())).collect::<Result<Vec<_>, _>>()?;
        let found = self.backend().get_many(&keys).await?;
        Ok(found.iter().map(|stored| stored.as_ref().and_then(Stamp::read)).collect())
    }

    /// The keys whose values [`Cache::hold_tags`] wants, two for each name.
    pub(crate) fn tag_keys(&self, names: &[TagName]) -> Result<Vec<String>, Error> {
        let keys = names.iter().flat_map(|name| [name.stamp_key(), name.proof_key()]);
        keys.map(|key| self.final_key(&key)).collect()
    }

    /// The stamps that a page may bear that was begun at `begun` and lives for `ttl` from now on, given what was found under
    /// its [`Cache::tag_keys`]. `None` where one of its tags was purged meanwhile, or it cannot be told.
    pub(crate) async fn hold_tags(
        &self,
        keys: &[String],
        found: &[Option<Stored>],
        begun: Count,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Vec<Stamp>>, Error> {
        let ttl = Some(ttl.max(KEPT));
        let (mut stamps, mut unproven) = (Vec::new(), Vec::new());
        for (keys, found) in keys.chunks_exact(2).zip(found.chunks_exact(2)) {
            let ([stamp_key, proof_key], [stamp, proof]) = (keys, found) else { return Ok(None) };
            let proof = proof.as_ref().and_then(Proof::read);
            let there = stamp.as_ref().and_then(Stamp::read);
            let proof = proof.filter(|proof| Some(proof.stamp) == there && proof.count.is_of_one_counter_with(begun));
            let is_short_lived = ttl == Some(KEPT);
            match proof {
                Some(proof) if !begun.covers(proof.count) => return Ok(None),
                Some(proof) if is_short_lived && now.since(proof.renewed_at) < RENEWED => stamps.push(proof.stamp),
                Some(proof) => {
                    let renewed = Proof { renewed_at: now, ..proof };
                    if !self.backend().touch(stamp_key, ttl).await? {
                        return Ok(None);
                    }
                    stamps.push(renewed.stamp);
                    self.backend().set(proof_key, renewed.write(), ttl).await?;
                }
                None => {
                    let Some(stamp) = stamp_at(self, stamp_key, stamp.as_ref(), ttl).await? else { return Ok(None) };
                    stamps.push(stamp);
                    unproven.push((proof_key.clone(), stamp));
                }
            }
        }
        if unproven.is_empty() {
            return Ok(Some(stamps));
        }
        // Not before: all of the stamps have been seen in their places.
        let Some(count) = count_now(self, &self.purges_key()?).await? else { return Ok(None) };
        let proofs = unproven.into_iter().map(|(key, stamp)| (key, Proof { stamp, count, renewed_at: now }.write()));
        let proofs: Vec<_> = proofs.collect();
        self.backend().set_many(&proofs, ttl).await?;
        Ok(begun.covers(count).then_some(stamps))
    }
}

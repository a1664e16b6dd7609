//! Django's low-level cache API: typed values under keys, with a prefix, a version and a timeout, over any backend.
//! Applications call it for single values; the page floor stands on it.
//!
//! ```
//! use larder::Cache;
//! use larder::cache::Timeout;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct User {
//!     name: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
//! let cache = Cache::memory();
//!
//! cache.set("my_key", "hello, world!", 30).await?;
//! let hello: Option<String> = cache.get("my_key").await?;
//! assert_eq!(hello.as_deref(), Some("hello, world!"));
//!
//! cache.set("num", 1, Timeout::Default).await?;
//! assert_eq!(cache.incr("num", 1).await?, 2);
//! assert_eq!(cache.decr("num", 1).await?, 1);
//!
//! let user: User = cache.get_or_set("user:42", 60, || async { User { name: "Ada".into() } }).await?;
//! assert_eq!(cache.get::<User>("user:42").await?, Some(user));
//!
//! assert!(cache.delete("my_key").await?);
//! assert!(!cache.contains("my_key").await?);
//! # Ok(()) }
//! ```
//!
//! # What lies in the store
//!
//! The final key is `prefix:version:key` (KEY-1), or what a key function makes of the three. The value lies there in the
//! form that other programs can read best, with [flags](crate::backend::flags) that say which:
//!
//! | value | bytes | flags |
//! |---|---|---|
//! | integers of any width | decimal text | 2 |
//! | text (`str`, `String`, `char`) | itself | 16 |
//! | bytes (`Vec<u8>`, `[u8; N]`, serde's bytes) | themselves | 0 |
//! | everything else: structs, maps, `bool`, floats, `None`, empty lists | MessagePack with named fields | 32 |
//!
//! `Some(x)` and newtypes around `x` lie there as `x`. Structs read back after a field was added, if the field has a
//! `#[serde(default)]`. Raw bytes that are UTF-8 can be asked for as text, since other clients write text so. Anything
//! else that is asked for as the wrong type, is damaged, or is nested deeper than 128 levels, is
//! [`Error::Decode`](crate::Error::Decode).

mod builder;
#[expect(clippy::module_inception, reason = "the room's main file has the name of its main type")]
mod cache;
mod caches;
mod connect;
mod flights;
mod joint_reads;
mod key;
mod lease;
mod single_flight;
pub(crate) mod stamps;
mod tags;
mod timeout;
mod trouble;
mod value;

pub use crate::backend::LONGEST_KEY;
pub use builder::CacheBuilder;
pub use cache::Cache;
pub use caches::{Caches, CachesBuilder, DEFAULT_ALIAS};
pub(crate) use flights::{Boarding, End, Lead, Lookout};
pub(crate) use joint_reads::Read;
pub use key::{Version, key_problems};
pub(crate) use lease::{Lease, Pauses};
pub(crate) use tags::TagName;
pub use timeout::Timeout;
pub(crate) use trouble::Trouble;

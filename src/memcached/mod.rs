//! A memcached client of its own: a few shared connections to each server carry the requests of all tasks, and no reply
//! ever reaches a caller it was not made for. It stands alone (`larder::memcached::Client`), and the memcached backend stands on it.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use larder::memcached::{Client, Expiry};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::memcached::Error> {
//! let client = Client::from_url("memcached://127.0.0.1:11211")?;
//! client.set("greeting", "hello", 0, Expiry::In(Duration::from_secs(60))).await?;
//! let greeting = client.get("greeting").await?;
//! assert_eq!(greeting.map(|value| value.data).as_deref(), Some(&b"hello"[..]));
//! # Ok(()) }
//! ```
//!
//! # Limits
//!
//! They are memcached's own; each has an error that names the key.
//!
//! | what | limit |
//! |---|---|
//! | a value | [`LARGEST_VALUE`] bytes, less what the key and the server's own notes take (about 60 bytes); [`Error::TooLarge`] |
//! | a key | [`LONGEST_KEY`] bytes, no blank, no control character; [`Error::Key`], before anything is sent |
//! | an expiry | whole seconds; over [`LONGEST_RELATIVE_EXPIRY`] it is sent as a point in time, which [`Expiry`] does by itself |
//! | a server | memcached 1.6 or newer, for the meta protocol; any version with SASL, which speaks the binary protocol |

mod admin;
mod adrift;
mod auth;
mod builder;
mod client;
mod codec;
mod compression;
mod connection;
mod door;
mod error;
mod fleet;
mod health;
mod key;
mod lane;
mod lanes;
mod marks;
mod ring;
mod server;
mod sizes;
mod tls;
mod together;
mod transport;
mod url;
mod value;

use std::time::Duration;

pub use admin::{ItemInfo, Metadump};
pub use builder::{ClientBuilder, WhenDown};
pub use client::{CasOutcome, Client};
pub use error::{Error, KeyProblem};
pub use ring::{Distribution, KeyHash};
pub use server::Server;
pub use tls::Tls;
pub use value::{Expiry, Value};

/// The largest item a memcached server takes as it comes, in bytes (`memcached -I` changes it).
pub const LARGEST_VALUE: usize = 1024 * 1024;

/// The longest key, in bytes.
pub const LONGEST_KEY: usize = 250;

/// The longest time that memcached reads as "from now": 30 days. Anything larger it reads as a point in time.
pub const LONGEST_RELATIVE_EXPIRY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

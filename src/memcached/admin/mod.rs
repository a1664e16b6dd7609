//! What an operator asks of one memcached server: its version, its counters, the names of all its items, and emptying it.
//! Tools call it, each question on a connection of its own, so that a long answer never stands before a visitor's page.
//!
//! ```no_run
//! use larder::memcached::Client;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::memcached::Error> {
//! let client = Client::from_url("memcached://127.0.0.1:11211")?;
//! for server in client.servers() {
//!     println!("{} runs {}", server.name(), server.version().await?);
//!     let mut dump = server.metadump().await?;
//!     while let Some(item) = dump.next().await? {
//!         println!("{} ({} bytes)", String::from_utf8_lossy(&item.key), item.size);
//!     }
//! }
//! # Ok(()) }
//! ```

mod binary;
mod conversation;
mod dump;
mod item;
mod turn;

use std::time::Duration;

use super::error::Error;
use super::server::Server;

use conversation::{Conversation, Protocol};
pub use dump::Metadump;
pub use item::ItemInfo;

impl Server {
    /// The version of memcached that runs there, such as `1.6.18`.
    ///
    /// # Errors
    /// Every kind of [`Error`] that is not about a key or a value.
    pub async fn version(&self) -> Result<String, Error> {
        self.talk().await?.version().await
    }

    /// The server's counters by name, in its order: the general ones, or those of one kind, such as `items`, `slabs`,
    /// `settings` or `conns`.
    ///
    /// # Errors
    /// As [`Server::version`]; [`Error::Server`] for a kind that the server does not know.
    pub async fn stats(&self, kind: Option<&str>) -> Result<Vec<(String, String)>, Error> {
        self.talk().await?.stats(kind).await
    }

    /// What is known of every item of the server, hot and cold, as it is found: nothing is left out but what is stored
    /// or removed meanwhile.
    ///
    /// memcached serves one dump at a time, and a reader who stalls can stop it from serving anybody. So what it sends
    /// is read at once by a task of its own, and kept here until [`Metadump::next`] asks for it; see there for the bounds.
    /// A second dump of the same client waits for the first to be read; that of another program is an error.
    ///
    /// # Errors
    /// As [`Server::version`]; [`Error::Server`] with `BUSY` where somebody else's dump is under way, and for a server
    /// that was told not to dump (`memcached -X`); [`Error::Config`] for one with SASL, whose protocol has no dump.
    pub async fn metadump(&self) -> Result<Metadump, Error> {
        let turn = turn::wait(self.name()).await;
        let conversation = self.talk().await?;
        Metadump::start(conversation, turn).await
    }

    /// Makes everything in the server out of date, now or `delay` from now (whole seconds), whoever stored it.
    ///
    /// # Errors
    /// As [`Server::version`]; [`Error::Server`] for a server that was told not to (`memcached -F`); [`Error::Config`] for
    /// a time after January 2038, which memcached cannot say.
    pub async fn flush(&self, delay: Duration) -> Result<(), Error> {
        self.talk().await?.flush(delay).await
    }

    /// A connection of its own for one question.
    async fn talk(&self) -> Result<Conversation, Error> {
        let door = self.door();
        let protocol = if door.is_binary() { Protocol::Binary } else { Protocol::Text };
        let stream = door.stream().await?;
        Ok(Conversation::new(self.name().to_owned(), Box::new(stream), protocol, door.admin_patience()))
    }
}

//! The database backend: SQLite, PostgreSQL, MySQL and MariaDB, in the table that Django's `createcachetable` makes.
//! Applications reach it by `Cache::connect` or build a [`Database`]; it needs the feature `database`.
//! [`Database::from_url`] lists the options of its URLs.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use larder::Cache;
//! use larder::backend::Database;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("cache.db");
//! # let url = format!("sqlite://{}", path.display());
//! // url is "sqlite:///var/tmp/cache.db", "postgres://user:password@host/db" or "mysql://user:password@host/db"
//! let database = Database::from_url(&url)?;
//! database.create_table().await?;
//! let cache = Cache::builder(database).build();
//!
//! cache.set("my_key", "hello, world!", 30).await?;
//! assert_eq!(cache.get::<String>("my_key").await?.as_deref(), Some("hello, world!"));
//! # Ok(()) }
//! ```
//!
//! # One table with Django
//!
//! An existing Django cache table can be used, and Django can use ours: names, types and index are the same (DB-1, CCT-4),
//! and so are keys. Integers are Python's pickles, so that both sides read and count them. Everything else is
//! `None` to Django, and Django's other pickles are a miss here; neither side fails at the other one's values. `get` leaves
//! such a foreign value alone, while `contains` and `add` see that something is there.
//!
//! `expires` is in UTC, which is what Django writes with `USE_TZ = True`, or with `TIME_ZONE = "UTC"`. Where Django cuts it to
//! the second (DB-5), it keeps microseconds here; an entry is dead at that moment, by the clock of this process and not by
//! the database's. What is finer than a microsecond is cut. A Django with `USE_TZ = False` and a `TIME_ZONE` of its own writes
//! its local time, which nobody else can tell from UTC: give it a table of its own.
//!
//! # Keys
//!
//! Any text is a key. One that the column cannot hold apart from all others is stored under its SHA-256, with the whole key
//! beside the value: longer than 255 characters (CCT-5), with a NUL in it, or with a blank at its end. Django does not
//! find those, nor we Django's.
//!
//! On MySQL and MariaDB the table made by [`Database::create_table`] tells `abc` from `ABC`. Django's own table there may
//! have a collation that does not: then one takes the place of the other, which is a miss, but no key is ever answered with
//! another one's value.
//!
//! # What it costs
//!
//! One statement for each call, `get_many` and `delete_many` of up to ten thousand keys and `set_many` of up to a hundred
//! included; `incr` takes two, since the number lies in base64 text. All of them are atomic: `incr` replaces the
//! number it has read and no other, and begins again where somebody was faster.
//!
//! | | SQLite | PostgreSQL | MySQL, MariaDB |
//! |---|---|---|---|
//! | `set` | upsert | upsert | upsert |
//! | `add` | upsert | upsert | insert; where a row is there, an update of a dead one |
//! | writers at once | one, the others queue | many | many |
//!
//! A call that nobody waits for any more is still brought to its end, so that no connection is left with an answer that
//! somebody else would read.

mod builder;
mod connections;
mod culling;
mod dialect;
mod moment;
mod pickled_integer;
mod problem;
mod row_key;
mod row_value;
mod store;
mod table;

use std::sync::{Arc, OnceLock};

use tokio::sync::{Mutex, OnceCell};

use connections::Connections;
use culling::Culling;
use dialect::Statements;
use problem::Trouble;

use crate::backend::Patience;
use crate::backend::url::{OF_THE_CACHE, StoreUrl};
use crate::clock::Clock;
use crate::error::Error;

pub use builder::DatabaseBuilder;
pub(crate) use builder::OPTIONS;
pub use problem::{DatabaseError, DatabaseProblem};

/// How many keys can be counted at once in this process.
const COUNTERS: usize = 64;

fn is_of_the_cache(option: &str) -> bool {
    OF_THE_CACHE.contains(&option) || Patience::OPTIONS.contains(&option)
}

/// A cache table in a database. Cheap to clone; the clones share their connections. See the [module](self).
#[derive(Clone)]
pub struct Database(Arc<Shared>);

struct Shared {
    connections: Connections,
    statements: Statements,
    table: String,
    place: String,
    max_entries: u64,
    max_value_bytes: usize,
    clock: Clock,
    culling: Culling,
    purge_every: Option<std::time::Duration>,
    purging: OnceLock<()>,
    creates_table: bool,
    table_is_made: OnceCell<()>,
    /// Those who count up one key in this process wait for each other, and not for the database to find that they collided.
    counters: [Mutex<()>; COUNTERS],
}

impl Shared {
    fn name(&self) -> &'static str {
        self.statements.vendor.name()
    }
}

/// The error of a call, with where it happened.
fn told(shared: &Shared, trouble: Trouble) -> Error {
    DatabaseError::told(shared.statements.vendor, &shared.place, &shared.table, trouble)
}

impl Database {
    /// The table that a URL names, with what else its options say. Nothing is connected before the first call.
    ///
    /// | URL | database |
    /// |---|---|
    /// | `sqlite:///var/tmp/cache.db` | a file, by its absolute path (three slashes) or relative one (two) |
    /// | `sqlite::memory:` | a database of its own in memory, gone with its last handle |
    /// | `postgres://user:password@host:5432/name`, `postgresql://…` | PostgreSQL; `?host=/run/postgresql` for its socket |
    /// | `mysql://user:password@host:3306/name` | MySQL or MariaDB; `?socket=/run/mysqld/mysqld.sock` for its socket |
    ///
    /// | option | meaning | default |
    /// |---|---|---|
    /// | `table` | the table | `my_cache_table` |
    /// | `max_entries` | [about](DatabaseBuilder::max_entries) how many entries are kept | 100000 |
    /// | `max_value_bytes` | the largest value, in [bytes](DatabaseBuilder::max_value_bytes) | 10485760 |
    /// | `purge_every` | how often dead entries are [removed](DatabaseBuilder::purge_every), as `300s` | never |
    /// | `create_table` | `yes`: the first call makes the table where it is missing | no; yes in memory |
    /// | `pool_size` | the largest number of connections | 10; 4 on SQLite |
    /// | `pool_wait` | how long a call waits for a connection | `5s` |
    /// | `statement_timeout` | how long a statement may take; clearing and purging may take twenty times that | `5s` |
    /// | `mode` | SQLite: `ro` opens the file for reading only | `rw` |
    /// | `journal_mode` | SQLite: its journal, which stays with the file; `keep` leaves it as it is | `wal` |
    /// | `busy_timeout` | SQLite: how long another process's write is waited for | `5s` |
    /// | `host`, `application_name`, `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `statement-cache-capacity` | PostgreSQL: as in libpq | |
    /// | `socket`, `ssl-mode`, `ssl-ca`, `ssl-cert`, `ssl-key`, `statement-cache-capacity` | MySQL: as its own clients have them | |
    ///
    /// The options of the cache (`timeout`, `key_prefix`, `version`, and those of its [`Patience`]) are for
    /// `Cache::connect`, and mean nothing here.
    ///
    /// # Errors
    /// [`Error::Config`] for another scheme, an unknown option or a value that cannot be read. It never repeats a password.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        Database::builder(url)?.build()
    }

    /// A builder for the table that a URL names, to be configured further.
    ///
    /// # Errors
    /// As [`Database::from_url`].
    pub fn builder(url: &str) -> Result<DatabaseBuilder, Error> {
        let mut url = StoreUrl::parse(url)?;
        if !["sqlite", "postgres", "postgresql", "mysql", "mariadb"].contains(&url.scheme()) {
            let scheme = url.scheme();
            return Err(Error::Config(format!("{scheme:?} is no database: known are sqlite, postgres, mysql")));
        }
        let is_known = |option: &str| OPTIONS.contains(&option) || is_of_the_cache(option);
        if let Some(unknown) = url.options().find(|option| !is_known(option)) {
            let known = OPTIONS.join(", ");
            let scheme = url.scheme();
            return Err(Error::Config(format!("unknown option {unknown:?} of a {scheme} cache: known are {known}")));
        }
        let builder = DatabaseBuilder::of(&mut url)?;
        if let Some(left) = url.options().find(|option| !is_of_the_cache(option)) {
            return Err(url.refuse(format_args!("the option {left:?} means nothing to this database")));
        }
        Ok(builder)
    }

    fn new(builder: DatabaseBuilder, connections: Connections) -> Self {
        Database(Arc::new(Shared {
            statements: Statements::of(connections.vendor(), &builder.table),
            connections,
            table: builder.table,
            place: builder.place,
            culling: Culling::new(builder.max_entries),
            max_entries: builder.max_entries,
            max_value_bytes: builder.max_value_bytes,
            clock: builder.clock,
            purge_every: builder.purge_every,
            purging: OnceLock::new(),
            creates_table: builder.creates_table,
            table_is_made: OnceCell::new(),
            counters: std::array::from_fn(|_| Mutex::default()),
        }))
    }

    /// The name of the table.
    pub fn table(&self) -> &str {
        &self.0.table
    }

    /// Makes the table and its index, and the file of SQLite, where they are missing; says whether it did (CCT-2). What is
    /// there is left alone.
    ///
    /// # Errors
    /// [`Error::Backend`] with a [`DatabaseError`] that names the table, the database and the reason (CCT-3).
    pub async fn create_table(&self) -> Result<bool, Error> {
        let Shared { connections, statements, table, .. } = &*self.0;
        table::make(connections, statements, table).await.map_err(|trouble| told(&self.0, trouble))
    }

    /// The statements that [`Database::create_table`] runs, for migrations of your own (CCT-1, `--dry-run`).
    pub fn table_sql(&self) -> Vec<String> {
        dialect::create_table(self.0.statements.vendor, &self.0.table)
    }

    /// Removes dead entries, some hundreds at a time; says how many there were.
    ///
    /// # Errors
    /// [`Error::Backend`] where the database fails.
    pub async fn purge_expired(&self) -> Result<u64, Error> {
        self.prepare().await?;
        culling::purge(&self.0).await
    }

    /// Removes what is more than `max_entries` now, and not when it is next due; says how many entries that were.
    ///
    /// # Errors
    /// [`Error::Backend`] where the database fails.
    pub async fn cull(&self) -> Result<u64, Error> {
        self.prepare().await?;
        culling::cull(&self.0).await
    }

    /// What comes before the first statement.
    async fn prepare(&self) -> Result<(), Error> {
        if let Some(interval) = self.0.purge_every {
            self.0.purging.get_or_init(|| {
                tokio::spawn(culling::purge_every(interval, Arc::downgrade(&self.0)));
            });
        }
        if self.0.creates_table && !self.0.table_is_made.initialized() {
            // A box of its own, for it is done once.
            let made = self.0.table_is_made.get_or_try_init(async || self.create_table().await.map(|_| ()));
            Box::pin(made).await?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("table", &self.0.table).field("place", &self.0.place).finish_non_exhaustive()
    }
}

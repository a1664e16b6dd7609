//! How a database backend is configured: by the options of its URL, and by a builder on top of them.
//! `Database::from_url` and the registry of `Cache::connect` call it.

use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::Database;
use super::connections::{Connections, Limits, Source};
use crate::backend::url::StoreUrl;
use crate::clock::Clock;
use crate::error::Error;
use crate::percent::decoded;

/// The options of a database URL, beside those that every cache takes.
pub(crate) const OPTIONS: &[&str] = &[
    "table",
    "max_entries",
    "max_value_bytes",
    "purge_every",
    "create_table",
    "pool_size",
    "pool_wait",
    "statement_timeout",
    // SQLite.
    "mode",
    "journal_mode",
    "busy_timeout",
    // What the driver of PostgreSQL or MySQL reads itself.
    "host",
    "socket",
    "application_name",
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
];

const POSTGRES_OPTIONS: &[&str] = &[
    "host",
    "application_name",
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
];

const MYSQL_OPTIONS: &[&str] = &[
    "socket",
    "sslmode",
    "ssl-mode",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
];

/// The name of a table where none is given: the one of Django's documentation.
const TABLE: &str = "my_cache_table";
/// Django's is 300 (CFG-4), which is few for whole pages.
const MAX_ENTRIES: u64 = 100_000;
/// With base64 and the envelope, this stays below the packet of 16 MiB that MySQL and MariaDB take.
const MAX_VALUE_BYTES: usize = 10 << 20;

/// Makes a [`Database`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
/// use larder::Cache;
/// use larder::backend::Database;
/// use std::time::Duration;
///
/// let database = Database::builder("sqlite::memory:")?
///     .table("pages")
///     .max_entries(10_000)
///     .purge_every(Duration::from_secs(300))
///     .build()?;
/// let cache = Cache::builder(database).key_prefix("blog").build();
/// cache.set("num", 1, 30).await?;
/// assert_eq!(cache.incr("num", 1).await?, 2);
/// # Ok(()) }
/// ```
#[must_use]
pub struct DatabaseBuilder {
    pub(super) source: Source,
    pub(super) place: String,
    pub(super) is_in_memory: bool,
    pub(super) table: String,
    pub(super) max_entries: u64,
    pub(super) max_value_bytes: usize,
    pub(super) purge_every: Option<Duration>,
    pub(super) creates_table: bool,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
}

impl DatabaseBuilder {
    /// Takes all options of its own out of a URL. Nothing is connected.
    pub(crate) fn of(url: &mut StoreUrl) -> Result<Self, Error> {
        let (source, place, is_in_memory) = match url.scheme() {
            "sqlite" => sqlite(url)?,
            "mysql" | "mariadb" => mysql(url)?,
            _ => postgres(url)?,
        };
        let size = if matches!(source, Source::Sqlite(_)) { 4 } else { 10 };
        let limits = Limits {
            size: url.take_number("pool_size")?.unwrap_or(size),
            wait: take_wait(url, "pool_wait")?,
            statement: take_wait(url, "statement_timeout")?,
        };
        let wanted = "a number of bytes that is not zero";
        let number = |text: &str| text.parse().ok().filter(|number: &usize| *number > 0);
        Ok(DatabaseBuilder {
            source,
            place,
            is_in_memory,
            table: url.take("table")?.unwrap_or_else(|| TABLE.to_owned()),
            max_entries: url.take_number("max_entries")?.unwrap_or(MAX_ENTRIES),
            max_value_bytes: url.take_as("max_value_bytes", wanted, number)?.unwrap_or(MAX_VALUE_BYTES),
            purge_every: url.take_time("purge_every")?,
            creates_table: url.take_switch("create_table")?.unwrap_or(is_in_memory),
            limits,
            clock: Clock::default(),
        })
    }

    /// The name of the table, as it is: it is quoted, never folded to small letters. `my_cache_table` if not said.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// About how many entries are kept, 100,000 if not said. It is looked at now and then, not on every write, so that there
    /// may be up to a twentieth more for a while; then dead entries go first, after them those that expire soonest.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = entries;
        self
    }

    /// The largest value, in bytes; 10 MiB if not said. MySQL and MariaDB take no statement larger than their
    /// `max_allowed_packet`, and a value is a third larger in the table.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// Removes dead entries in the background that often. Not at all if not said: a dead entry is never answered, and goes
    /// when its key is set again or when there are too many.
    pub fn purge_every(mut self, interval: Duration) -> Self {
        self.purge_every = Some(interval);
        self
    }

    /// Whether the first call makes the table, and the file of SQLite, where they are missing. No if not said, but for
    /// `sqlite::memory:`.
    pub fn create_table(mut self, creates: bool) -> Self {
        self.creates_table = creates;
        self
    }

    /// The largest number of connections; 4 on SQLite and 10 elsewhere if not said. A database in memory has one.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.limits.size = connections;
        self
    }

    /// The clock that entries expire by, the system's if not said. The database's own clock counts for nothing.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The backend. Nothing is connected before the first call, and no async runtime is needed.
    ///
    /// # Errors
    /// [`Error::Config`] for a table without a name or with a NUL in it, a pool without connections, and purging without
    /// a pause.
    pub fn build(self) -> Result<Database, Error> {
        if self.table.is_empty() || self.table.contains('\0') {
            return Err(Error::Config(format!("{:?} cannot be the name of a cache table", self.table)));
        }
        if self.limits.size == 0 {
            return Err(Error::Config(
                "a pool of no connections reaches no database: pool_size is 1 or more".to_owned(),
            ));
        }
        if self.purge_every.is_some_and(|interval| interval.is_zero()) {
            return Err(Error::Config("purge_every is a time such as 300s; leave it out to never purge".to_owned()));
        }
        let connections = Connections::new(self.source.clone(), self.limits, self.is_in_memory);
        Ok(Database::new(self, connections))
    }
}

/// How long something is waited for: 5 seconds if not said. Nobody waits for longer than a day, and the drivers cannot add
/// what is much longer to a time.
fn take_wait(url: &mut StoreUrl, option: &str) -> Result<Duration, Error> {
    const LONGEST: Duration = Duration::from_secs(86_400);
    Ok(url.take_time(option)?.unwrap_or(Duration::from_secs(5)).min(LONGEST))
}

type Located = (Source, String, bool);

fn sqlite(url: &mut StoreUrl) -> Result<Located, Error> {
    let place = url.place();
    let path = decoded(place.strip_prefix("//").unwrap_or(place));
    let path = path.ok_or_else(|| url.refuse("its path is not percent-encoded UTF-8"))?;
    if path.is_empty() {
        return Err(url.refuse("it names no file: write sqlite:///var/tmp/cache.db, or sqlite::memory:"));
    }
    let wanted = "ro or rw";
    let is_read_only = url.take_as("mode", wanted, |mode| match mode {
        "ro" => Some(true),
        "rw" => Some(false),
        _ => None,
    })?;
    let is_read_only = is_read_only.unwrap_or(false);
    let wanted = "wal, delete, truncate, persist, memory, off or keep";
    let journal_mode = url.take_as("journal_mode", wanted, |mode| match mode {
        "keep" => Some(None),
        mode => SqliteJournalMode::from_str(mode).ok().map(Some),
    })?;
    let busy_timeout = take_wait(url, "busy_timeout")?;
    if path == ":memory:" {
        let options = SqliteConnectOptions::new().in_memory(true);
        return Ok((Source::Sqlite(Box::new(options)), "a SQLite database in memory".to_owned(), true));
    }
    let mut options = SqliteConnectOptions::new().filename(&path).busy_timeout(busy_timeout).read_only(is_read_only);
    if let (false, Some(mode)) = (is_read_only, journal_mode.unwrap_or(Some(SqliteJournalMode::Wal))) {
        options = options.journal_mode(mode);
        if mode == SqliteJournalMode::Wal {
            // No sync at each commit: a crash of the machine may lose the last entries, and never damages the file.
            options = options.synchronous(SqliteSynchronous::Normal);
        }
    }
    Ok((Source::Sqlite(Box::new(options)), path, false))
}

fn postgres(url: &mut StoreUrl) -> Result<Located, Error> {
    let library_url = url.for_library(POSTGRES_OPTIONS);
    // What the driver says of a URL that it cannot read may repeat parts of it.
    let options = PgConnectOptions::from_str(&library_url).map_err(|_| unreadable(url))?;
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let place =
        format!("PostgreSQL at {place}, database {:?}", options.get_database().unwrap_or(options.get_username()));
    Ok((Source::Postgres(Box::new(options)), place, false))
}

fn mysql(url: &mut StoreUrl) -> Result<Located, Error> {
    let library_url = url.for_library(MYSQL_OPTIONS);
    let options = MySqlConnectOptions::from_str(&library_url).map_err(|_| unreadable(url))?;
    let Some(database) = options.get_database() else {
        return Err(url.refuse("it names no database: write mysql://user:password@host/database"));
    };
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let place = format!("MySQL at {place}, database {database:?}");
    // Our statements need no particular mode of SQL.
    let options = options.pipes_as_concat(false).no_engine_substitution(false);
    Ok((Source::MySql(Box::new(options)), place, false))
}

fn unreadable(url: &StoreUrl) -> Error {
    url.refuse(format_args!(
        "write {}://user:password@host:port/database, with what is special in them percent-encoded",
        url.scheme()
    ))
}

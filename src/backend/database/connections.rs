//! The connections to a database: opened when first needed, and every statement run to its end even if nobody waits for its
//! answer any more. The backend sends its statements through here.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::time::Instant;

use super::dialect::{FEW_KEYS, Sql, Vendor};
use super::moment::{Microseconds, text_of};
use super::problem::{Trouble, is_undone, lost_its_connection};
use crate::clock::Timestamp;

/// How often a statement is tried again whose connection was gone.
const MOST_LOST: u32 = 3;
/// A connection that was idle for longer is asked whether it is still alive before it is used.
const SURELY_ALIVE: Duration = Duration::from_secs(1);

/// Where the database is.
#[derive(Clone)]
pub(super) enum Source {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
}

/// An argument of a statement.
#[derive(Clone, Debug)]
pub(super) enum Arg {
    /// What the column `cache_key` is compared with by `{is_key}`.
    Key(String),
    /// The keys that a row has one of.
    Keys(Vec<String>),
    /// The same where rows are read: MySQL may find one of a key that the column does not tell apart, too, and it takes less
    /// time to compare the keys of the rows that come.
    Sought(Vec<String>),
    Text(String),
    Moment(Timestamp),
    Number(i64),
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Arg::Text(text.to_owned())
    }
}

/// A statement, its arguments, and how it may be run.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) sql: Sql,
    pub(super) args: Vec<Arg>,
    /// Whether it does no harm to run it twice.
    pub(super) is_repeatable: bool,
    /// Whether the database shall remember it: not where the text depends on the number of keys.
    pub(super) is_lasting: bool,
}

impl Statement {
    pub(super) fn new(sql: &Sql, args: impl Into<Vec<Arg>>) -> Self {
        Statement { sql: Arc::clone(sql), args: args.into(), is_repeatable: true, is_lasting: true }
    }

    /// One that must not be run twice.
    pub(super) fn once(mut self) -> Self {
        self.is_repeatable = false;
        self
    }

    /// One whose text is hardly ever the same.
    pub(super) fn passing(mut self) -> Self {
        self.is_lasting = false;
        self
    }
}

/// The columns `cache_key` and `value` of a row.
pub(super) type KeyAndValue = (Vec<u8>, Vec<u8>);

/// What is done on a connection.
enum Work {
    Write(Statement),
    Read(Statement),
    /// One row, or none.
    ReadOne(Statement),
    Count(Statement),
    /// Several statements without arguments, all or none where the database can undo them.
    Script(Vec<String>),
}

enum Outcome {
    Changed(u64),
    Rows(Vec<KeyAndValue>),
    Number(i64),
}

#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MySql(MySqlPool),
}

/// How connections are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The largest number of connections.
    pub(super) size: u32,
    /// How long a call waits for a connection, its opening included.
    pub(super) wait: Duration,
    /// How long a statement may take. Its connection is closed then.
    pub(super) statement: Duration,
}

impl Limits {
    /// How long a statement may take that works on the whole table.
    fn at_length(self) -> Duration {
        self.statement.saturating_mul(20)
    }
}

/// The connections to one database.
pub(super) struct Connections {
    source: Source,
    limits: Limits,
    is_in_memory: bool,
    pool: Mutex<Option<Pool>>,
    /// SQLite lets one connection write at a time and has the others ask again and again; here they queue instead.
    writer: Arc<tokio::sync::Mutex<()>>,
}

impl Connections {
    pub(super) fn new(source: Source, limits: Limits, is_in_memory: bool) -> Self {
        Connections { source, limits, is_in_memory, pool: Mutex::default(), writer: Arc::default() }
    }

    pub(super) fn vendor(&self) -> Vendor {
        match self.source {
            Source::Sqlite(_) => Vendor::Sqlite,
            Source::Postgres(_) => Vendor::Postgres,
            Source::MySql(_) => Vendor::MySql,
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }

    /// How many rows a statement changed.
    pub(super) async fn write(&self, statement: Statement) -> Result<u64, Trouble> {
        match self.run(Work::Write(statement), self.limits.statement).await? {
            Outcome::Changed(rows) => Ok(rows),
            Outcome::Rows(_) | Outcome::Number(_) => Ok(0),
        }
    }

    /// The same, for one that may change the whole table and take its time.
    pub(super) async fn write_at_length(&self, statement: Statement) -> Result<u64, Trouble> {
        match self.run(Work::Write(statement), self.limits.at_length()).await? {
            Outcome::Changed(rows) => Ok(rows),
            Outcome::Rows(_) | Outcome::Number(_) => Ok(0),
        }
    }

    /// The rows that a statement finds.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<KeyAndValue>, Trouble> {
        match self.run(Work::Read(statement), self.limits.statement).await? {
            Outcome::Rows(rows) => Ok(rows),
            Outcome::Changed(_) | Outcome::Number(_) => Ok(Vec::new()),
        }
    }

    /// The row that a statement finds, of which there are no more. SQLite answers from a thread of its own, and nobody waits
    /// for it to say that there are no more.
    pub(super) async fn read_one(&self, statement: Statement) -> Result<Option<KeyAndValue>, Trouble> {
        match self.run(Work::ReadOne(statement), self.limits.statement).await? {
            Outcome::Rows(rows) => Ok(rows.into_iter().next()),
            Outcome::Changed(_) | Outcome::Number(_) => Ok(None),
        }
    }

    /// The one number that a statement answers.
    pub(super) async fn count(&self, statement: Statement) -> Result<i64, Trouble> {
        match self.run(Work::Count(statement), self.limits.statement).await? {
            Outcome::Number(number) => Ok(number),
            Outcome::Changed(_) | Outcome::Rows(_) => Ok(0),
        }
    }

    /// Runs several statements.
    pub(super) async fn script(&self, statements: Vec<String>) -> Result<(), Trouble> {
        self.run(Work::Script(statements), self.limits.at_length()).await.map(|_| ())
    }

    /// Closes all connections; the next statement opens new ones. A database in memory would be gone, and stays.
    pub(super) async fn close(&self) {
        let pool = if self.is_in_memory { None } else { self.lock_pool().take() };
        match pool {
            Some(Pool::Sqlite(pool)) => pool.close().await,
            Some(Pool::Postgres(pool)) => pool.close().await,
            Some(Pool::MySql(pool)) => pool.close().await,
            None => {}
        }
    }

    fn lock_pool(&self) -> std::sync::MutexGuard<'_, Option<Pool>> {
        // Nothing that holds it can leave it half changed.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool; it connects nothing yet, and needs an async runtime around it.
    fn pool(&self) -> Pool {
        let Limits { size, wait, .. } = self.limits;
        let open = || match &self.source {
            Source::Sqlite(options) if self.is_in_memory => {
                // The database lives as long as its one connection does.
                let kept = quiet(PoolOptions::new()).max_connections(1).acquire_timeout(wait);
                let kept = kept.idle_timeout(None).max_lifetime(None).test_before_acquire(false);
                Pool::Sqlite(kept.connect_lazy_with((**options).clone().disable_statement_logging()))
            }
            Source::Sqlite(options) => {
                let pool = pool_options(size, wait);
                Pool::Sqlite(pool.connect_lazy_with((**options).clone().disable_statement_logging()))
            }
            Source::Postgres(options) => {
                let pool = pool_options(size, wait);
                Pool::Postgres(pool.connect_lazy_with((**options).clone().disable_statement_logging()))
            }
            Source::MySql(options) => {
                let pool = pool_options(size, wait);
                Pool::MySql(pool.connect_lazy_with((**options).clone().disable_statement_logging()))
            }
        };
        self.lock_pool().get_or_insert_with(open).clone()
    }

    fn run(&self, work: Work, limit: Duration) -> ToItsEnd<Result<Outcome, Trouble>> {
        let is_sqlite = self.vendor() == Vendor::Sqlite;
        let writes = matches!(work, Work::Write(_) | Work::Script(_));
        let writer = (is_sqlite && writes).then(|| Arc::clone(&self.writer));
        let limit = (!self.is_in_memory).then_some(limit);
        // Each with a future of its own: one for all of them has the size of the largest, and is moved with every call.
        ToItsEnd(Some(match self.pool() {
            Pool::Sqlite(pool) => Box::pin(carry_out(pool, work, writer, limit)),
            Pool::Postgres(pool) => Box::pin(carry_out(pool, work, writer, limit)),
            Pool::MySql(pool) => Box::pin(carry_out(pool, work, writer, limit)),
        }))
    }
}

/// Does the work in its turn, and again where others undid it or the connection was gone.
async fn carry_out<DB: Perform>(
    pool: sqlx::Pool<DB>,
    work: Work,
    writer: Option<Arc<tokio::sync::Mutex<()>>>,
    limit: Option<Duration>,
) -> Result<Outcome, Trouble> {
    let _writing = match writer {
        Some(writer) => Some(writer.lock_owned().await),
        None => None,
    };
    let begun = Instant::now();
    let (mut undone, mut lost) = (0, 0);
    loop {
        let trouble = match try_once(&pool, &work, limit).await {
            Ok(outcome) => return Ok(outcome),
            Err(trouble) => trouble,
        };
        let is_in_time = limit.is_some_and(|limit| begun.elapsed() < limit);
        if is_undone(&trouble) && is_in_time {
            undone += 1;
            tokio::time::sleep(pause(undone)).await;
        } else if lost_its_connection(&trouble) && work.is_repeatable() && lost < MOST_LOST {
            lost += 1;
        } else {
            return Err(trouble);
        }
    }
}

async fn try_once<DB: Perform>(
    pool: &sqlx::Pool<DB>,
    work: &Work,
    limit: Option<Duration>,
) -> Result<Outcome, Trouble> {
    let mut connection = pool.acquire().await?;
    let Some(limit) = limit else { return Ok(DB::perform(&mut connection, work).await?) };
    // The result is bound first: the future that borrows the connection is gone then.
    let outcome = tokio::time::timeout(limit, DB::perform(&mut connection, work)).await;
    match outcome {
        Ok(outcome) => Ok(outcome?),
        Err(_) => {
            connection.close_on_drop();
            Err(Trouble::Late)
        }
    }
}

/// The pause before a statement is tried again that others undid: longer each time, and not the same for all of them.
fn pause(attempt: u32) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let most = 1_000_u64 << attempt.min(6);
    Duration::from_micros(most / 2 + RandomState::new().build_hasher().finish() % most)
}

/// Without a warning for each call that waited: a database that is down is told once, by who decides that it is.
fn quiet<DB: sqlx::Database>(pool: PoolOptions<DB>) -> PoolOptions<DB> {
    match "off".parse() {
        Ok(level) => pool.acquire_slow_level(level),
        Err(_) => pool,
    }
}

fn pool_options<DB: sqlx::Database>(size: u32, wait: Duration) -> PoolOptions<DB> {
    quiet(PoolOptions::new()).max_connections(size).acquire_timeout(wait).test_before_acquire(false).before_acquire(
        |connection: &mut DB::Connection, meta| {
            Box::pin(async move {
                if meta.idle_for > SURELY_ALIVE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        },
    )
}

impl Work {
    fn is_repeatable(&self) -> bool {
        match self {
            Work::Write(statement) | Work::Read(statement) | Work::ReadOne(statement) | Work::Count(statement) => {
                statement.is_repeatable
            }
            Work::Script(_) => false,
        }
    }
}

/// A database that work is done on.
trait Perform: sqlx::Database {
    fn perform(
        connection: &mut Self::Connection,
        work: &Work,
    ) -> impl Future<Output = Result<Outcome, sqlx::Error>> + Send;
}

/// The same work on the connection of each database; only how arguments are bound differs.
macro_rules! perform {
    ($database:ty, |$query:ident, $arg:ident| $bind:expr) => {
        impl Perform for $database {
            async fn perform(connection: &mut Self::Connection, work: &Work) -> Result<Outcome, sqlx::Error> {
                let query = |statement: &Statement| {
                    let sql = AssertSqlSafe(Arc::clone(&statement.sql));
                    let mut $query = sqlx::query::<Self>(sql).persistent(statement.is_lasting);
                    for $arg in &statement.args {
                        $query = $bind;
                    }
                    $query
                };
                // Unchecked: a table of Django's may have text of another width or collation. Bytes are bytes.
                let row = |row: &Self::Row| Ok((row.try_get_unchecked(0)?, row.try_get_unchecked(1)?));
                match work {
                    Work::Write(statement) => {
                        let done = query(statement).execute(connection).await?;
                        Ok(Outcome::Changed(done.rows_affected()))
                    }
                    Work::Read(statement) => {
                        let rows = query(statement).fetch_all(connection).await?;
                        Ok(Outcome::Rows(rows.iter().map(row).collect::<Result<_, sqlx::Error>>()?))
                    }
                    Work::ReadOne(statement) => {
                        let found = query(statement).fetch_optional(connection).await?;
                        Ok(Outcome::Rows(found.iter().map(row).collect::<Result<_, sqlx::Error>>()?))
                    }
                    Work::Count(statement) => {
                        let row = query(statement).fetch_one(connection).await?;
                        Ok(Outcome::Number(row.try_get_unchecked(0)?))
                    }
                    // A box of its own, so that the other calls need no room for it.
                    Work::Script(statements) => {
                        Box::pin(async move {
                            let mut transaction = connection.begin().await?;
                            for statement in statements {
                                sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(&mut *transaction).await?;
                            }
                            transaction.commit().await?;
                            Ok(Outcome::Changed(0))
                        })
                        .await
                    }
                }
            }
        }
    };
}

perform!(sqlx::Sqlite, |query, arg| match arg {
    Arg::Key(text) | Arg::Text(text) => query.bind(text.as_str()),
    Arg::Keys(keys) | Arg::Sought(keys) => keys.iter().fold(query, |query, key| query.bind(key.as_str())),
    Arg::Moment(moment) => query.bind(text_of(*moment)),
    Arg::Number(number) => query.bind(*number),
});

perform!(sqlx::Postgres, |query, arg| match arg {
    Arg::Key(text) | Arg::Text(text) => query.bind(text.as_str()),
    Arg::Keys(keys) | Arg::Sought(keys) if keys.len() <= FEW_KEYS => {
        keys.iter().fold(query, |query, key| query.bind(key.as_str()))
    }
    Arg::Keys(keys) | Arg::Sought(keys) => query.bind(keys.as_slice()),
    Arg::Moment(moment) => query.bind(Microseconds(*moment)),
    Arg::Number(number) => query.bind(*number),
});

perform!(sqlx::MySql, |query, arg| match arg {
    Arg::Text(text) => query.bind(text.as_str()),
    // Once to find the row, once to compare byte by byte.
    Arg::Key(text) => query.bind(text.as_str()).bind(text.as_str()),
    Arg::Keys(keys) => keys.iter().chain(keys).fold(query, |query, key| query.bind(key.as_str())),
    Arg::Sought(keys) => keys.iter().fold(query, |query, key| query.bind(key.as_str())),
    Arg::Moment(moment) => query.bind(text_of(*moment)),
    Arg::Number(number) => query.bind(*number),
});

/// A future that goes on by itself where it is dropped in the middle: a statement that was sent is answered, and a connection
/// that was begun to be opened is there for the next call. So no answer is ever left on a connection for somebody else, and
/// callers with little patience still get a connection in the end.
struct ToItsEnd<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let poll = future.as_mut().poll(context);
        if poll.is_ready() {
            self.0 = None;
        }
        poll
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        if let (Some(future), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(future);
        }
    }
}

//! Making the table, as Django's `createcachetable` does (CCT-1 to CCT-4).
//! `Database::create_table` calls it, and the first call of a backend that makes its table itself.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::connections::{Arg, Connections, Source, Statement};
use super::dialect::{Sql, Statements, Vendor, count_tables, create_table};
use super::problem::Trouble;

/// Makes the table and its index where no table or view of that name is there; says whether it did.
pub(super) async fn make(connections: &Connections, statements: &Statements, table: &str) -> Result<bool, Trouble> {
    if let (Source::Sqlite(options), false) = (connections.source(), connections.is_in_memory()) {
        make_file((**options).clone()).await?;
    }
    if is_there(connections, table).await? {
        return found(connections, statements).await;
    }
    match connections.script(create_table(connections.vendor(), table)).await {
        Ok(()) => Ok(true),
        // Somebody else may have made it meanwhile.
        Err(trouble) => match is_there(connections, table).await {
            Ok(true) => found(connections, statements).await,
            _ => Err(trouble),
        },
    }
}

/// A table that is there is left alone (CCT-2), if it is one for a cache.
async fn found(connections: &Connections, statements: &Statements) -> Result<bool, Trouble> {
    connections.read(Statement::new(&statements.probe, [])).await.map(|_| false)
}

async fn is_there(connections: &Connections, table: &str) -> Result<bool, Trouble> {
    let vendor = connections.vendor();
    let name = if vendor == Vendor::Postgres { vendor.quoted(table) } else { table.to_owned() };
    let count = Statement::new(&Sql::from(count_tables(vendor)), [Arg::Text(name)]);
    Ok(connections.count(count).await? > 0)
}

/// The file of a SQLite database comes into being with its first connection that may make it. Two programs that do so at the
/// same time stand in each other's way, and SQLite lets neither wait: the file is there all the same, and what follows is
/// tried again where others are at it.
async fn make_file(options: SqliteConnectOptions) -> Result<(), Trouble> {
    let file = options.get_filename().to_owned();
    if file.exists() {
        return Ok(());
    }
    let first = options.create_if_missing(true).disable_statement_logging();
    let made = async { first.connect().await?.close().await };
    match made.await {
        Err(error) if !file.exists() => Err(error.into()),
        _ => Ok(()),
    }
}

//! What went wrong in a database, told in the words of a cache: which table of which database, and what to do about it.
//! The connections classify by it what may be tried again; callers find it as the source of [`Error::Backend`].

use std::fmt;

use super::dialect::Vendor;
use crate::backend::backend_error;
use crate::error::Error;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseProblem {
    /// There is no such table, or no such SQLite file: `Database::create_table` makes it.
    MissingTable,
    /// The table is there and has other columns than a cache table.
    ForeignTable,
    /// The database takes no writes.
    ReadOnly,
    /// It has no room left.
    Full,
    /// It is down, cannot be reached, or did not answer in time.
    Down,
    /// It does not let us in: user, password, or the name of the database.
    Refused,
    /// Others wrote at the same time, again and again.
    Busy,
    /// Something else; see what it said.
    Other,
}

/// The source of [`Error::Backend`] of this backend.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use larder::Error;
/// use larder::backend::{Backend, Database, DatabaseError, DatabaseProblem};
///
/// let folder = tempfile::tempdir()?;
/// let database = Database::from_url(&format!("sqlite://{}/cache.db?table=pages", folder.path().display()))?;
/// let Err(Error::Backend { source, .. }) = database.get("k").await else { panic!("there is no table yet") };
/// let error = source.downcast_ref::<DatabaseError>().unwrap();
/// assert_eq!(error.problem(), DatabaseProblem::MissingTable);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DatabaseError {
    problem: DatabaseProblem,
    place: String,
    table: String,
    source: Trouble,
}

/// What a call failed with before it is told.
#[derive(Debug)]
pub(super) enum Trouble {
    Sqlx(sqlx::Error),
    /// The time for a statement is over.
    Late,
    /// What was read was never what was there when it was to be replaced.
    Overtaken,
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Trouble::Sqlx(error)
    }
}

impl DatabaseError {
    /// What kind of thing went wrong.
    pub fn problem(&self) -> DatabaseProblem {
        self.problem
    }

    /// The error of a backend on that table in that place, which must name no password.
    pub(super) fn told(vendor: Vendor, place: &str, table: &str, source: Trouble) -> Error {
        let (place, table) = (place.to_owned(), table.to_owned());
        backend_error(vendor.name(), DatabaseError { problem: problem_of(&source), place, table, source })
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DatabaseError { place, table, .. } = self;
        match self.problem {
            DatabaseProblem::MissingTable => write!(
                f,
                "there is no table {table:?} in {place}: make it with `larder create-table`, Database::create_table(), or \
                 the option create_table=yes"
            )?,
            DatabaseProblem::ForeignTable => {
                write!(f, "the table {table:?} in {place} is no cache table: name another one with the option table=")?
            }
            DatabaseProblem::ReadOnly => {
                write!(f, "the table {table:?} in {place} cannot be written: it is read-only")?
            }
            DatabaseProblem::Full => write!(f, "there is no room left for the table {table:?} in {place}")?,
            DatabaseProblem::Down => {
                write!(f, "{place} does not answer: is it running, and are there connections left?")?
            }
            DatabaseProblem::Refused => write!(f, "{place} lets nobody in with this user, password and database")?,
            DatabaseProblem::Busy => {
                write!(f, "others kept writing to the table {table:?} in {place} at the same time")?
            }
            DatabaseProblem::Other => write!(f, "the table {table:?} in {place}")?,
        }
        match &self.source {
            Trouble::Sqlx(error) => write!(f, " ({error})"),
            Trouble::Late => f.write_str(" (the time for a statement is over)"),
            Trouble::Overtaken => f.write_str(" (what was read was never still there)"),
        }
    }
}

impl std::error::Error for DatabaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Trouble::Sqlx(error) => Some(error),
            Trouble::Late | Trouble::Overtaken => None,
        }
    }
}

/// What the codes of the databases mean: SQLite's result codes, SQLSTATE of PostgreSQL, error numbers of MySQL and MariaDB.
pub(super) fn problem_of(trouble: &Trouble) -> DatabaseProblem {
    use DatabaseProblem::{Busy, Down, ForeignTable, Full, MissingTable, Other, ReadOnly, Refused};
    let error = match trouble {
        Trouble::Sqlx(error) => error,
        Trouble::Late => return Down,
        Trouble::Overtaken => return Busy,
    };
    let sqlx::Error::Database(error) = error else {
        return match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => Down,
            sqlx::Error::PoolClosed => Down,
            _ => Other,
        };
    };
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return match error.number() {
            1146 => MissingTable,
            1054 => ForeignTable,
            1036 | 1290 | 1792 | 1836 => ReadOnly,
            1021 | 1114 => Full,
            1040 | 1053 | 1077 | 1079 | 1203 | 1927 => Down,
            1044 | 1045 | 1049 | 1698 => Refused,
            1020 | 1205 | 1213 => Busy,
            _ => Other,
        };
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return match &*code {
            "42P01" => MissingTable,
            "42703" => ForeignTable,
            "25006" => ReadOnly,
            "53100" => Full,
            "53300" | "57P01" | "57P02" | "57P03" | "57P05" => Down,
            "40001" | "40P01" | "55P03" => Busy,
            "3D000" => Refused,
            code if code.starts_with("08") => Down,
            code if code.starts_with("28") => Refused,
            _ => Other,
        };
    }
    // The low byte of SQLite's code is the kind; the rest says where.
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(1) if error.message().starts_with("no such table") => MissingTable,
        Ok(1) if error.message().starts_with("no such column") => ForeignTable,
        Ok(14) => MissingTable,
        Ok(8) => ReadOnly,
        Ok(13) => Full,
        Ok(5 | 6) => Busy,
        _ => Other,
    }
}

/// Whether a statement was undone because of others, and may be run again whatever it does.
pub(super) fn is_undone(trouble: &Trouble) -> bool {
    problem_of(trouble) == DatabaseProblem::Busy
}

/// Whether the connection is gone, and nobody knows whether the statement was run.
pub(super) fn lost_its_connection(trouble: &Trouble) -> bool {
    let is_told_by_the_server = matches!(trouble, Trouble::Sqlx(sqlx::Error::Database(_)));
    let Trouble::Sqlx(error) = trouble else { return false };
    matches!(error, sqlx::Error::Io(_)) || (is_told_by_the_server && problem_of(trouble) == DatabaseProblem::Down)
}

/// Whether a row with that key is there already.
pub(super) fn is_taken(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Sqlx(sqlx::Error::Database(error)) if error.is_unique_violation())
}

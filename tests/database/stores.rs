//! The databases that a test runs on, each with a table of its own.

use larder::backend::{Database, DatabaseBuilder, DatabaseError, DatabaseProblem, Stored, flags};
use larder::{Clock, Error};
use tempfile::TempDir;

use super::real::{MariaDb, Postgres};

/// A place for tables: an empty SQLite file that is gone with the value, or an empty database of a real server.
pub struct Place {
    pub url: String,
    server: Option<MariaDb>,
    _folder: Option<TempDir>,
}

impl Place {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Place { url: format!("sqlite://{}/cache.db", folder.path().display()), server: None, _folder: Some(folder) }
    }

    pub async fn postgres() -> Self {
        // Starting a server blocks its thread.
        let url = tokio::task::spawn_blocking(|| Postgres::shared().new_database()).await.unwrap();
        Place { url, server: None, _folder: None }
    }

    pub async fn mariadb() -> Self {
        let url = tokio::task::spawn_blocking(|| MariaDb::shared().new_database()).await.unwrap();
        Place { url, server: None, _folder: None }
    }

    /// An empty database of a server that is for one test alone.
    pub fn on(server: MariaDb) -> Self {
        Place { url: server.new_database(), server: Some(server), _folder: None }
    }

    /// One of each.
    pub async fn all() -> [Self; 3] {
        [Place::sqlite(), Place::postgres().await, Place::mariadb().await]
    }

    /// The path of the SQLite file, or the name of the server's database.
    pub fn path(&self) -> &str {
        let place = self.url.strip_prefix("sqlite://");
        place.unwrap_or_else(|| self.url.rsplit('/').next().unwrap_or_default())
    }

    /// With times that a busy machine keeps as well.
    pub fn builder(&self) -> DatabaseBuilder {
        Database::builder(&format!("{}?statement_timeout=60s&pool_wait=60s", self.url)).unwrap()
    }

    /// A backend on the table `my_cache_table`, which is made where it is missing.
    pub async fn open(&self) -> Database {
        made(self.builder(), Clock::system()).await
    }

    /// Runs statements past larder.
    pub async fn say(&self, statements: &str) -> String {
        if let Some(server) = &self.server {
            return server.say(self.path(), statements);
        }
        let (url, name, statements) = (self.url.clone(), self.path().to_owned(), statements.to_owned());
        tokio::task::spawn_blocking(move || match url.split(':').next() {
            Some("postgres") => Postgres::shared().say(&name, &statements),
            Some("mysql") => MariaDb::shared().say(&name, &statements),
            _ => sqlite(&name, &statements),
        })
        .await
        .unwrap()
    }
}

fn sqlite(path: &str, statements: &str) -> String {
    let output = std::process::Command::new("sqlite3").args(["-cmd", ".timeout 60000", path, statements]).output();
    let output = output.expect("sqlite3 is not installed: apt-get install sqlite3");
    assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// With its table made, by that clock.
pub async fn made(builder: DatabaseBuilder, clock: Clock) -> Database {
    let database = builder.clock(clock).build().unwrap();
    database.create_table().await.unwrap();
    database
}

pub fn text(text: &str) -> Stored {
    Stored { data: text.to_owned().into(), flags: flags::TEXT }
}

pub fn number(number: i64) -> Stored {
    Stored { data: number.to_string().into(), flags: flags::INTEGER }
}

/// What kind of problem a call failed with, and what it said.
pub fn problem<T: std::fmt::Debug>(answer: Result<T, Error>) -> (DatabaseProblem, String) {
    let error = answer.unwrap_err();
    let told = error.to_string();
    let Error::Backend { source, .. } = error else { panic!("not from the backend: {told}") };
    (source.downcast_ref::<DatabaseError>().unwrap().problem(), told)
}

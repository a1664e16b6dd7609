//! The stores that need a server or a folder, each the real one, shared by the tests of `tests/every_store.rs`.
//! Every world is a part of its own on them.

use std::sync::OnceLock;
use std::time::Duration;

use larder::backend::memcached::Memcached;
use larder::backend::{Backend, Database, Files, Redis};
use larder::memcached::Client;
use larder::{Cache, ManualClock, Timestamp};
use tempfile::TempDir;

use crate::real;
use crate::world::{Apart, World};

/// The servers of this process; they end with it.
struct Servers {
    folder: TempDir,
    postgres: String,
    mariadb: String,
    redis: real::Redis,
    memcached: real::Memcached,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| Servers {
        folder: tempfile::tempdir().unwrap(),
        postgres: real::Postgres::shared().new_database(),
        mariadb: real::MariaDb::shared().new_database(),
        redis: real::Redis::start(),
        memcached: real::Memcached::start(),
    })
}

pub fn worlds() -> Vec<World> {
    let servers = servers();
    let sqlite = format!("sqlite://{}", servers.folder.path().join("cache.db").display());
    let files = servers.folder.path().join("files");
    vec![
        on_its_clock("file", |hands| Files::builder(&files).clock(hands.clock()).build().unwrap()),
        on_its_clock("sqlite", |hands| database(&sqlite, hands)),
        on_its_clock("postgresql", |hands| database(&servers.postgres, hands)),
        on_its_clock("mariadb", |hands| database(&servers.mariadb, hands)),
        in_real_time("redis", Redis::builder(&servers.redis.url()).unwrap().build().unwrap()),
        in_real_time("memcached", memcached(&servers.memcached.address())),
    ]
}

fn database(url: &str, hands: &ManualClock) -> Database {
    Database::builder(url).unwrap().create_table(true).pool_size(2).clock(hands.clock()).build().unwrap()
}

/// So that a busy machine is not taken for a slow server.
fn memcached(address: &str) -> Memcached {
    let patient = Client::builder().server(address).connect_timeout(PATIENCE).timeout(PATIENCE);
    Memcached::new(patient.build().unwrap())
}

fn on_its_clock<B: Backend>(name: &'static str, open: impl Fn(&ManualClock) -> B) -> World {
    let hands = ManualClock::at(BEGINNING);
    let part = Apart::on_its_clock(open(&hands), hands.clock());
    World { name, cache: Cache::new(part), hands, text: None }
}

fn in_real_time(name: &'static str, store: impl Backend) -> World {
    let hands = ManualClock::at(BEGINNING);
    let part = Apart::in_real_time(store, hands.clock());
    World { name, cache: Cache::new(part), hands, text: None }
}

const PATIENCE: Duration = Duration::from_secs(30);
const BEGINNING: Timestamp = Timestamp::from_secs(1_700_000_000);

//! A real PostgreSQL of the test process: one server, and a database for each test that asks.

use std::net::SocketAddr;
use std::ops::Deref;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::guardian::{Guardian, Plan, find_program};
use super::place::{new_folder, next_address};

/// `initdb` takes a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(180);

pub struct Postgres {
    guardian: Guardian,
    address: SocketAddr,
}

/// It can be paused, resumed and stopped, and has a folder and a process number.
impl Deref for Postgres {
    type Target = Guardian;

    fn deref(&self) -> &Guardian {
        &self.guardian
    }
}

/// Makes the data on the first start. `$0` is the folder of the programs, the rest are arguments of the server.
const START: &str = r#"
[ -e data/PG_VERSION ] || "$0/initdb" -D data -U larder -A trust -E UTF8 --locale=C.UTF-8 --no-sync || exit
exec "$0/postgres" -D data "$@"
"#;

impl Postgres {
    /// The one that the tests of this process share. It ends with the process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// One of its own, for tests that pause and restart it.
    pub fn start() -> Self {
        let initdb = find_program("initdb").expect("PostgreSQL is not installed: apt-get install postgresql");
        let initdb = initdb.canonicalize().expect("it is there");
        let programs = initdb.parent().expect("it is in a folder").display().to_string();
        let address = next_address();
        let folder = new_folder("postgres");
        let mut command: Vec<String> = ["sh", "-c", START, &programs].map(str::to_owned).to_vec();
        let settings = [
            format!("listen_addresses={}", address.ip()),
            format!("port={}", address.port()),
            format!("unix_socket_directories={}", folder.display()),
            "max_connections=200".to_owned(),
            // The data lives as long as the test.
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
            "synchronous_commit=off".to_owned(),
            "dynamic_shared_memory_type=mmap".to_owned(),
        ];
        command.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        let plan = Plan {
            package: "postgresql",
            command,
            environment: Vec::new(),
            instead_of_root: Some("postgres"),
            stop_signal: "INT",
            last_signal: "QUIT",
        };
        let server = Postgres { guardian: Guardian::start(folder, &plan), address };
        server.wait_until_ready();
        server
    }

    /// Makes an empty database and says its URL.
    pub fn new_database(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.say("postgres", &format!("CREATE DATABASE {name}"));
        format!("postgres://larder@{}/{name}", self.address)
    }

    /// What `psql` prints for a statement in this database: rows, columns parted by `|`.
    pub fn say(&self, database: &str, statement: &str) -> String {
        let output = self.ask(database, statement);
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn ask(&self, database: &str, statement: &str) -> Output {
        let program = find_program("psql").expect("psql is not installed: apt-get install postgresql-client");
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        Command::new(program)
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &host,
                "-p",
                &port,
                "-U",
                "larder",
                "-d",
                database,
                "-c",
                statement,
            ])
            .env("PGCONNECT_TIMEOUT", "30")
            .output()
            .expect("psql starts")
    }

    pub fn socket_address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it again on the same port with the data it had, after `stop`.
    pub fn start_again(&self) {
        self.guardian.start_again();
        self.wait_until_ready();
    }

    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    fn wait_until_ready(&self) {
        let answers =
            || std::net::TcpStream::connect(self.address).is_ok() && self.ask("postgres", "SELECT 1").status.success();
        let is_ready = self.guardian.wait_until_ready(DEADLINE, answers);
        assert!(is_ready, "PostgreSQL ended instead of starting:\n{}", self.guardian.log());
    }
}

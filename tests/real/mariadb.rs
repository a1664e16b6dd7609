//! A real MariaDB of the test process: one server, and a database for each test that asks.

use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::guardian::{Guardian, Plan, find_program};
use super::place::{new_folder, next_address};

/// `mariadb-install-db` takes some seconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(180);

pub struct MariaDb {
    guardian: Guardian,
    address: SocketAddr,
}

/// It can be paused, resumed and stopped, and has a folder and a process number.
impl Deref for MariaDb {
    type Target = Guardian;

    fn deref(&self) -> &Guardian {
        &self.guardian
    }
}

/// Makes the data on the first start. `$0` is the server, the rest are its arguments. The folder for temporary tables is its
/// own: a server that starts clears away what it finds in there, another server's tables too.
const START: &str = r#"
mkdir -p tmp && export TMPDIR="$PWD/tmp"
if [ ! -e data/mysql ]; then
    mariadb-install-db --no-defaults --datadir="$PWD/data" --auth-root-authentication-method=normal --skip-test-db \
        --skip-name-resolve || exit
fi
exec "$0" --no-defaults --datadir="$PWD/data" --socket="$PWD/socket" --pid-file="$PWD/pid" --init-file="$PWD/users.sql" "$@"
"#;

impl MariaDb {
    /// The one that the tests of this process share. It ends with the process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(MariaDb::start)
    }

    /// One of its own, for tests that pause and restart it.
    pub fn start() -> Self {
        let server = find_program("mariadbd").expect("MariaDB is not installed: apt-get install mariadb-server");
        let address = next_address();
        let folder = new_folder("mariadb");
        let users = "CREATE USER IF NOT EXISTS 'larder'@'%' IDENTIFIED BY 'larder';\n\
                     GRANT ALL PRIVILEGES ON *.* TO 'larder'@'%' WITH GRANT OPTION;\n";
        std::fs::write(folder.join("users.sql"), users).expect("the folder is ours");
        let mut command: Vec<String> = ["sh", "-c", START, &server.display().to_string()].map(str::to_owned).to_vec();
        let (host, port) = (address.ip(), address.port());
        command.extend([format!("--bind-address={host}"), format!("--port={port}")]);
        let settings = [
            "--skip-name-resolve",
            "--max-connections=300",
            "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync",
        ];
        command.extend(settings.map(str::to_owned));
        let plan = Plan {
            package: "mariadb-server",
            command,
            environment: Vec::new(),
            instead_of_root: Some("mysql"),
            stop_signal: "TERM",
            last_signal: "KILL",
        };
        let server = MariaDb { guardian: Guardian::start(folder, &plan), address };
        server.wait_until_ready();
        server
    }

    /// Makes an empty database and says its URL.
    pub fn new_database(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.say("mysql", &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"));
        format!("mysql://larder:larder@{}/{name}", self.address)
    }

    /// What the client prints for a statement in this database: rows, columns parted by tabs.
    pub fn say(&self, database: &str, statement: &str) -> String {
        let output = self.ask(database, statement);
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn ask(&self, database: &str, statement: &str) -> Output {
        let program = find_program("mariadb").expect("mariadb is not installed: apt-get install mariadb-client");
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        Command::new(program)
            .args([
                "--no-defaults",
                "--batch",
                "--skip-column-names",
                "--connect-timeout=30",
                "--default-character-set=utf8mb4",
            ])
            .args(["--protocol=tcp", "-h", &host, "-P", &port, "-ularder", "-plarder", "-D", database, "-e", statement])
            .output()
            .expect("mariadb starts")
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
        let answers = || TcpStream::connect(self.address).is_ok() && self.ask("mysql", "SELECT 1").status.success();
        let is_ready = self.guardian.wait_until_ready(DEADLINE, answers);
        assert!(is_ready, "MariaDB ended instead of starting:\n{}", self.guardian.log());
    }
}

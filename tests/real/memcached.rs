//! A real memcached: plain, on a unix socket, with SASL, with ASCII auth, with TLS, with any other arguments.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::certificate::Certificates;
use super::guardian::{Guardian, Plan, find_program};
use super::place::{new_folder, next_port, own_host};

const DEADLINE: Duration = Duration::from_secs(60);

pub struct Memcached {
    guardian: Guardian,
    place: Place,
    hello: Hello,
    certificates: Option<Certificates>,
}

/// It can be paused, resumed and stopped, and has a folder and a process number.
impl Deref for Memcached {
    type Target = Guardian;

    fn deref(&self) -> &Guardian {
        &self.guardian
    }
}

#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What an answering server is asked with.
#[derive(Clone, Copy, PartialEq)]
enum Hello {
    Text,
    Binary,
    Connect,
}

/// How a memcached is to be started.
pub struct Start {
    arguments: Vec<String>,
    host: Option<IpAddr>,
    on_unix_socket: bool,
    sasl: Option<(String, String)>,
    ascii_auth: Option<(String, String)>,
    with_tls: bool,
}

impl Memcached {
    /// One with the default settings on a TCP port.
    pub fn start() -> Self {
        Memcached::with(&[]).start()
    }

    /// One with arguments such as `["-m", "64", "-I", "2m"]`; more can be asked of what this returns.
    pub fn with(arguments: &[&str]) -> Start {
        Start {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            host: None,
            on_unix_socket: false,
            sasl: None,
            ascii_auth: None,
            with_tls: false,
        }
    }

    /// `host:port`, `[host]:port`, or the path of the unix socket.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Tcp(address) => address.to_string(),
            Place::Unix(path) => path.display().to_string(),
        }
    }

    /// Where a TCP server listens.
    pub fn socket_address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) => *address,
            Place::Unix(path) => panic!("this memcached listens on {}", path.display()),
        }
    }

    /// The URL of this server without user and password.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Tcp(address) if self.certificates.is_some() => format!("memcached+tls://{address}"),
            Place::Tcp(address) => format!("memcached://{address}"),
            Place::Unix(path) => format!("memcached+unix://{}", path.display()),
        }
    }

    /// What a client must trust to speak TLS with this server.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("this memcached was started with tls()")
    }

    /// Ends it; its port refuses connections.
    pub fn stop(&self) {
        self.guardian.kill();
    }

    /// Starts it again, empty, on the same port, after `stop`.
    pub fn start_again(&self) {
        self.guardian.start_again();
        let place = self.place.clone();
        let is_ready = self.guardian.wait_until_ready(DEADLINE, || place.answers(self.hello));
        assert!(is_ready, "memcached ended instead of starting again:\n{}", self.guardian.log());
    }

    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// One command of the text protocol on a connection of its own, and what came back until the server had no more to say.
    /// The command says itself when the answer ends: `quit\r\n` is sent after it.
    pub fn say(&self, command: impl AsRef<[u8]>) -> Vec<u8> {
        let said = [command.as_ref(), b"quit\r\n"].concat();
        match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).expect("memcached listens");
                stream.set_read_timeout(Some(DEADLINE)).expect("it is not zero");
                exchange(stream, &said)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).expect("memcached listens");
                stream.set_read_timeout(Some(DEADLINE)).expect("it is not zero");
                exchange(stream, &said)
            }
        }
    }

    /// A number of `stats`, such as `curr_connections`.
    pub fn stat(&self, name: &str) -> u64 {
        let stats = String::from_utf8(self.say("stats\r\n")).expect("stats are text");
        let line = stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("stats have no number {name}"))
    }
}

impl Start {
    /// Listens on this address, such as `::1`, instead of the one of the test process.
    pub fn host(mut self, host: IpAddr) -> Self {
        self.host = Some(host);
        self
    }

    /// Listens on a unix socket only.
    pub fn unix_socket(mut self) -> Self {
        self.on_unix_socket = true;
        self
    }

    /// Asks for this user by SASL PLAIN (`-S`): the binary protocol only.
    pub fn sasl(mut self, user: &str, password: &str) -> Self {
        self.sasl = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Asks for this user by the ASCII auth (`-Y`).
    pub fn ascii_auth(mut self, user: &str, password: &str) -> Self {
        self.ascii_auth = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Speaks TLS (`-Z`) with a certificate for its address, `localhost` included.
    pub fn tls(mut self) -> Self {
        self.with_tls = true;
        self
    }

    pub fn start(self) -> Memcached {
        for _ in 0..50 {
            if let Some(server) = self.try_once() {
                return server;
            }
        }
        panic!("memcached found no free port");
    }

    /// None if the port was taken.
    fn try_once(&self) -> Option<Memcached> {
        let folder = new_folder("memcached");
        let host = self.host.unwrap_or_else(own_host);
        let place = match self.on_unix_socket {
            true => Place::Unix(folder.join("socket")),
            false => Place::Tcp(SocketAddr::new(host, next_port())),
        };
        // As root, memcached asks whom to be instead; it may stay root.
        let mut command: Vec<String> = ["memcached", "-u", "root"].map(str::to_owned).to_vec();
        if !super::place::is_root() {
            command.drain(1..3);
        }
        match &place {
            Place::Tcp(address) => {
                command.extend(["-l".into(), address.ip().to_string(), "-p".into(), address.port().to_string()]);
            }
            Place::Unix(path) => command.extend(["-s".into(), path.display().to_string(), "-a".into(), "700".into()]),
        }
        let mut environment = Vec::new();
        let mut hello = Hello::Text;
        if let Some((user, password)) = &self.sasl {
            hello = Hello::Binary;
            command.push("-S".into());
            write_sasl_database(&folder, user, password);
            environment.push(("SASL_CONF_PATH".to_owned(), folder.display().to_string()));
        }
        if let Some((user, password)) = &self.ascii_auth {
            let file = folder.join("users");
            std::fs::write(&file, format!("{user}:{password}\n")).expect("the folder is ours");
            command.extend(["-Y".into(), file.display().to_string()]);
        }
        let certificates = self.with_tls.then(|| {
            hello = Hello::Connect;
            let certificates = Certificates::for_host(host, &folder);
            command.extend(["-Z", "-o"].map(str::to_owned));
            let (chain, key) = (certificates.server_chain.display(), certificates.server_key.display());
            command.push(format!("ssl_chain_cert={chain},ssl_key={key}"));
            certificates
        });
        command.extend(self.arguments.iter().cloned());
        let plan = Plan {
            package: "memcached",
            command,
            environment,
            instead_of_root: None,
            stop_signal: "KILL",
            last_signal: "KILL",
        };
        let guardian = Guardian::start(folder, &plan);
        if guardian.wait_until_ready(DEADLINE, || place.answers(hello)) {
            return Some(Memcached { guardian, place, hello, certificates });
        }
        let log = guardian.log();
        assert!(log.contains("in use") || log.contains("failed to listen"), "memcached does not start:\n{log}");
        None
    }
}

impl Place {
    fn answers(&self, hello: Hello) -> bool {
        match self {
            Place::Tcp(address) => TcpStream::connect(address).is_ok_and(|stream| greets(stream, hello)),
            Place::Unix(path) => UnixStream::connect(path).is_ok_and(|stream| greets(stream, hello)),
        }
    }
}

fn exchange(mut stream: impl Read + Write, said: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.write_all(said).and_then(|()| stream.read_to_end(&mut answer)).expect("memcached answers");
    answer
}

/// An answer of any kind: a server that asks for a password answers, too.
fn greets(mut stream: impl Read + Write, hello: Hello) -> bool {
    // The binary command `version`: magic 0x80, opcode 0x0b, nothing else.
    let mut version = [0; 24];
    version[..2].copy_from_slice(&[0x80, 0x0b]);
    let question: &[u8] = match hello {
        Hello::Text => b"version\r\n",
        Hello::Binary => &version,
        Hello::Connect => return true,
    };
    stream.write_all(question).is_ok() && stream.read(&mut [0; 64]).is_ok_and(|count| count > 0)
}

/// What Debian's memcached finds users in: a database of Cyrus SASL.
fn write_sasl_database(folder: &Path, user: &str, password: &str) {
    let database = folder.join("sasldb");
    let settings = format!(
        "mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\n",
        database.display()
    );
    std::fs::write(folder.join("memcached.conf"), settings).expect("the folder is ours");
    let program = find_program("saslpasswd2").expect("saslpasswd2 is not installed: apt-get install sasl2-bin");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut child = Command::new(program)
        .args(["-p", "-c", "-a", "memcached", "-u", host.trim(), "-f"])
        .arg(&database)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .expect("saslpasswd2 starts");
    let mut pipe = child.stdin.take().expect("it is a pipe");
    pipe.write_all(password.as_bytes()).expect("saslpasswd2 reads the password");
    drop(pipe);
    assert!(child.wait().expect("saslpasswd2 ends").success(), "saslpasswd2 does not store the user");
}

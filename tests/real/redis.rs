//! A real redis-server: TCP and a unix socket at once, with any other arguments.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use super::certificate::Certificates;
use super::guardian::{Guardian, Plan};
use super::place::{Folder, new_folder, next_address};

const DEADLINE: Duration = Duration::from_secs(60);

pub struct Redis {
    guardian: Guardian,
    address: SocketAddr,
    password: Option<String>,
    certificates: Option<Certificates>,
}

/// It can be paused, resumed and stopped, and has a folder and a process number.
impl Deref for Redis {
    type Target = Guardian;

    fn deref(&self) -> &Guardian {
        &self.guardian
    }
}

impl Redis {
    /// One that keeps nothing on disk.
    pub fn start() -> Self {
        Redis::with(&[])
    }

    /// One with arguments such as `["--maxmemory", "8mb"]`, `["--requirepass", "secret"]` or `["--cluster-enabled", "yes"]`.
    pub fn with(arguments: &[&str]) -> Self {
        (0..50).find_map(|_| Redis::try_once(arguments, false)).expect("redis-server finds a free port")
    }

    /// One that speaks only TLS on its port, and asks no client for a certificate.
    pub fn with_tls(arguments: &[&str]) -> Self {
        (0..50).find_map(|_| Redis::try_once(arguments, true)).expect("redis-server finds a free port")
    }

    /// Another process of the same binary: a sentinel on this settings file, which it rewrites.
    pub fn sentinel(settings: &str) -> Self {
        let start = || {
            let folder = new_folder("sentinel");
            let file = folder.join("sentinel.conf");
            std::fs::write(&file, settings).expect("the folder is ours");
            Redis::launch(folder, &[&file.display().to_string(), "--sentinel"], false)
        };
        (0..50).find_map(|_| start()).expect("the sentinel finds a free port")
    }

    fn try_once(arguments: &[&str], with_tls: bool) -> Option<Self> {
        let mut all = vec!["--save", "", "--appendonly", "no"];
        all.extend(arguments);
        Redis::launch(new_folder("redis"), &all, with_tls)
    }

    /// None if the port was taken.
    fn launch(folder: Folder, arguments: &[&str], with_tls: bool) -> Option<Self> {
        let address = next_address();
        let mut command: Vec<String> = vec!["redis-server".into()];
        command.extend(arguments.iter().map(ToString::to_string));
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let socket = folder.join("socket").display().to_string();
        let home = folder.display().to_string();
        let ours =
            ["--bind", &host, "--unixsocket", &socket, "--unixsocketperm", "700", "--dir", &home, "--daemonize", "no"];
        command.extend(ours.map(str::to_owned));
        let certificates = with_tls.then(|| Certificates::for_host(address.ip(), &folder));
        match &certificates {
            None => command.extend(["--port".to_owned(), port]),
            Some(certificates) => {
                let chain = certificates.server_chain.display().to_string();
                let key = certificates.server_key.display().to_string();
                let authority = certificates.authority.display().to_string();
                let tls = ["--port", "0", "--tls-port", &port, "--tls-cert-file", &chain, "--tls-key-file", &key];
                command.extend(tls.map(str::to_owned));
                command.extend(["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no"].map(str::to_owned));
            }
        }
        let password = arguments.windows(2).find(|pair| pair[0] == "--requirepass").map(|pair| pair[1].to_owned());
        let plan = Plan {
            package: "redis-server",
            command,
            environment: Vec::new(),
            instead_of_root: None,
            stop_signal: "TERM",
            last_signal: "KILL",
        };
        let guardian = Guardian::start(folder, &plan);
        if guardian.wait_until_ready(DEADLINE, || answers(address, with_tls)) {
            return Some(Redis { guardian, address, password, certificates });
        }
        let log = guardian.log();
        assert!(log.contains("in use"), "redis-server does not start:\n{log}");
        None
    }

    pub fn socket_address(&self) -> SocketAddr {
        self.address
    }

    /// `redis://:password@host:port`, or `rediss://`.
    pub fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "rediss" } else { "redis" };
        let user = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("{scheme}://{user}{}", self.address)
    }

    pub fn unix_socket(&self) -> PathBuf {
        self.guardian.folder().join("socket")
    }

    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("this Redis was started with_tls")
    }

    /// Starts it again on the same port, empty unless its arguments say otherwise, after `stop`.
    pub fn start_again(&self) {
        self.guardian.start_again();
        let is_ready = self.guardian.wait_until_ready(DEADLINE, || answers(self.address, self.certificates.is_some()));
        assert!(is_ready, "redis-server ended instead of starting again:\n{}", self.guardian.log());
    }

    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }
}

fn answers(address: SocketAddr, with_tls: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    if with_tls {
        return true;
    }
    let mut answer = [0; 64];
    let count = stream.write_all(b"PING\r\n").and_then(|()| stream.read(&mut answer)).unwrap_or(0);
    count > 0 && !answer.starts_with(b"-LOADING")
}

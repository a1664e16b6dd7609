//! How bytes get to a server: its address, and an open connection over TCP, a unix socket or TLS.
//! The servers of a client, and its admin streams, open their connections here, under a deadline of their own.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::Error;
use super::ring::Node;
use super::tls::Connector;

/// Where memcached listens if nobody says otherwise.
const DEFAULT_PORT: u16 = 11211;

/// How long one address of a host is tried alone before the next is tried beside it.
const HEAD_START: Duration = Duration::from_millis(50);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// A host name or an IP address, an IPv6 one without its brackets.
    Tcp { host: String, port: u16 },
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The server as the placement schemes see it.
    pub(crate) fn node(&self, weight: u32) -> Node {
        match self {
            Address::Tcp { host, port } => Node { host: host.clone(), port: Some(*port), weight },
            Address::Unix(path) => Node { host: path.to_string_lossy().into_owned(), port: None, weight },
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Reads what Django's `LOCATION` holds (MEM-1): `host`, `host:port`, `[::1]`, `[::1]:port`, `/path` or `unix:/path`.
    fn from_str(text: &str) -> Result<Self, Error> {
        // What stands before an @ may be a password.
        let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
        let problem = |what: &str| {
            Error::Config(format!(
                "{shown:?} is not the address of a memcached server: {what}; write host:port, [::1]:11211 or /path/to/socket"
            ))
        };
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text)) {
            return match path {
                _ if !cfg!(unix) => Err(problem("this system has no unix sockets")),
                "" | "/" => Err(problem("it has no path")),
                _ if path.contains('\0') => Err(problem("it has a zero byte in it")),
                _ => Ok(Address::Unix(PathBuf::from(path))),
            };
        }
        if text.contains('@') {
            return Err(problem("user and password do not stand in an address, but in a URL or in sasl() and auth()"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| problem("its bracket does not close"))?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| problem("no IPv6 address stands in the brackets"))?;
                match rest {
                    "" => (host, None),
                    _ => (host, Some(rest.strip_prefix(':').ok_or_else(|| problem("no port follows the bracket"))?)),
                }
            }
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(problem("an IPv6 address needs brackets")),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_name = |character: char| character.is_alphanumeric() || matches!(character, '.' | '-' | '_' | ':');
        if host.is_empty() {
            return Err(problem("it has no host"));
        }
        if !host.chars().all(is_name) {
            return Err(problem("its host is no name and no IP address"));
        }
        let port = match port {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| problem("its port is not from 1 to 65535"))?,
            Some(_) => return Err(problem("its port is no number")),
            None => DEFAULT_PORT,
        };
        Ok(Address::Tcp { host: host.to_owned(), port })
    }
}

/// An open connection to a server.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Opens a connection. It takes as long as it takes: the caller sets the deadline, and may drop it at any time.
///
/// A host with several addresses is tried in the order of its resolver, each with a short head start before the next.
pub(crate) async fn connect(address: &Address, tls: Option<&Connector>) -> io::Result<Stream> {
    match address {
        Address::Tcp { host, port } => {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), *port)).await?.collect();
            let stream = first_to_connect(addresses).await?;
            // Requests are small and waited for: none may wait for the next to fill a packet.
            stream.set_nodelay(true)?;
            match tls {
                Some(connector) => Ok(Stream::Tls(Box::new(connector.shake_hands(host, stream).await?))),
                None => Ok(Stream::Tcp(stream)),
            }
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

async fn first_to_connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut last_problem = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    loop {
        match waiting.next() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(last_problem),
            None => {}
        }
        let finished = match waiting.len() {
            0 => attempts.join_next().await,
            _ => match timeout(HEAD_START, attempts.join_next()).await {
                Ok(finished) => finished,
                Err(_) => continue,
            },
        };
        match finished {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(problem))) => last_problem = problem,
            Some(Err(problem)) => last_problem = io::Error::other(problem),
            None => {}
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => match Pin::new(stream).poll_read(cx, buffer) {
                // memcached closes without the farewell of TLS. An end in the middle of an answer is noticed all the same:
                // answers say how long they are.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => read,
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_django_reads_them_and_shown_as_they_are_written() {
        for (text, shown) in [
            ("cache", "cache:11211"),
            ("127.0.0.1:11311", "127.0.0.1:11311"),
            ("cache-1.example.internal:1", "cache-1.example.internal:1"),
            ("[::1]", "[::1]:11211"),
            ("[fe80::1]:65535", "[fe80::1]:65535"),
            ("unix:/run/memcached.sock", "/run/memcached.sock"),
            ("/run/mem cached.sock", "/run/mem cached.sock"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_an_error_that_shows_how_to_write_one() {
        for text in [
            "",
            ":11211",
            "cache:",
            "cache:0",
            "cache:65536",
            "cache:+1",
            "cache:11211x",
            "::1",
            "::1:11211",
            "[::1",
            "[::1]11211",
            "[cache]:1",
            "a b",
            "a\r\nflush_all",
            "unix:",
            "/",
            "/run/\0",
            "user@cache",
            "http://cache",
        ] {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains("write host:port, [::1]:11211 or /path/to/socket"), "{text:?}: {message}");
        }
        let message = "larder:hunter2@cache".parse::<Address>().unwrap_err().to_string();
        assert!(message.starts_with("\"cache\" is not") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn the_placement_schemes_see_an_ipv6_host_without_brackets_and_a_socket_by_its_path() {
        let node = |text: &str| text.parse::<Address>().unwrap().node(2);
        assert_eq!(node("[::1]:11212"), Node { host: "::1".to_owned(), port: Some(11212), weight: 2 });
        assert_eq!(node("/run/m.sock"), Node { host: "/run/m.sock".to_owned(), port: None, weight: 2 });
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_keep_the_next_one_from_being_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let closed = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        // Nobody answers there: it is reserved for documentation (RFC 5737).
        let silent = "192.0.2.1:11211".parse().unwrap();
        let stream = first_to_connect(vec![closed, silent, here]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), here);
        assert!(first_to_connect(vec![closed, closed]).await.is_err());
        assert!(first_to_connect(Vec::new()).await.unwrap_err().to_string().contains("no address"));
    }
}

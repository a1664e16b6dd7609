//! A client out of one line of configuration: what a `memcached://` URL and the variables of hosting platforms say.
//! [`ClientBuilder::from_url`], [`ClientBuilder::from_env`] and `Cache::connect` read them here. No error repeats a password.

use std::time::Duration;

use super::builder::{ClientBuilder, WhenDown};
use super::error::Error;
use super::tls::Tls;
use super::transport::Address;
use crate::percent::decoded;

/// What every URL of a client may say.
const OPTIONS: [&str; 10] = [
    "distribution",
    "hash",
    "connect_timeout",
    "timeout",
    "read_timeout",
    "write_timeout",
    "largest_value",
    "compress_over",
    "when_down",
    "auth",
];

/// What a URL of a client over TLS may say besides.
const TLS_OPTIONS: [&str; 5] = ["ca", "cert", "cert_key", "server_name", "verify"];

/// A setting of the builder.
type Set<T> = fn(ClientBuilder, T) -> ClientBuilder;

/// Times; the general one comes first, so that those for one kind of operation win.
const TIMES: [(&str, Set<Duration>); 4] = [
    ("connect_timeout", ClientBuilder::connect_timeout),
    ("timeout", ClientBuilder::timeout),
    ("read_timeout", ClientBuilder::read_timeout),
    ("write_timeout", ClientBuilder::write_timeout),
];

/// Sizes in bytes.
const SIZES: [(&str, Set<usize>); 2] =
    [("largest_value", ClientBuilder::largest_value), ("compress_over", ClientBuilder::compress_over)];

/// The variables of hosting platforms begin with one of these; the first that names servers counts.
const PLATFORMS: [&str; 3] = ["MEMCACHE", "MEMCACHIER", "MEMCACHEDCLOUD"];

impl ClientBuilder {
    /// What a URL says; more may be set up before it is built.
    ///
    /// | URL | servers |
    /// |---|---|
    /// | `memcached://a:11211,b:11211*3,[::1]:11211` | hosts; the port is 11211 where none is named; `*3` is a weight |
    /// | `memcached+tls://user:password@a:11211` | the same over TLS; with a user, in every scheme, the client logs in |
    /// | `memcached+unix:///run/memcached.sock` | unix sockets |
    ///
    /// | option | meaning | default |
    /// |---|---|---|
    /// | `distribution` | a [`Distribution`](super::Distribution): `rendezvous`, `modula`, `ketama`, `ketama_weighted`, `crc32` | `rendezvous` |
    /// | `hash` | a [`KeyHash`](super::KeyHash), for `modula`, `ketama` and `ketama_weighted` | the distribution's |
    /// | `connect_timeout` | how long connecting may take, with its unit: `250ms` or `1s` | 250 ms |
    /// | `timeout` | how long every operation may take | |
    /// | `read_timeout`, `write_timeout` | how long those may take that read, or write; they win over `timeout` | 50 ms, 250 ms |
    /// | `largest_value` | the largest value that is sent, in bytes | 1048576 |
    /// | `compress_over` | [compresses](Self::compress_over) values of so many bytes and more | off |
    /// | `when_down` | a [`WhenDown`]: `fail` or `next_server` | `fail` |
    /// | `auth` | how the user logs in: `sasl` (`memcached -S`) or `ascii` (`memcached -Y`) | `sasl` |
    /// | `ca` | TLS: a file of authorities (PEM) to trust besides the system's | |
    /// | `cert`, `cert_key` | TLS: files (PEM) of the client's own certificate and its key | |
    /// | `server_name` | TLS: the name that the server's certificate is for | its host |
    /// | `verify` | TLS: `no` takes any certificate, for experiments | `yes` |
    ///
    /// User, password, paths and values are percent-encoded: `@` is `%40`, `/` may stay.
    ///
    /// ```
    /// use larder::memcached::{ClientBuilder, Distribution};
    ///
    /// let builder = ClientBuilder::from_url("memcached://a:11211,b:11211?distribution=ketama&timeout=1s")?;
    /// let error = ClientBuilder::from_url("memcached://a?distribution=ring").err().unwrap();
    /// assert!(error.to_string().contains("known are rendezvous, modula, ketama"));
    /// # Ok::<(), larder::memcached::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] says what cannot be read, and what could stand there.
    pub fn from_url(url: &str) -> Result<ClientBuilder, Error> {
        read(url, &[]).map(|(builder, _)| builder)
    }

    /// What the environment says on platforms such as Heroku, if it says anything: `MEMCACHE_SERVERS`,
    /// `MEMCACHE_USERNAME`, `MEMCACHE_PASSWORD`, or the same with `MEMCACHIER_` or `MEMCACHEDCLOUD_`. Servers stand apart by
    /// commas, semicolons or blanks; a user logs in by SASL.
    ///
    /// # Errors
    /// [`Error::Config`] names the variable that cannot be read.
    pub fn from_env() -> Result<Option<ClientBuilder>, Error> {
        ClientBuilder::from_variables(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(config(format!("{name} is not UTF-8"))),
        })
    }

    /// What the variables of the first platform that names servers say.
    pub(crate) fn from_variables(
        variable: impl Fn(&str) -> Result<Option<String>, Error>,
    ) -> Result<Option<ClientBuilder>, Error> {
        for platform in PLATFORMS {
            let name = |what: &str| format!("{platform}_{what}");
            let read = |what: &str| Ok(variable(&name(what))?.filter(|value| !value.trim().is_empty()));
            let Some(servers) = read("SERVERS")? else { continue };
            let stands_apart = |character: char| matches!(character, ',' | ';') || character.is_whitespace();
            let mut builder = ClientBuilder::new();
            for address in servers.split(stands_apart).filter(|address| !address.is_empty()) {
                let problem = address.parse::<Address>().err();
                problem.map_or(Ok(()), |problem| Err(config(format!("{}: {problem}", name("SERVERS")))))?;
                builder = builder.server(address);
            }
            builder = match (read("USERNAME")?, read("PASSWORD")?) {
                (Some(user), Some(password)) => builder.sasl(user, password),
                (None, None) => builder,
                (Some(_), None) => {
                    return Err(config(format!("{} is set, {} is not", name("USERNAME"), name("PASSWORD"))));
                }
                (None, Some(_)) => {
                    return Err(config(format!("{} is set, {} is not", name("PASSWORD"), name("USERNAME"))));
                }
            };
            return Ok(Some(builder));
        }
        Ok(None)
    }
}

/// What a URL says, and those of its options that are the caller's own (`others`), decoded. They win where the client
/// has an option of the same name.
pub(crate) fn read(url: &str, others: &[&str]) -> Result<(ClientBuilder, Vec<(String, String)>), Error> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| config(format!("a memcached URL begins with {SCHEMES}")))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if query.contains('@') {
        let message =
            "an @ stands behind the ? of a memcached URL: write ? as %3F and @ as %40 in user, password and values";
        return Err(config(message.to_owned()));
    }
    let kind = Kind::named(scheme)?;
    let (login, servers) = match place.rsplit_once('@') {
        Some((login, servers)) => (Some(login), servers),
        None => (None, place),
    };
    let mut options = Options::read(query, kind, others)?;
    let mut builder = add_servers(ClientBuilder::new(), servers, kind)?;
    builder = apply(builder, &mut options)?;
    if kind == Kind::Tls {
        builder = builder.tls(tls(&mut options)?);
    }
    builder = match (login, options.take("auth").as_deref()) {
        (Some(login), Some("sasl") | None) => log_in(builder, login, ClientBuilder::sasl)?,
        (Some(login), Some("ascii")) => log_in(builder, login, ClientBuilder::auth)?,
        (_, Some(way @ ("sasl" | "ascii"))) => {
            return Err(config(format!("auth={way} needs a user: write memcached://user:password@host")));
        }
        (_, Some(way)) => return Err(unreadable("auth", way, "sasl or ascii")),
        (None, None) => builder,
    };
    Ok((builder, options.given))
}

const SCHEMES: &str = "memcached://, memcached+tls:// or memcached+unix://";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Tls,
    Unix,
}

impl Kind {
    fn named(scheme: &str) -> Result<Kind, Error> {
        match scheme {
            "memcached" => Ok(Kind::Tcp),
            "memcached+tls" => Ok(Kind::Tls),
            "memcached+unix" => Ok(Kind::Unix),
            // It may be the beginning of a password: it is not repeated.
            _ => Err(config(format!("a memcached URL begins with {SCHEMES}"))),
        }
    }
}

fn add_servers(builder: ClientBuilder, servers: &str, kind: Kind) -> Result<ClientBuilder, Error> {
    let servers = if kind == Kind::Unix { servers } else { servers.strip_suffix('/').unwrap_or(servers) };
    servers.split(',').try_fold(builder, |builder, server| {
        let (address, weight) = match server.rsplit_once('*') {
            Some((address, weight)) => (address, number("the weight of a memcached server", weight)?),
            None => (server, 1),
        };
        let address = decoded(address)
            .ok_or_else(|| config(format!("the memcached server {address:?} is not percent-encoded UTF-8")))?;
        match (kind, address.starts_with('/')) {
            _ if address.is_empty() => {
                Err(config("a memcached URL names no server, or has a comma too many: memcached://host:11211".to_owned()))
            }
            (Kind::Unix, false) => Err(config(format!(
                "the path {address:?} of a unix socket does not begin with a slash: memcached+unix:///run/memcached.sock"
            ))),
            (Kind::Tcp | Kind::Tls, true) => {
                Err(config(format!("{address:?} is a path: a memcached unix socket is memcached+unix:///path")))
            }
            _ => Ok(builder.weighted_server(address, weight)),
        }
    })
}

fn apply(mut builder: ClientBuilder, options: &mut Options) -> Result<ClientBuilder, Error> {
    if let Some(name) = options.take("distribution") {
        builder = builder.distribution(name.parse()?);
    }
    if let Some(name) = options.take("hash") {
        builder = builder.key_hash(name.parse()?);
    }
    for (name, set) in TIMES {
        if let Some(text) = options.take(name) {
            builder = set(builder, time(name, &text)?);
        }
    }
    for (name, set) in SIZES {
        if let Some(text) = options.take(name) {
            builder = set(builder, number(name, &text)?);
        }
    }
    Ok(match options.take("when_down").as_deref() {
        None => builder,
        Some("fail") => builder.when_down(WhenDown::Fail),
        Some("next_server") => builder.when_down(WhenDown::NextServer),
        Some(other) => return Err(unreadable("when_down", other, "fail or next_server")),
    })
}

fn tls(options: &mut Options) -> Result<Tls, Error> {
    let mut tls = Tls::new();
    if let Some(path) = options.take("ca") {
        tls = tls.certificate_authority(file("ca", &path)?);
    }
    tls = match (options.take("cert"), options.take("cert_key")) {
        (Some(cert), Some(key)) => tls.client_certificate(file("cert", &cert)?, file("cert_key", &key)?),
        (None, None) => tls,
        (Some(_), None) => return Err(config("cert of a memcached URL needs cert_key, its private key".to_owned())),
        (None, Some(_)) => return Err(config("cert_key of a memcached URL needs cert, its certificate".to_owned())),
    };
    if let Some(name) = options.take("server_name") {
        tls = tls.server_name(name);
    }
    match options.take("verify").as_deref() {
        None | Some("yes") => Ok(tls),
        Some("no") => Ok(tls.accept_any_certificate()),
        Some(other) => Err(unreadable("verify", other, "yes or no")),
    }
}

fn log_in(
    builder: ClientBuilder,
    login: &str,
    way: fn(ClientBuilder, String, String) -> ClientBuilder,
) -> Result<ClientBuilder, Error> {
    if login.contains('@') {
        let message = "user and password stand once in a memcached URL, before the servers; an @ in them is %40";
        return Err(config(message.to_owned()));
    }
    let (user, password) = login
        .split_once(':')
        .ok_or_else(|| config("a memcached URL has a user without a password: user:password@host".to_owned()))?;
    match (decoded(user), decoded(password)) {
        (Some(user), Some(password)) if !user.is_empty() => Ok(way(builder, user, password)),
        (Some(_), Some(_)) => {
            Err(config("a memcached URL has a password without a user: user:password@host".to_owned()))
        }
        _ => Err(config("user or password of a memcached URL is not percent-encoded UTF-8: write % as %25".to_owned())),
    }
}

/// The options of a URL, decoded.
struct Options {
    given: Vec<(String, String)>,
    /// Those that are left for the caller.
    others: Vec<String>,
}

impl Options {
    fn read(query: &str, kind: Kind, others: &[&str]) -> Result<Options, Error> {
        let own_to_tls: &[&str] = if kind == Kind::Tls { &TLS_OPTIONS } else { &[] };
        let mut given: Vec<(String, String)> = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                // It may be what stands behind a `?` of a password, and is not repeated.
                return Err(config(
                    "an option of a memcached URL has a name that is no word: write ? as %3F and & as %26 in a password"
                        .to_owned(),
                ));
            }
            if ![&OPTIONS[..], own_to_tls, others].concat().contains(&name) {
                let mut known = [&OPTIONS[..], own_to_tls].concat();
                known.extend(others.iter().filter(|other| !OPTIONS.contains(other)));
                let hint = if TLS_OPTIONS.contains(&name) { " (that one is for memcached+tls://)" } else { "" };
                let known = known.join(", ");
                return Err(config(format!("unknown option {name:?} of a memcached URL: known are {known}{hint}")));
            }
            if given.iter().any(|(other, _)| other == name) {
                return Err(config(format!("the option {name:?} of a memcached URL is given twice")));
            }
            let value = decoded(value).ok_or_else(|| unreadable(name, value, "percent-encoded UTF-8"))?;
            given.push((name.to_owned(), value));
        }
        Ok(Options { given, others: others.iter().map(|&other| other.to_owned()).collect() })
    }

    /// Takes out an option of the client.
    fn take(&mut self, name: &str) -> Option<String> {
        if self.others.iter().any(|other| other == name) {
            return None;
        }
        let position = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.remove(position).1)
    }
}

fn time(name: &str, text: &str) -> Result<Duration, Error> {
    let (digits, milliseconds) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 1000),
        // Some clients mean seconds by a number alone, some milliseconds.
        (None, None) => ("", 1),
    };
    let wanted = "a time above zero with its unit, such as 250ms or 1s";
    let time = digits.parse::<u32>().map(|number| Duration::from_millis(u64::from(number) * milliseconds));
    match time {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(unreadable(name, text, wanted)),
    }
}

fn number<N: std::str::FromStr>(name: &str, text: &str) -> Result<N, Error> {
    text.parse().map_err(|_| unreadable(name, text, "a whole number"))
}

fn file(name: &str, path: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|problem| config(format!("{name} of a memcached URL is {path:?}: {problem}")))
}

fn unreadable(name: &str, value: &str, wanted: &str) -> Error {
    config(format!("{name} of a memcached URL is {value:?}, which is not {wanted}"))
}

fn config(message: String) -> Error {
    Error::Config(message)
}

#[cfg(test)]
mod tests;

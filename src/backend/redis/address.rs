//! Where the servers are, as a URL says it: hosts, user, password, database, and how the servers belong together.
//! The builder reads it; it decides everything without any I/O.

use std::path::PathBuf;

use ::redis::{ConnectionAddr, RedisConnectionInfo};

use crate::backend::url::StoreUrl;
use crate::error::Error;
use crate::percent::decoded;

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// How the hosts of a URL belong together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first one leads, the others are its replicas (RED-10).
    Servers,
    /// Some nodes of a cluster, which name the others.
    Cluster,
    /// Sentinels, which know who leads under this name.
    Sentinels { service: String },
}

/// What stands in a URL before its options.
pub(super) struct Address {
    pub(super) kind: Kind,
    pub(super) hosts: Vec<ConnectionAddr>,
    pub(super) is_encrypted: bool,
    pub(super) login: RedisConnectionInfo,
}

impl Address {
    /// Reads scheme, hosts, user, password and path, and takes the option `db`, another place for the database's number.
    pub(super) fn read(url: &mut StoreUrl) -> Result<Self, Error> {
        let scheme = url.scheme().to_owned();
        let is_encrypted = scheme.starts_with("rediss");
        let (user, hosts) = url
            .authority()
            .rsplit_once('@')
            .map_or((None, url.authority()), |(user, hosts)| (Some(user.to_owned()), hosts));
        let hosts = hosts.to_owned();
        let mut login = RedisConnectionInfo::default();
        if let Some(user) = user {
            let (name, password) = user.split_once(':').unwrap_or((&user, ""));
            let decoded =
                |text: &str| decoded(text).ok_or_else(|| url.refuse("user or password is not percent-encoded"));
            if !name.is_empty() {
                login = login.set_username(decoded(name)?);
            }
            if !password.is_empty() {
                login = login.set_password(decoded(password)?);
            }
        }
        let path = url.path()?;
        let database = url.take_number::<u32>("db")?;
        let (kind, hosts, in_path) = match scheme.as_str() {
            "redis+unix" => {
                if !path.starts_with('/') {
                    return Err(url.refuse("it names no socket: write redis+unix:///path/of/the/socket"));
                }
                (Kind::Servers, vec![ConnectionAddr::Unix(PathBuf::from(path))], None)
            }
            "redis+cluster" | "rediss+cluster" => {
                let (hosts, in_path) = (read_hosts(url, &hosts, is_encrypted, SERVER_PORT)?, number_in(url, &path)?);
                if in_path.or(database).is_some_and(|number| number != 0) {
                    return Err(url.refuse("a cluster has no database but 0"));
                }
                (Kind::Cluster, hosts, in_path)
            }
            "redis+sentinel" | "rediss+sentinel" => {
                let path = path.trim_matches('/');
                let (service, number) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() {
                    let why = "it does not say which service to ask the sentinels for: write its name behind the hosts, \
                               as in redis+sentinel://host:26379/mymaster";
                    return Err(url.refuse(why));
                }
                let hosts = read_hosts(url, &hosts, is_encrypted, SENTINEL_PORT)?;
                (Kind::Sentinels { service: service.to_owned() }, hosts, number_in(url, number)?)
            }
            _ => (Kind::Servers, read_hosts(url, &hosts, is_encrypted, SERVER_PORT)?, number_in(url, &path)?),
        };
        if in_path.is_some() && database.is_some() {
            return Err(url.refuse("the database is numbered twice: once in the path, once as db"));
        }
        let login = login.set_db(i64::from(in_path.or(database).unwrap_or(0)));
        Ok(Address { kind, hosts, is_encrypted, login })
    }
}

/// The number of a database, if the path holds one.
fn number_in(url: &StoreUrl, path: &str) -> Result<Option<u32>, Error> {
    match path.trim_matches('/') {
        "" => Ok(None),
        number => number.parse().map(Some).map_err(|_| url.refuse("its path is not the number of a database")),
    }
}

fn read_hosts(url: &StoreUrl, hosts: &str, is_encrypted: bool, port: u16) -> Result<Vec<ConnectionAddr>, Error> {
    hosts.split(',').map(|host| read_host(url, host.trim(), is_encrypted, port)).collect()
}

/// One host, with or without a port; without a host it is this machine.
fn read_host(url: &StoreUrl, text: &str, is_encrypted: bool, port: u16) -> Result<ConnectionAddr, Error> {
    let refuse = || url.refuse("one of its hosts is neither host nor host:port");
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').ok_or_else(refuse)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest {
        "" => port,
        rest => rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(refuse)?,
    };
    let host = if text.is_empty() { "127.0.0.1".to_owned() } else { decoded(host).ok_or_else(refuse)? };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(refuse());
    }
    Ok(match is_encrypted {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Address, String> {
        Address::read(&mut StoreUrl::parse(url).unwrap()).map_err(|error| error.to_string())
    }

    /// Hosts, database, user, password.
    fn said(url: &str) -> (String, i64, Option<String>, Option<String>) {
        let address = read(url).unwrap();
        let hosts: Vec<String> = address.hosts.iter().map(ToString::to_string).collect();
        let (user, password) = (address.login.username(), address.login.password());
        (hosts.join(" "), address.login.db(), user.map(str::to_owned), password.map(str::to_owned))
    }

    #[test]
    fn hosts_ports_and_databases_are_read() {
        for (url, hosts, database) in [
            ("redis://", "127.0.0.1:6379", 0),
            ("redis://cache", "cache:6379", 0),
            ("redis://cache:7000/3", "cache:7000", 3),
            ("redis://cache?db=3", "cache:6379", 3),
            ("redis://[::1]:7000,[fe80::1]", "::1:7000 fe80::1:6379", 0),
            ("redis://a:1,b:2,c/5", "a:1 b:2 c:6379", 5),
            ("rediss://a", "a:6379", 0),
            ("redis+unix:///run/redis.sock?db=2", "/run/redis.sock", 2),
            ("redis+cluster://a,b:7001", "a:6379 b:7001", 0),
            ("redis+sentinel://a,b:1/mymaster", "a:26379 b:1", 0),
            ("rediss+sentinel://a/mymaster/4", "a:26379", 4),
        ] {
            assert_eq!(said(url), (hosts.to_owned(), database, None, None), "{url}");
        }
    }

    #[test]
    fn users_and_passwords_are_decoded() {
        for (url, user, password) in [
            ("redis://:s%40crit@h", None, Some("s@crit")),
            ("redis://me:p%3A%2F,x@h1,h2", Some("me"), Some("p:/,x")),
            ("redis://me@h", Some("me"), None),
            ("redis+unix://me:secret@/run/redis.sock", Some("me"), Some("secret")),
        ] {
            let (_, _, given_user, given_password) = said(url);
            assert_eq!((given_user.as_deref(), given_password.as_deref()), (user, password), "{url}");
        }
    }

    #[test]
    fn schemes_say_how_the_hosts_belong_together() {
        let kinds = ["redis://a,b", "rediss+cluster://a", "redis+sentinel://a/the%20one/1"].map(|url| {
            let address = read(url).unwrap();
            (address.kind, address.is_encrypted)
        });
        let service = "the one".to_owned();
        assert_eq!(kinds, [(Kind::Servers, false), (Kind::Cluster, true), (Kind::Sentinels { service }, false)]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_a_secret() {
        for (url, why) in [
            ("redis://h:port", "neither host nor host:port"),
            ("redis://h:70000", "neither host nor host:port"),
            ("redis://me:secret@h:1:2", "neither host nor host:port"),
            ("redis://me:secret@a,,b:x", "neither host nor host:port"),
            ("redis://[::1", "neither host nor host:port"),
            ("redis://me:secret%zz@h", "percent-encoded"),
            ("redis://me:secret@h/db", "number of a database"),
            ("redis://me:secret@h/1?db=2", "twice"),
            ("redis+cluster://me:secret@h/1", "no database but 0"),
            ("redis+sentinel://me:secret@h", "mymaster"),
            ("redis+unix://", "names no socket"),
        ] {
            let error = read(url).err().unwrap_or_else(|| panic!("{url} is read"));
            assert!(error.contains(why), "{url}: {error}");
            assert!(!error.contains("secret") || url.contains("secret%zz") && !error.contains("secret%zz"), "{error}");
        }
    }
}

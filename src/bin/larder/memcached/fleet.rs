//! The servers that a URL names, each with a client of its own: an operator asks every server for what it holds, wherever
//! the ring of some application would have put it. The commands of this room get one from [`Fleet::of`].

use std::time::Duration;

use larder::Cache;
use larder::memcached::{Client, ClientBuilder, Error, Server};
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::place::shown;
use crate::span::Span;

/// Several servers.
pub struct Fleet {
    /// The URL, which may hold a password.
    url: String,
    wait: Duration,
    /// One client for each server.
    pub nodes: Vec<Node>,
}

/// One server.
#[derive(Clone)]
pub struct Node {
    pub client: Client,
    pub name: String,
}

impl Node {
    pub fn server(&self) -> Result<&Server, Failure> {
        self.client.servers().next().ok_or_else(|| Failure::Usage(format!("{} names no server", self.name)))
    }
}

impl Fleet {
    pub async fn of(url: &str, wait: Span) -> Result<Self, Failure> {
        let wait = wait.deadline();
        let mut nodes = Vec::new();
        let singles = one_by_one(url)?;
        // Opens nothing: an option that is misspelt must not be passed over.
        Cache::connect(url).await?;
        for single in singles {
            let client = connect(&single, wait)?.build()?;
            let name = client.servers().map(|server| server.name().to_owned()).collect::<Vec<_>>().join(",");
            nodes.push(Node { client, name });
        }
        Ok(Fleet { url: url.to_owned(), wait, nodes })
    }

    /// The same servers, whose compressed values are handed out as they lie there, so that a copy is exact.
    pub fn leaving_compressed(mut self) -> Result<Self, Failure> {
        for (node, single) in self.nodes.iter_mut().zip(one_by_one(&self.url)?) {
            node.client = connect(&single, self.wait)?.leave_compressed(true).build()?;
        }
        Ok(self)
    }

    /// Its servers, for people.
    pub fn servers(&self) -> String {
        self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The client that places keys as the URL says.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(connect(&self.url, self.wait)?.build()?)
    }

    /// Asks every server at once; the answers in the order of the servers.
    pub async fn ask<T, Q, F>(&self, question: Q) -> Vec<Result<T, Failure>>
    where
        T: Send + 'static,
        Q: Fn(Node) -> F,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for (position, node) in self.nodes.iter().enumerate() {
            let answer = question(node.clone());
            asked.spawn(async move { (position, answer.await) });
        }
        let mut answers: Vec<Option<Result<T, Failure>>> = self.nodes.iter().map(|_| None).collect();
        while let Some(answered) = asked.join_next().await {
            if let Ok((position, answer)) = answered {
                answers[position] = Some(answer);
            }
        }
        let stopped = || Err(Failure::Unreachable("a question to a server stopped".to_owned()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(stopped)).collect()
    }
}

/// The options of a cache URL that say something of the servers; those of the cache above, and all timeouts, are left
/// out: an operator has prefixes and patience of their own.
const OPTIONS: [&str; 10] = [
    "distribution",
    "hash",
    "largest_value",
    "compress_over",
    "auth",
    "ca",
    "cert",
    "cert_key",
    "server_name",
    "verify",
];

fn connect(url: &str, wait: Duration) -> Result<ClientBuilder, Failure> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    // As in the URL of a cache, names may stand in capitals.
    let options = query.split('&').map(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        (name.to_ascii_lowercase(), value)
    });
    let kept = options.filter(|(name, _)| OPTIONS.contains(&name.as_str()));
    let kept = kept.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let (scheme, servers) = place.split_once("://").unwrap_or((place, ""));
    let builder = ClientBuilder::from_url(&format!("{}://{servers}?{kept}", scheme.to_ascii_lowercase()))?;
    Ok(builder.connect_timeout(wait).timeout(wait).admin_timeout(wait))
}

/// A URL for each server of a URL.
fn one_by_one(url: &str) -> Result<Vec<String>, Failure> {
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    if !["memcached", "memcached+tls", "memcached+unix"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(Failure::Usage(format!(
            "{} is no memcached: `larder memcached` takes memcached://, memcached+tls:// or memcached+unix://, or --servers",
            shown(url)
        )));
    }
    let (place, query) =
        rest.split_once('?').map_or((rest, String::new()), |(place, query)| (place, format!("?{query}")));
    let (login, servers) = place.rsplit_once('@').map_or(("", place), |(login, servers)| (login, servers));
    let mark = if login.is_empty() { "" } else { "@" };
    Ok(servers.split(',').map(|server| format!("{scheme}://{login}{mark}{server}{query}")).collect())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Key { .. } | Error::Config(_) => Failure::Usage(message),
            Error::TooLarge { .. } | Error::NotANumber { .. } | Error::Server { .. } | Error::Unreadable { .. } => {
                Failure::Refused(message)
            }
            _ => Failure::Unreachable(message),
        }
    }
}

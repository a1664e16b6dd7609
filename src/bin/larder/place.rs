//! Which cache is meant: by `--cache`, `--alias`, `--servers`, or the environment, in this order.
//! Every command asks it for a [`Cache`], and for the cache's name as people may read it.

use std::borrow::Cow;
use std::env;
use std::time::Duration;

use larder::backend::KeyRule;
use larder::cache::key_problems;
use larder::{Cache, Error};

use super::arguments::{KeyArguments, PlaceArguments};
use super::failure::{Failure, note};

/// What the variables of libmemcached's tools and of hosts such as Heroku begin with: `MEMCACHE_SERVERS` names servers,
/// `MEMCACHE_USERNAME` and `MEMCACHE_PASSWORD` who we are to them.
const PLATFORMS: [&str; 4] = ["MEMCACHED", "MEMCACHE", "MEMCACHIER", "MEMCACHEDCLOUD"];

impl PlaceArguments {
    /// The URL of the cache that is meant. It may hold a password: print [`redacted`] text only.
    pub fn url(&self) -> Result<String, Failure> {
        if let Some(url) = &self.cache {
            return Ok(url.clone());
        }
        if let Some(alias) = &self.alias {
            let name = format!("CACHE_URL_{}", alias.to_ascii_uppercase());
            return variable(&name)?.ok_or_else(|| Failure::Usage(format!("no cache: the variable {name} is not set")));
        }
        if let Some(servers) = &self.servers {
            return url_of_servers(servers, "");
        }
        if let Some(url) = variable("CACHE_URL")? {
            return Ok(url);
        }
        for platform in PLATFORMS {
            if let Some(servers) = variable(&format!("{platform}_SERVERS"))? {
                let user = variable(&format!("{platform}_USERNAME"))?;
                let password = variable(&format!("{platform}_PASSWORD"))?.unwrap_or_default();
                let login = user.map(|user| format!("{}:{}@", percent_encoded(&user), percent_encoded(&password)));
                return url_of_servers(&servers, &login.unwrap_or_default());
            }
        }
        Err(Failure::Usage(
            "which cache? Name one with --cache URL, with --servers HOST:PORT, or in the variable CACHE_URL".to_owned(),
        ))
    }

    /// The cache's URL without its password, for people.
    pub fn name(&self) -> Result<String, Failure> {
        self.url().map(|url| shown(&url))
    }

    /// The cache. A person waits longer than a page does: `--wait` counts where the URL says nothing.
    pub async fn cache(&self) -> Result<Cache, Failure> {
        let url = self.url()?;
        let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if ["memory", "dummy"].contains(&scheme.as_str()) {
            note(&format!(
                "{scheme}:// is this command's own and is gone with it: nothing that others stored is in it"
            ));
            return Ok(Cache::connect(&url).await?);
        }
        match Cache::connect(&with_patience(&url, self.wait.deadline())).await {
            // A store that has none of these options says what it really thinks of the URL without them.
            Err(Error::Config(_)) => Ok(Cache::connect(&url).await?),
            connected => Ok(connected?),
        }
    }

    /// The cache, with keys as they are to be understood.
    pub async fn scoped(&self, scope: &KeyArguments) -> Result<Cache, Failure> {
        let cache = self.cache().await?;
        Ok(match &scope.key_version {
            _ if scope.raw => cache.raw_keys(),
            Some(version) => cache.version(version.as_str()),
            None => cache,
        })
    }
}

/// The final key of `key`, if the store can take it.
pub fn final_key(cache: &Cache, key: &str) -> Result<String, Error> {
    let key = cache.make_key(key);
    match key_problems(&key).first() {
        Some(&problem) if cache.backend().key_rule() == KeyRule::Refuse => Err(Error::Key { key, problem }),
        _ => Ok(key),
    }
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Failure::Usage(format!("the variable {name} is not UTF-8 text"))),
    }
}

/// The URL with `wait` for every deadline that it does not set itself.
fn with_patience(url: &str, wait: Duration) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let is_set = |name: &str| query.split('&').any(|option| option.split('=').next() == Some(name));
    let mut patient = url.to_owned();
    for name in ["connect_timeout", "get_timeout", "set_timeout"].into_iter().filter(|name| !is_set(name)) {
        patient.push(if patient.contains('?') { '&' } else { '?' });
        patient.push_str(&format!("{name}={}ms", wait.as_millis()));
    }
    patient
}

/// `a:11211,b` is `memcached://a:11211,b`, and `/run/memcached.sock` a socket.
fn url_of_servers(servers: &str, login: &str) -> Result<String, Failure> {
    if servers.contains("://") {
        return Err(Failure::Usage("--servers takes host:port,host:port; a URL goes to --cache".to_owned()));
    }
    // Hosts such as Heroku put blanks or semicolons between servers.
    let list: Vec<&str> = servers.split([',', ';', ' ']).map(str::trim).filter(|server| !server.is_empty()).collect();
    let sockets = list.iter().filter(|server| server.starts_with('/')).count();
    match sockets {
        _ if list.is_empty() => Err(Failure::Usage("the list of servers is empty: write host:port".to_owned())),
        0 => Ok(format!("memcached://{login}{}", list.join(","))),
        _ if sockets == list.len() => Ok(format!("memcached+unix://{login}{}", list.join(","))),
        _ => Err(Failure::Usage("servers are either all sockets or none is: ask them apart".to_owned())),
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// A URL without its password, which may hold quotes and blanks.
pub fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", without_secrets(rest, false)),
        None => url.to_owned(),
    }
}

/// Text in which the password of every URL is three stars, wherever it stands in it.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let is_web = before.ends_with("http://") || before.ends_with("https://");
        let word = &after[..after.find(char::is_whitespace).unwrap_or(after.len())];
        // A quote before an @ may stand in a password.
        let login = if is_web { 0 } else { word.rfind('@').unwrap_or(0) };
        let end = word[login..].find(['"', '\'', '`']).map_or(word.len(), |quote| login + quote);
        let (url, beyond) = after.split_at(end);
        out.push_str(before);
        out.push_str(&without_secrets(url, is_web));
        rest = beyond;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What follows `scheme://`, without its password. A password may hold a `/` that should have been encoded: where the
/// last `@` stands behind one, everything between a colon and that `@` is taken for it, unless it is the URL of a page.
fn without_secrets(url: &str, is_web: bool) -> String {
    let authority_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let at = if is_web { url[..authority_end].rfind('@') } else { url.rfind('@') };
    let (login, rest) = at.map_or(("", url), |at| url.split_at(at));
    let login = match login.split_once(':') {
        Some((user, _)) => format!("{user}:***"),
        None => login.to_owned(),
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let options = query.split('&').map(|option| match option.split_once('=') {
        Some((name, _)) if ["pass", "secret", "token"].iter().any(|word| name.contains(word)) => format!("{name}=***"),
        _ => option.to_owned(),
    });
    let query = options.collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{login}{place}{mark}{query}")
}

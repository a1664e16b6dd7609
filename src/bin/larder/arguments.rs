//! What can be typed: the commands, their arguments and their help.
//! `main` parses it; every command takes its own struct from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::span::{Span, parse_span};

const EXAMPLES: &str = "\
Examples:
  export CACHE_URL=memcached://127.0.0.1:11211
  larder set greeting 'hello, world!' --timeout 5m
  larder get greeting
  larder page get http://example.com/news --language ja
  larder page delete http://example.com/news
  larder tag purge article:7

Exit codes:
  0  done
  1  a key, a page or a file is not there, or `add` found something there
  2  the command line, a URL or a key cannot be used
  3  a server cannot be reached, does not answer in time, or breaks off
  4  the store or the value refuses: not a number, too large, another kind of value
  5  not confirmed: nothing was changed";

/// Look into a cache and change it: single values, whole pages, and what fills a memcached.
#[derive(Debug, Parser)]
#[command(name = "larder", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    #[command(flatten)]
    pub place: PlaceArguments,
    #[command(subcommand)]
    pub command: Command,
}

/// Which cache is meant.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which cache")]
pub struct PlaceArguments {
    /// The cache, such as `memcached://127.0.0.1:11211?key_prefix=blog` [env: CACHE_URL]
    ///
    /// Every URL that `Cache::connect` takes: memcached, Redis, files, a database. A password in it can be seen in the
    /// list of processes: give such a URL in CACHE_URL. It is never printed.
    #[arg(long, short, global = true, value_name = "URL", conflicts_with_all = ["alias", "servers"])]
    pub cache: Option<String>,
    /// The cache whose URL is in the variable CACHE_URL_<NAME>
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "servers")]
    pub alias: Option<String>,
    /// memcached servers, as host:port or the path of a socket, with commas between [env: MEMCACHE_SERVERS]
    ///
    /// The variables of libmemcached's tools and of hosting platforms are known: MEMCACHED_SERVERS, MEMCACHE_SERVERS,
    /// MEMCACHIER_SERVERS, MEMCACHEDCLOUD_SERVERS, and the same with _USERNAME and _PASSWORD.
    #[arg(long, short, global = true, value_name = "SERVERS")]
    pub servers: Option<String>,
    /// How long to wait for a server
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_span)]
    pub wait: Span,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print values
    Get(Get),
    /// Say by the exit code whether every key is there
    #[command(visible_alias = "exist")]
    Has(Has),
    /// Store a value, over whatever was there
    Set(Set),
    /// Store a value where nothing is
    Add(Set),
    /// Give a value a new timeout
    Touch(Touch),
    /// Add to an integer and print the sum
    Incr(Count),
    /// Take from an integer and print the difference
    Decr(Count),
    /// Remove values
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Remove everything: of the key prefix, or of the whole store
    ///
    /// With a key prefix in the cache's URL only its own entries go. Without one, and on memcached always, everything in
    /// the store goes, whoever put it there.
    Clear(Clear),
    /// See, and forget, what is stored for a URL
    #[command(subcommand)]
    Page(Page),
    /// Make the pages with a tag unreachable
    #[command(subcommand)]
    Tag(Tag),
    /// What only memcached can tell: every key, what fills it, its counters
    #[cfg(feature = "memcached")]
    #[command(subcommand)]
    Memcached(crate::memcached::arguments::Memcached),
    /// Make the table of a database cache, as Django's createcachetable does
    #[cfg(feature = "database")]
    CreateTable(CreateTable),
}

/// How keys are to be understood.
#[derive(Args, Clone, Debug)]
pub struct KeyArguments {
    /// Take keys as they lie in the store, without prefix and version
    #[arg(long, short)]
    pub raw: bool,
    /// The version of the keys, instead of the cache's own
    #[arg(long, value_name = "VERSION", conflicts_with = "raw")]
    pub key_version: Option<String>,
}

#[derive(Args, Debug)]
pub struct Confirmation {
    /// Do it without asking
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Args, Debug)]
pub struct Get {
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    #[command(flatten)]
    pub scope: KeyArguments,
    /// One line of JSON for each value, with its key and its kind
    #[arg(long, conflicts_with = "bytes")]
    pub json: bool,
    /// The bytes as they are stored, whatever they are, and nothing after them
    #[arg(long)]
    pub bytes: bool,
}

#[derive(Args, Debug)]
pub struct Has {
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    #[command(flatten)]
    pub scope: KeyArguments,
}

#[derive(Args, Debug)]
pub struct Set {
    pub key: String,
    /// The value: an integer or else text; `-` reads bytes from standard input; after `--` it may begin with a hyphen
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_negative_numbers = true)]
    pub value: Option<String>,
    /// Read the value from a file, as bytes
    #[arg(long, short, value_name = "PATH")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub kind: KindArguments,
    #[command(flatten)]
    pub lifetime: LifetimeArguments,
    #[command(flatten)]
    pub scope: KeyArguments,
}

/// What kind of value is stored. Django's clients read integers, text and bytes; what is stored as JSON only larder reads.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub struct KindArguments {
    /// Store text, even where it looks like an integer
    #[arg(long)]
    pub text: bool,
    /// Store bytes
    #[arg(long)]
    pub bytes: bool,
    /// Parse the value as JSON and store what it says, as a program would with serde
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct LifetimeArguments {
    /// How long it is to live: seconds, or `90s`, `5m`, `2h`, `7d`, `never` [default: the cache's own, else 300 s]
    #[arg(long, short, value_name = "TIME", value_parser = parse_span)]
    pub timeout: Option<Span>,
}

#[derive(Args, Debug)]
pub struct Touch {
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    #[command(flatten)]
    pub lifetime: LifetimeArguments,
    #[command(flatten)]
    pub scope: KeyArguments,
}

#[derive(Args, Debug)]
pub struct Count {
    pub key: String,
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    pub delta: i64,
    #[command(flatten)]
    pub scope: KeyArguments,
}

#[derive(Args, Debug)]
pub struct Delete {
    /// The keys; to delete more than one is asked for, or needs --yes
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    #[command(flatten)]
    pub scope: KeyArguments,
    #[command(flatten)]
    pub confirmation: Confirmation,
}

#[derive(Args, Debug)]
pub struct Clear {
    #[command(flatten)]
    pub confirmation: Confirmation,
}

#[cfg(feature = "database")]
#[derive(Args, Debug)]
pub struct CreateTable {
    /// Print the SQL and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum Page {
    /// Print what is stored for a URL: status, headers, age, time left, size
    Get(PageGet),
    /// Forget what is stored for a URL, in all its variants; the next request makes it anew
    Delete(PageDelete),
    /// Print the keys under which a page lies, stored or not
    Keys(PageKeys),
}

#[derive(Debug, Subcommand)]
pub enum Tag {
    /// Purge: no page with one of these tags is answered any more; the next request makes it anew
    ///
    /// It reaches every layer on the cache, in every process that shares the store, pages whose handlers are running
    /// included. Whether there were any nobody knows: pages are not counted.
    Purge(TagPurge),
}

#[derive(Args, Debug)]
pub struct TagPurge {
    /// The tags, as the site's handlers and layers name them
    #[arg(required = true, value_name = "TAG")]
    pub tags: Vec<String>,
    /// The version of the cache, instead of its own
    #[arg(long, value_name = "VERSION")]
    pub key_version: Option<String>,
}

#[derive(Args, Debug)]
pub struct PageGet {
    #[command(flatten)]
    pub page: PageArguments,
    /// Print the body and nothing else
    #[arg(long, conflicts_with = "json")]
    pub body: bool,
    /// One line of JSON for each page
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct PageDelete {
    #[command(flatten)]
    pub page: PageArguments,
    #[command(flatten)]
    pub confirmation: Confirmation,
}

#[derive(Args, Debug)]
pub struct PageKeys {
    #[command(flatten)]
    pub page: PageArguments,
    /// What the page's `Vary` says, such as `Accept-Language, Cookie`
    #[arg(long, value_name = "NAMES")]
    pub vary: Option<String>,
}

/// Which page is meant, and how the site keys it.
#[derive(Args, Debug)]
pub struct PageArguments {
    /// Absolute URLs, with the scheme and host that the site keys its pages under: `http://` unless its layer is told of
    /// TLS (`scheme`, `trust`); a path alone needs --host
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// The language of the page, where the site has languages
    #[arg(long, value_name = "TAG")]
    pub language: Option<String>,
    /// The time zone of the page, where the site has time zones
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// A header of the request, where pages vary on it; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = parse_header)]
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The layer's key prefix
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub key_prefix: String,
    /// The layer's key scheme
    #[arg(long, value_name = "SCHEME", value_enum, default_value_t = Scheme::Sha256)]
    pub key_scheme: Scheme,
    /// The layer's scheme, for a path alone
    #[arg(long, value_name = "SCHEME")]
    pub scheme: Option<String>,
    /// The layer's host, for a path alone
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Scheme {
    Sha256,
    Django52,
    Django61,
}

fn parse_header(text: &str) -> Result<(http::HeaderName, http::HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written `Name: value`")?;
    let name = name.trim().parse().map_err(|_| format!("{:?} is not a header name", name.trim()))?;
    let value = value.trim().parse().map_err(|_| format!("{:?} is not a header value", value.trim()))?;
    Ok((name, value))
}

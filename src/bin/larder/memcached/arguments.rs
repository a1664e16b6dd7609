//! What can be typed behind `larder memcached`.
//! The parser of the whole command includes it; every command of this room takes its own struct from here.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::arguments::Confirmation;
use crate::span::{Span, parse_span};

#[derive(Debug, Subcommand)]
pub enum Memcached {
    /// Ask every server whether it is there
    Ping,
    /// Print the counters of every server
    #[command(visible_alias = "stat")]
    Stats(Stats),
    /// List all keys, hot and cold, or sum up what fills the servers
    Keys(Keys),
    /// Print all keys with their values, as lines of JSON
    Dump(Dump),
    /// Delete every key of a pattern
    Delete(Delete),
    /// Make everything in the servers out of date, whoever stored it
    Flush(Flush),
    /// Copy items to another fleet, or files into this one
    #[command(visible_alias = "cp")]
    Copy(Copy),
}

#[derive(Args, Debug)]
pub struct Stats {
    /// Which counters: items, slabs, sizes, settings, conns, ... [default: the general ones]
    pub kind: Option<String>,
    /// One line of JSON for each server
    #[arg(long)]
    pub json: bool,
}

/// Which keys are meant, as they lie in the servers.
#[derive(Args, Debug)]
pub struct PatternArguments {
    /// Keys as a whole: `*` is anything, `?` one character, `[a-z]` one of these, `\` takes the next one as it is
    #[arg(value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// The pattern is a regular expression, found anywhere in the key
    #[arg(long, short, requires = "pattern")]
    pub regex: bool,
}

#[derive(Args, Debug)]
pub struct Keys {
    #[command(flatten)]
    pub pattern: PatternArguments,
    /// With size, time left, whether it was read, and slab class
    #[arg(long, short, conflicts_with_all = ["json", "summary"])]
    pub long: bool,
    /// Lines of JSON; with --summary one for each group
    #[arg(long)]
    pub json: bool,
    /// What fills the servers: groups of keys with their number, bytes, and what expires next
    #[arg(long)]
    pub summary: bool,
    /// With --summary, how many groups are shown; the rest is summed up in one line
    #[arg(long, value_name = "GROUPS", default_value_t = 20, requires = "summary")]
    pub top: usize,
    #[command(flatten)]
    pub progress: ProgressArguments,
}

#[derive(Args, Debug)]
pub struct ProgressArguments {
    /// Show no progress bar; without a terminal there is none anyway
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Args, Debug)]
pub struct Dump {
    #[command(flatten)]
    pub pattern: PatternArguments,
    #[command(flatten)]
    pub progress: ProgressArguments,
}

#[derive(Args, Debug)]
pub struct Delete {
    /// Keys as a whole: `*` is anything, `?` one character, `[a-z]` one of these, `\` takes the next one as it is
    #[arg(value_name = "PATTERN")]
    pub pattern: String,
    /// The pattern is a regular expression, found anywhere in the key
    #[arg(long, short)]
    pub regex: bool,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub progress: ProgressArguments,
}

#[derive(Args, Debug)]
pub struct Flush {
    /// Not now, but so long from now, in whole seconds
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub delay: Option<Span>,
    #[command(flatten)]
    pub confirmation: Confirmation,
}

#[derive(Args, Debug)]
pub struct Copy {
    /// Files to store, each under its name without folders
    #[arg(value_name = "FILE", required_unless_present = "to", conflicts_with_all = ["to", "pattern"])]
    pub files: Vec<PathBuf>,
    /// Copy items to this fleet, a memcached URL, with their flags and the time they have left
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// With --to, only the keys of this pattern
    #[arg(long, short, value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// The pattern is a regular expression, found anywhere in the key
    #[arg(long, short, requires = "pattern")]
    pub regex: bool,
    /// Replace what is there; without it, keys that are there keep their values
    #[arg(long)]
    pub overwrite: bool,
    /// For files: how long they are to live
    #[arg(long, short, value_name = "TIME", default_value = "never", value_parser = parse_span, conflicts_with = "to")]
    pub timeout: Span,
    /// For files: the flags they are stored with (0 bytes, 16 text)
    #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "to")]
    pub flags: u32,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub progress: ProgressArguments,
}

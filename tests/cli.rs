//! The command `larder` as operators and scripts use it: the built program, real stores, exit codes, standard output and
//! standard error; beside it the tools of libmemcached.
#![allow(missing_docs)]

mod real;

#[path = "cli/command.rs"]
mod command;
#[path = "cli/copy.rs"]
mod copy;
#[path = "cli/destructive.rs"]
mod destructive;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/pages.rs"]
mod pages;
#[path = "cli/places.rs"]
mod places;
#[path = "cli/table.rs"]
mod table;
#[path = "cli/tags.rs"]
mod tags;
#[path = "cli/tools.rs"]
mod tools;
#[path = "cli/values.rs"]
mod values;

#[expect(dead_code, reason = "its `main` is the example's")]
#[path = "../examples/busy_site.rs"]
mod busy_site;

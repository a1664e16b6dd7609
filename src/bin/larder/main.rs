//! The command `larder`: looks into any cache that a URL names, and changes it.
//! Operators and scripts call it; it stands on the public API of the crate alone.

mod arguments;
mod ask;
#[cfg(feature = "database")]
mod create_table;
mod failure;
#[cfg(feature = "memcached")]
mod memcached;
mod page;
mod place;
mod print;
mod show;
mod single;
mod span;
mod tag;
mod value;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::of_arguments(&error),
    };
    match work(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

/// Two threads beside this one: a slow terminal or pager must never keep an answer of a server from being read.
fn work(arguments: Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    outcome
}

async fn run(Arguments { place, command }: Arguments) -> Result<(), Failure> {
    match command {
        Command::Get(get) => single::get(&place, get).await,
        Command::Has(has) => single::has(&place, has).await,
        Command::Set(set) => single::set(&place, set).await,
        Command::Add(add) => single::add(&place, add).await,
        Command::Touch(touch) => single::touch(&place, touch).await,
        Command::Incr(count) => single::count(&place, count, single::Direction::Up).await,
        Command::Decr(count) => single::count(&place, count, single::Direction::Down).await,
        Command::Delete(delete) => single::delete(&place, delete).await,
        Command::Clear(clear) => single::clear(&place, clear).await,
        Command::Page(page) => page::run(&place, page).await,
        Command::Tag(tag) => tag::run(&place, tag).await,
        #[cfg(feature = "memcached")]
        Command::Memcached(command) => memcached::run(&place, command).await,
        #[cfg(feature = "database")]
        Command::CreateTable(create) => create_table::run(&place, create).await,
    }
}

//! The database backend against real databases: the contract, the table it shares with Django, its bounds and its faults.
//! SQLite needs nothing; PostgreSQL and MariaDB are started by `tests/real`.
#![allow(missing_docs)]

#[path = "world/in_process.rs"]
mod chosen;
mod real;
mod world;

#[path = "database/bounds.rs"]
mod bounds;
#[path = "database/contract.rs"]
mod contract;
#[path = "database/faults.rs"]
mod faults;
#[path = "database/keys.rs"]
mod keys;
#[path = "database/pages.rs"]
mod pages;
#[path = "database/statements.rs"]
mod statements;
#[path = "database/stores.rs"]
mod stores;
#[path = "database/table.rs"]
mod table;
#[path = "database/together.rs"]
mod together;
#[path = "database/with_django.rs"]
mod with_django;

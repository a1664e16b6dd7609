//! Real servers for tests: memcached, Redis, PostgreSQL, MariaDB, and Django in a Python of its own; and proxies that
//! break connections in front of them. Test programs include it with `mod real;`.
//!
//! Servers are ready when `start` returns, listen on addresses that no other test process uses, and end with the test,
//! however it ends. A server that is not installed is a panic that says how to install it. Linux only.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

mod certificate;
mod dice;
mod django;
mod guardian;
mod mariadb;
mod memcached;
mod place;
mod postgres;
mod proxy;
mod redis;

pub use certificate::Certificates;
pub use dice::Dice;
pub use django::{Django, python, try_python};
pub use guardian::{Guardian, Plan, find_program};
pub use mariadb::MariaDb;
pub use memcached::Memcached;
pub use place::{Folder, is_root, new_folder, next_address, next_port, own_host};
pub use postgres::Postgres;
pub use proxy::{Fault, Proxy, Recorded};
pub use redis::Redis;

//! The memcached client against real servers: what it says through every door, what hostile callers and broken servers
//! make of it, what dropped calls leave behind, and the fleet it shares with the real Django.

mod real;

#[path = "memcached_live/cancellation.rs"]
mod cancellation;
#[path = "memcached_live/doors.rs"]
mod doors;
#[path = "memcached_live/faults.rs"]
mod faults;
#[path = "memcached_live/fleet_faults.rs"]
mod fleet_faults;
#[path = "memcached_live/hostile.rs"]
mod hostile;
#[path = "memcached_live/lies.rs"]
mod lies;

use std::time::Duration;

use larder::memcached::{Client, ClientBuilder, Error};

/// Longer than a busy machine ever takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that waits patiently, for tests in which the server is well.
fn patient(address: impl Into<String>) -> ClientBuilder {
    Client::builder().server(address).connect_timeout(PATIENCE).timeout(PATIENCE)
}

/// Whether the error tells of a server that could not be asked, as a program must expect it of any server.
fn is_server_trouble(error: &Error) -> bool {
    use Error::{Connection, Down, Protocol, Timeout};
    matches!(error, Connection { .. } | Down { .. } | Protocol { .. } | Timeout { .. })
}

/// Asks again until it is as it should be: a client heals by itself.
async fn healed<T, F: Future<Output = Result<T, Error>>>(mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(is_server_trouble(&error), "{error}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "the client does not heal");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

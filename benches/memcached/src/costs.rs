//! What an operation cost beside time on the clock: processor time and sleeps of the clients' thread and of memcached.
//! On a busy machine these stay what they are while the rates go up and down. The rounds ask.

use std::fmt;
use std::fs;

/// What threads have used up to now.
#[derive(Clone, Copy, Default)]
struct Used {
    processor_nanoseconds: u64,
    /// Times that they went to sleep.
    sleeps: u64,
}

/// What a client and its server have used when a round begins.
pub struct Costs {
    server: Option<u32>,
    client_before: Used,
    server_before: Used,
}

/// What one operation cost.
#[derive(Clone, Copy)]
pub struct Cost {
    client: Used,
    server: Used,
    operations: f64,
}

impl Costs {
    /// Begins to count for the main thread of this process, and all threads of the server.
    pub fn begin(server: Option<u32>) -> Self {
        Costs { server, client_before: of_this_thread(), server_before: of_server(server) }
    }

    /// So many operations were done since.
    pub fn end(self, operations: f64) -> Cost {
        Cost {
            client: of_this_thread().since(self.client_before),
            server: of_server(self.server).since(self.server_before),
            operations,
        }
    }
}

impl Used {
    fn since(self, before: Used) -> Used {
        Used {
            processor_nanoseconds: self.processor_nanoseconds.saturating_sub(before.processor_nanoseconds),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
        }
    }
}

/// Microseconds of processor time and sleeps, each of the client and of the server.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |count: u64| count as f64 / self.operations.max(1.0);
        let (client, server) = (self.client, self.server);
        let microseconds = |used: Used| each(used.processor_nanoseconds) / 1000.0;
        write!(
            f,
            "{:.1}+{:.1} µs, {:.2}+{:.2} sleeps",
            microseconds(client),
            microseconds(server),
            each(client.sleeps),
            each(server.sleeps)
        )
    }
}

fn of_this_thread() -> Used {
    of_thread("/proc/thread-self")
}

fn of_server(server: Option<u32>) -> Used {
    let tasks = server.and_then(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let threads = tasks.into_iter().flatten().flatten().map(|task| of_thread(&task.path().to_string_lossy()));
    threads.fold(Used::default(), |all, one| Used {
        processor_nanoseconds: all.processor_nanoseconds + one.processor_nanoseconds,
        sleeps: all.sleeps + one.sleeps,
    })
}

/// Zeros where the system does not tell.
fn of_thread(folder: &str) -> Used {
    let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    let (times, status) = (read("schedstat"), read("status"));
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Used { processor_nanoseconds: number(times.split_whitespace().next()), sleeps: number(sleeps) }
}

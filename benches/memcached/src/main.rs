//! larder's memcached client beside the others, on one memcached, in one run: gets and sets of 1 KiB and 64 KiB, gets of
//! 100 keys, by 1, 16 and 256 tasks, over TCP and a unix socket.
//!
//! memcached has one core and one thread, the clients have another core, where `taskset` and two cores are there. The
//! clients take turns in short rounds, so that a busy moment meets all of them; the median of the rounds counts.
//!
//! `cargo run --release --manifest-path benches/memcached/Cargo.toml [-- --quick]`

mod contestants;
mod load;
mod pylibmc;
#[path = "../../../tests/real/mod.rs"]
mod real;
mod table;

use std::process::Command;
use std::time::Duration;

use contestants::{AsyncMemcached, Blocking, Larder, Memcache};
use load::{KEYS, Work, key_of, measure, measure_threads, value_of};
use pylibmc::Pylibmc;
use real::Memcached;
use table::{Cell, Table};

const TASKS: [usize; 3] = [1, 16, 256];
const WORKS: [Work; 5] =
    [Work::Get(1024), Work::Set(1024), Work::Get(64 * 1024), Work::Set(64 * 1024), Work::GetMany(1024)];

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, time) = if is_quick { (1, Duration::from_millis(50)) } else { (5, Duration::from_millis(400)) };
    let arguments = ["-t", "1", "-m", "256", "-c", "2048"];
    let servers = [
        ("TCP", Memcached::with(&arguments).start()),
        ("unix socket", Memcached::with(&arguments).unix_socket().start()),
    ];
    let pids: Vec<u32> = servers.iter().filter_map(|(_, server)| server.pid()).collect();
    println!("{}", keep_to_cores(&pids));
    println!("larder 0.1, async-memcached 0.9 (pool of 16), memcache 0.21, {}\n", pylibmc::version());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let mut table = Table::default();
    for (transport, server) in &servers {
        for work in WORKS {
            fill(&runtime, server, work);
            for tasks in TASKS {
                let cell = Cell { transport, work, tasks };
                for _ in 0..rounds {
                    round(&runtime, server, &cell, time, &mut table);
                }
                table.print(&cell);
            }
        }
    }
    table.print_verdict();
}

/// Every client once.
fn round(runtime: &tokio::runtime::Runtime, server: &Memcached, cell: &Cell<'_>, time: Duration, table: &mut Table) {
    let Cell { transport, work, tasks } = *cell;
    let is_tcp = transport == "TCP";
    let of_larder = runtime.block_on(async { measure(Larder::of(server), work, tasks, time).await });
    table.note(cell, "larder", of_larder);
    let of_async =
        runtime.block_on(async { measure(AsyncMemcached::of(server, is_tcp).await, work, tasks, time).await });
    table.note(cell, "async-memcached", of_async);
    if is_tcp {
        let of_memcache = runtime.block_on(async { measure(Memcache::of(server).await, work, tasks, time).await });
        table.note(cell, "memcache", of_memcache);
    } else {
        table.note(cell, "memcache (blocking)", measure_threads(&Blocking::of(server), work, tasks, time));
    }
    // Python's threads are no match for 256 tasks; as many as it has connections are its best.
    if tasks <= 16
        && let Some(of_pylibmc) = Pylibmc::of(server).measure(work, tasks, time)
    {
        table.note(cell, "pylibmc", of_pylibmc);
    }
}

fn fill(runtime: &tokio::runtime::Runtime, server: &Memcached, work: Work) {
    runtime.block_on(async {
        let client = Larder::of(server);
        for number in 0..KEYS {
            client.store(&key_of(number), value_of(work.size())).await;
        }
    });
}

/// Gives the servers a core and us another, and says so. Threads started later inherit ours.
fn keep_to_cores(servers: &[u32]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pin = |core: &str, pid: u32, all: &str| {
        let done = Command::new("taskset").args([all, core, &pid.to_string()]).output();
        done.is_ok_and(|output| output.status.success())
    };
    let is_done = cores > 1 && servers.iter().all(|pid| pin("1", *pid, "-acp")) && pin("0", std::process::id(), "-acp");
    if is_done {
        "memcached on core 1, the clients on core 0".to_owned()
    } else {
        format!("{cores} cores, shared by memcached and the clients")
    }
}

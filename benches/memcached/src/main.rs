//! larder's memcached client beside the others, on one memcached, in one run: gets and sets of 1 KiB and 64 KiB, gets of
//! 100 keys, by 1, 16 and 256 tasks, over TCP and a unix socket.
//!
//! memcached has one core and one thread, the clients have another core, where `taskset` and two cores are there. The
//! clients take turns in short rounds, so that a busy moment meets all of them; the median of the rounds counts.
//!
//! `cargo run --release --manifest-path benches/memcached/Cargo.toml [-- --quick --costs --alone TEXT...]`
//!
//! With texts such as `TCP`, `"set 1 KiB"` or `" 16 tasks"` only the lines that contain all of them. With `--costs` larder and
//! async-memcached only, and of each round the rate, the time of its quickest tenth, and what an operation costs the client
//! and the server. With `--alone` the same of larder only, for profilers.

mod contestants;
mod costs;
mod load;
mod pylibmc;
#[path = "../../../tests/real/mod.rs"]
mod real;
mod table;

use std::process::Command;
use std::time::Duration;

use contestants::{AsyncMemcached, Blocking, Larder, Memcache};
use costs::Costs;
use load::{KEYS, Pace, Work, key_of, measure, measure_threads, value_of};
use pylibmc::Pylibmc;
use real::Memcached;
use table::{Cell, Table};
use tokio::runtime::Runtime;

const TASKS: [usize; 3] = [1, 16, 256];
const WORKS: [Work; 5] =
    [Work::Get(1024), Work::Set(1024), Work::Get(64 * 1024), Work::Set(64 * 1024), Work::GetMany(1024)];

fn main() {
    let (options, wanted): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let has = |name: &str| options.iter().any(|option| option == name);
    let (is_quick, field) = (
        has("--quick"),
        match (has("--alone"), has("--costs")) {
            (true, _) => Field::Larder,
            (false, true) => Field::Two,
            (false, false) => Field::All,
        },
    );
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
            let cells = TASKS.map(|tasks| Cell { transport, work, tasks });
            let cells: Vec<_> = cells.into_iter().filter(|cell| cell.is_among(&wanted)).collect();
            if !cells.is_empty() {
                fill(&runtime, server, work);
            }
            for cell in cells {
                for _ in 0..rounds {
                    round(&runtime, server, &cell, time, field, &mut table);
                }
                table.print(&cell);
            }
        }
    }
    table.print_verdict();
}

/// Who takes part.
#[derive(Clone, Copy, PartialEq)]
enum Field {
    All,
    /// larder and async-memcached, whose costs are told.
    Two,
    Larder,
}

/// Every client once.
fn round(runtime: &Runtime, server: &Memcached, cell: &Cell<'_>, time: Duration, field: Field, table: &mut Table) {
    let Cell { transport, work, tasks } = *cell;
    let is_tcp = transport == "TCP";
    let is_with_costs = field != Field::All;
    let mut note = |client: &'static str, run: &dyn Fn() -> Pace| {
        let costs = Costs::begin(server.pid());
        let Pace { rate, quick } = run();
        // The warm-up counts as well.
        let cost = costs.end(rate * time.as_secs_f64() * 1.2);
        table.note(cell, client, rate);
        if is_with_costs {
            println!("    {client:<16} {:>8.2}  {quick:>9.1?}  {cost}", rate / 1000.0);
        }
    };
    note("larder", &|| runtime.block_on(async { measure(Larder::of(server), work, tasks, time).await }));
    if field == Field::Larder {
        return;
    }
    note("async-memcached", &|| {
        runtime.block_on(async { measure(AsyncMemcached::of(server, is_tcp).await, work, tasks, time).await })
    });
    if field == Field::Two {
        return;
    }
    if is_tcp {
        note("memcache", &|| runtime.block_on(async { measure(Memcache::of(server).await, work, tasks, time).await }));
    } else {
        note("memcache (blocking)", &|| measure_threads(&Blocking::of(server), work, tasks, time));
    }
    // Python's threads are no match for 256 tasks; as many as it has connections are its best.
    if tasks <= 16
        && let Some(of_pylibmc) = Pylibmc::of(server).measure(work, tasks, time)
    {
        table.note(cell, "pylibmc", of_pylibmc);
    }
}

fn fill(runtime: &Runtime, server: &Memcached, work: Work) {
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

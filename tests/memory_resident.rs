//! What the memory store takes of the process's memory while large values are written to it.
//! The one test of its program. What the table evicts is freed once no thread is left that may still be looking at it
//! (epochs, shared by all tables of a process): busy threads of other tests delayed that to three times the budget.
#![cfg(target_os = "linux")]

use larder::Error;
use larder::backend::{Backend, Memory, Stored};

/// Bytes of this process's memory that are in use.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn rule_22_large_values_do_not_pile_up_before_they_are_evicted() -> Result<(), Error> {
    const BUDGET: usize = 32 << 20;
    let memory = Memory::builder().max_bytes(BUDGET).build();
    let before = resident();
    let mut most = 0;
    for number in 0..500 {
        memory.set(&number.to_string(), Stored { data: vec![7; 4 << 20].into(), flags: 0 }, None).await?;
        most = most.max(resident().saturating_sub(before));
    }
    assert!(most < 2 * BUDGET, "{most} bytes");
    Ok(())
}

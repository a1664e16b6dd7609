//! Two processes over one directory: adds with one winner, counting that loses nothing, and a death in the middle.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use larder::backend::{Backend, Files, Stored, flags};

use super::{bytes_in, entries_in, everything_in, folder, integer, open};

const ROUNDS: i64 = 200;

/// This test program again, running one ignored test.
fn process(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("processes::{test}"), "--include-ignored", "--nocapture"])
        .env("LARDER_FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn given_folder() -> Files {
    Files::builder(Path::new(&std::env::var_os("LARDER_FOLDER").unwrap())).max_entries(100).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_lose_no_count_and_both_win_no_add() {
    let (_around, folder) = folder();
    open(&folder).set("n", integer(0), None).await.unwrap();
    let processes: Vec<Child> = (0..3).map(|_| process("adds_and_counts", &folder)).collect();
    let mut won = 0;
    for child in processes {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        let number = said.lines().find_map(|line| line.split_once("won ")).unwrap().1;
        won += number.trim().parse::<i64>().unwrap();
    }
    assert_eq!(open(&folder).get("n").await.unwrap(), Some(integer(3 * ROUNDS)));
    assert_eq!(won, 50, "each of the 50 keys was added once");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test above, which runs it in processes of its own"]
async fn adds_and_counts() {
    let files = given_folder();
    let mut won = 0;
    for round in 0..ROUNDS {
        files.incr("n", 1).await.unwrap();
        if round % 4 == 0 && files.add(&format!("k{}", round / 4), integer(1), None).await.unwrap() {
            won += 1;
        }
    }
    println!("won {won}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_fill_one_directory_keep_its_bounds() {
    let (_around, folder) = folder();
    let processes: Vec<Child> = (0..2).map(|_| process("fills", &folder)).collect();
    for child in processes {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let left = Files::builder(&folder).max_entries(100).build().unwrap();
    left.set("last", integer(1), None).await.unwrap();
    assert!(entries_in(&folder).len() <= 100);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test above, which runs it in processes of its own"]
async fn fills() {
    let files = given_folder();
    for number in 0..500 {
        files.set(&format!("{}:{number}", std::process::id()), integer(number), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_while_it_writes_leaves_nothing_half() {
    let (_around, folder) = folder();
    for _ in 0..5 {
        let mut child = process("writes_for_ever", &folder);
        // Killed in the middle of one of its writes, once it writes.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while entries_in(&folder).len() < 5 {
            assert!(std::time::Instant::now() < end, "it writes nothing");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let files = open(&folder);
        for number in 0..10 {
            if let Some(stored) = files.get(&format!("k{number}")).await.unwrap() {
                assert_eq!(stored.data.len(), 1 << 20);
                assert!(stored.data.iter().all(|byte| *byte == stored.data[0]), "of one write");
            }
        }
        // The lock went with the process.
        files.set("k0", integer(1), None).await.unwrap();
        files.clear("").await.unwrap();
        assert_eq!(bytes_in(&folder), 0);
    }
    let unfinished = everything_in(&folder.join("unfinished")).len();
    assert!(unfinished <= 5, "at most one for each death, removed after an hour");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test above, which runs it in a process of its own"]
async fn writes_for_ever() {
    let files = given_folder();
    for number in 0_u8.. {
        let value = Stored { data: vec![number; 1 << 20].into(), flags: flags::BYTES };
        files.set(&format!("k{}", number % 10), value, None).await.unwrap();
        std::io::stdout().flush().unwrap();
        if number == u8::MAX {
            break;
        }
    }
    std::future::pending::<()>().await;
}

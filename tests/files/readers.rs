//! A few threads read for everybody: nobody gets another's value, and nobody waits for what has nothing to do with him.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use larder::backend::{Backend, Files};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::{entries_in, folder, open, text};

/// The file of an entry, which has its key in it.
fn file_of(folder: &Path, key: &str) -> PathBuf {
    let is_of = |file: &PathBuf| String::from_utf8_lossy(&std::fs::read(file).unwrap()).contains(key);
    entries_in(folder).into_iter().find(is_of).unwrap()
}

async fn store(files: &Files, keys: &[String]) {
    for key in keys {
        files.set(key, text(key), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_of_many_callers_gets_the_value_of_his_own_key() {
    let (_around, folder) = folder();
    let files = open(&folder);
    let keys: Vec<String> = (0..50).map(|number| format!("key {number}")).collect();
    store(&files, &keys).await;
    let mut tasks = JoinSet::new();
    for task in 0..400 {
        let (files, keys) = (files.clone(), keys.clone());
        tasks.spawn(async move {
            for step in 0..20 {
                let key = &keys[(task * 7 + step) % keys.len()];
                match (task + step) % 4 {
                    0 => assert_eq!(files.get("absent").await.unwrap(), None),
                    1 => assert!(files.contains(key).await.unwrap()),
                    2 => assert_eq!(
                        files.get_many(&[key.clone(), "absent".into()]).await.unwrap(),
                        [Some(text(key)), None]
                    ),
                    _ => assert_eq!(files.get(key).await.unwrap(), Some(text(key))),
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

/// Nobody asks any more when the readers have read as much as one of them may.
#[tokio::test]
async fn everybody_of_a_crowd_is_answered() {
    let (_around, folder) = folder();
    let files = open(&folder);
    store(&files, &["k".to_owned()]).await;
    let mut crowd = JoinSet::new();
    for _ in 0..10_000 {
        let files = files.clone();
        crowd.spawn(async move { files.get("k").await.unwrap() });
    }
    let all_answered = async {
        while let Some(answer) = crowd.join_next().await {
            assert_eq!(answer.unwrap(), Some(text("k")));
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_answered).await.expect("somebody reads until all are answered");
}

/// To open a pipe takes until somebody writes to it, as to open a file does on a disk that has gone.
#[tokio::test]
async fn files_that_hang_do_not_hold_up_the_others() {
    let (_around, folder) = folder();
    let files = open(&folder);
    let hanging: Vec<String> = (0..16).map(|number| format!("hanging {number:02}")).collect();
    store(&files, &hanging).await;
    store(&files, &["sound".to_owned()]).await;
    let pipes: Vec<PathBuf> = hanging.iter().map(|key| file_of(&folder, key)).collect();
    for pipe in &pipes {
        std::fs::remove_file(pipe).unwrap();
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    let mut hung = JoinSet::new();
    for key in hanging {
        let files = files.clone();
        hung.spawn(async move { files.get(&key).await.unwrap() });
    }
    let mut asked = JoinSet::new();
    let answered = async {
        loop {
            let files = files.clone();
            asked.spawn(async move { files.get("sound").await.unwrap() });
            let pause = Duration::from_millis(2);
            if let Ok(Some(answer)) = tokio::time::timeout(pause, asked.join_next()).await {
                return answer.unwrap();
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), answered).await;
    let is_any_back = hung.try_join_next().is_some();
    // Lets go of every thread, or the runtime would not end.
    for pipe in pipes {
        std::thread::spawn(move || std::fs::File::options().write(true).open(pipe));
    }
    while let Some(back) = hung.join_next().await {
        assert_eq!(back.unwrap(), None, "a pipe is not an entry");
    }
    assert_eq!(answer.expect("others are answered meanwhile"), Some(text("sound")));
    assert!(!is_any_back, "they did hang");
}

/// What both ask for waits for the one thread of the runtime that ends.
#[test]
fn a_runtime_that_ends_takes_nobody_elses_reads_with_it() {
    let (_around, folder) = folder();
    let files = open(&folder);
    let staying = Builder::new_current_thread().enable_all().build().unwrap();
    staying.block_on(store(&files, &["k".to_owned()]));
    for crowd in std::iter::repeat_n(20, 50).chain([20_000]) {
        let ending = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        let (finish, is_finished) = std::sync::mpsc::channel::<()>();
        ending.spawn_blocking(move || is_finished.recv());
        ending.block_on(async {
            for _ in 0..crowd {
                let files = files.clone();
                tokio::spawn(async move { files.get("k").await });
            }
            for _ in 0..crowd {
                tokio::task::yield_now().await;
            }
        });
        let value = staying.block_on(async {
            let mut get = std::pin::pin!(files.get("k"));
            let is_there = tokio::time::timeout(Duration::ZERO, get.as_mut()).await;
            drop(finish);
            std::thread::spawn(|| drop(ending)).join().unwrap();
            match is_there {
                Ok(value) => value,
                Err(_) => tokio::time::timeout(Duration::from_secs(20), get).await.expect("somebody reads it"),
            }
        });
        assert_eq!(value.unwrap(), Some(text("k")));
    }
}

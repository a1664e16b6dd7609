//! A disk that is full or read-only, a directory that may not be entered or is removed underneath: typed errors, no panic,
//! no loss of anything else.

use std::path::{Path, PathBuf};
use std::process::Command;

use larder::backend::{Backend, Files, Stored, flags};
use larder::{Cache, Error};

use super::{entries_in, folder, integer, open, text};

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A small file system in memory, which only root may mount; other users get one by `unshare`, where the system lets them,
/// and run the same test in it.
struct Mounted(PathBuf, #[expect(dead_code, reason = "removed at the end")] tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let around = tempfile::tempdir().unwrap();
        let point = around.path().join("disk");
        std::fs::create_dir(&point).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&point).status().unwrap();
        mounted.success().then(|| Mounted(point, around))
    }

    fn remount(&self, options: &str) {
        let status =
            Command::new("mount").args(["-o", &format!("remount,bind,{options}")]).arg(&self.0).status().unwrap();
        assert!(status.success(), "mount -o remount,bind,{options}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs one ignored test of this program where file systems can be mounted: here for root, else in a namespace.
fn where_mounting_is_allowed(test: &str) {
    let test = format!("faults::{test}");
    let mut command = if is_root() {
        Command::new(std::env::current_exe().unwrap())
    } else {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().unwrap());
        command
    };
    let output = command.args(["--exact", &test, "--include-ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} where a file system can be mounted (root, or user namespaces): {said}");
}

#[test]
fn a_full_disk() {
    where_mounting_is_allowed("on_a_full_disk");
}

#[tokio::test]
#[ignore = "a part of the test above, which runs it where it may mount"]
async fn on_a_full_disk() {
    let disk = Mounted::new("size=1m").expect("root mounts");
    let folder = disk.0.join("cache");
    let files = open(&folder);
    files.set("small", text("stays"), None).await.unwrap();
    files.set("counted", integer(1), None).await.unwrap();
    files.set("replaced", text("old"), None).await.unwrap();
    let large = |size: usize| Stored { data: vec![7; size].into(), flags: flags::BYTES };
    files.set("filler", large(700 << 10), None).await.unwrap();

    let error = files.set("replaced", large(700 << 10), None).await.unwrap_err();
    assert!(matches!(error, Error::Backend { backend: "file", .. }), "{error}");
    assert!(error.to_string().contains("cache") && error.to_string().contains("space"), "{error}");
    assert_eq!(files.get("replaced").await.unwrap(), None, "a refused value leaves nothing behind (MEM-4)");
    assert!(files.add("other", large(700 << 10), None).await.is_err());
    assert_eq!(files.set_many(&[("x".into(), text("v")), ("y".into(), large(700 << 10))], None).await.unwrap(), [1]);
    assert_eq!(files.get("small").await.unwrap(), Some(text("stays")), "nothing else is lost");
    assert_eq!(files.get("counted").await.unwrap(), Some(integer(1)));

    // Full to the last block, it can still be deleted from, and then written to again.
    let _ = std::fs::write(disk.0.join("the rest"), vec![0; 1 << 20]);
    assert!(files.incr("counted", 1).await.is_err());
    assert_eq!(files.get("counted").await.unwrap(), Some(integer(1)), "and left as it was");
    assert!(files.delete("filler").await.unwrap());
    std::fs::remove_file(disk.0.join("the rest")).unwrap();
    files.set("filler", large(700 << 10), None).await.unwrap();
    assert_eq!(files.incr("counted", 1).await.unwrap(), Some(2));
}

#[test]
fn a_disk_that_is_read_only() {
    where_mounting_is_allowed("on_a_read_only_disk");
}

#[tokio::test]
#[ignore = "a part of the test above, which runs it where it may mount"]
async fn on_a_read_only_disk() {
    let disk = Mounted::new("size=1m").expect("root mounts");
    let folder = disk.0.join("cache");
    let files = open(&folder);
    files.set("k", integer(1), None).await.unwrap();
    disk.remount("ro");
    assert_eq!(files.get("k").await.unwrap(), Some(integer(1)), "what is there can be read");
    assert_eq!(files.get("missing").await.unwrap(), None);
    assert!(files.contains("k").await.unwrap());
    let errors = [
        files.set("k", integer(2), None).await.unwrap_err(),
        files.set("new", integer(2), None).await.unwrap_err(),
        files.add("new", integer(2), None).await.unwrap_err(),
        files.incr("k", 1).await.unwrap_err(),
        files.touch("k", None).await.unwrap_err(),
        files.delete("k").await.unwrap_err(),
        files.clear("").await.unwrap_err(),
        files.clear("k").await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Backend { backend: "file", .. }), "{error}");
        assert!(error.to_string().to_lowercase().contains("read-only"), "{error}");
    }
    assert_eq!(files.get("k").await.unwrap(), Some(integer(1)));
    disk.remount("rw");
    files.set("k", integer(2), None).await.unwrap();
    assert_eq!(files.get("k").await.unwrap(), Some(integer(2)));
}

/// Root may enter every directory, so that root runs this as nobody.
#[test]
fn a_directory_that_may_not_be_entered() {
    let (around, folder) = folder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let files = open(&folder);
        files.set("k", integer(1), None).await.unwrap();
        files.set("unreadable", integer(1), None).await.unwrap();
    });
    let mut command = Command::new(std::env::current_exe().unwrap());
    if is_root() {
        let program = around.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let given = Command::new("chown").args(["-R", "65534:65534"]).arg(around.path()).status().unwrap();
        assert!(given.success());
        command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
    }
    command.args(["--exact", "faults::locked_out", "--include-ignored"]).env("LARDER_FOLDER", &folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
#[ignore = "a part of the test above, which runs it as a user who can be locked out"]
async fn locked_out() {
    use std::os::unix::fs::PermissionsExt;
    let folder = PathBuf::from(std::env::var_os("LARDER_FOLDER").unwrap());
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let files = open(&folder);

    // One file alone: a miss, left alone, and replaced by what is stored.
    let of_key = |key: &str| {
        let is_of_key =
            |file: &PathBuf| std::fs::read(file).is_ok_and(|content| content.ends_with(format!("{key}1").as_bytes()));
        entries_in(&folder).into_iter().find(is_of_key).unwrap()
    };
    let unreadable = of_key("unreadable");
    set_mode(&unreadable, 0o000);
    assert_eq!(files.get("unreadable").await.unwrap(), None);
    assert!(!files.contains("unreadable").await.unwrap());
    assert!(unreadable.exists());
    files.set("unreadable", integer(2), None).await.unwrap();
    assert_eq!(files.get("unreadable").await.unwrap(), Some(integer(2)));

    set_mode(&folder, 0o000);
    let errors = [
        files.get("k").await.unwrap_err(),
        files.set("k", integer(2), None).await.unwrap_err(),
        files.add("k", integer(2), None).await.unwrap_err(),
        files.incr("k", 1).await.unwrap_err(),
        files.delete("k").await.unwrap_err(),
        files.clear("").await.unwrap_err(),
        files.contains("k").await.map(|_| ()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Backend { backend: "file", .. }), "{error}");
        assert!(error.to_string().to_lowercase().contains("permission denied"), "{error}");
    }
    set_mode(&folder, 0o700);
    assert_eq!(files.get("k").await.unwrap(), Some(integer(1)), "nothing was lost");

    set_mode(&folder, 0o500);
    for shard in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        set_mode(&shard, 0o500);
    }
    assert_eq!(files.get("k").await.unwrap(), Some(integer(1)));
    assert!(files.set("k", integer(2), None).await.is_err());
    for shard in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        set_mode(&shard, 0o700);
    }
    set_mode(&folder, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_removed_underneath_is_made_again() {
    let (_around, folder) = folder();
    let files = open(&folder);
    for round in 0..5 {
        files.set("k", integer(round), None).await.unwrap();
        assert_eq!(files.get("k").await.unwrap(), Some(integer(round)));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(files.get("k").await.unwrap(), None);
        assert_eq!(files.incr("k", 1).await.unwrap(), None);
        assert!(!files.touch("k", None).await.unwrap());
        assert!(!files.delete("k").await.unwrap());
        files.clear("").await.unwrap();
        files.clear("k").await.unwrap();
        assert!(files.add("k", integer(round), None).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_again_and_again_under_load_it_neither_panics_nor_mixes_up() {
    let (_around, folder) = folder();
    let files = Files::builder(&folder).max_entries(50).build().unwrap();
    let remover = tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || {
            for _ in 0..50 {
                let _ = std::fs::remove_dir_all(&folder);
                std::thread::yield_now();
            }
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let files = files.clone();
        tasks.spawn(async move {
            for number in 0..200 {
                let key = format!("k{}", (task * 31 + number) % 100);
                // What the removal breaks may fail; what is read is right.
                let _ = files.set(&key, text(&key), None).await;
                if let Ok(Some(stored)) = files.get(&key).await {
                    assert_eq!(stored, text(&key));
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    remover.await.unwrap();
    files.set("after", text("all"), None).await.unwrap();
    assert_eq!(files.get("after").await.unwrap(), Some(text("all")));
}

/// A low-level caller gets the error; a page would be a miss.
#[tokio::test]
async fn a_path_through_a_file_is_a_typed_error() {
    let (around, _) = folder();
    let file = around.path().join("file");
    std::fs::write(&file, "").unwrap();
    let cache = Cache::builder(open(&file.join("cache"))).build();
    let error = cache.set("k", "v", 60).await.unwrap_err();
    assert!(matches!(error, Error::Backend { backend: "file", .. }), "{error}");
}

//! What lies in the directory: names, modes, content; and what is left alone because it is somebody else's.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use larder::backend::{Backend, Files};
use larder::{ManualClock, Timestamp};

use super::{entries_in, everything_in, folder, integer, open, text};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The umask is the process's, so this runs `sh` with one, which runs this test program again.
#[test]
fn directories_and_files_are_for_this_user_alone_whatever_the_umask() {
    let (around, folder) = folder();
    let deep = folder.join("made/on/the/way");
    for umask in ["000", "022", "077", "0277", "0777"] {
        let status = std::process::Command::new("sh")
            .args(["-c", "umask $0; exec \"$@\"", umask])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "stored::stores_one_entry", "--include-ignored"])
            .env("LARDER_FOLDER", deep.join(umask))
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        assert_eq!(entries_in(&deep.join(umask)).len(), 1, "umask {umask}");
    }
    for path in everything_in(around.path()) {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        // A lock is empty of secrets, and gets what the umask leaves of 0600.
        let is_right = if path.ends_with("lock") { mode(&path) & 0o177 == 0 } else { mode(&path) == expected };
        assert!(is_right, "{}: {:o}", path.display(), mode(&path));
    }
}

#[tokio::test]
#[ignore = "a part of the test above, which runs it in a process of its own"]
async fn stores_one_entry() {
    let folder = std::env::var_os("LARDER_FOLDER").unwrap();
    open(Path::new(&folder)).set(":1:k", text("v"), None).await.unwrap();
}

#[tokio::test]
async fn a_file_is_named_by_the_digest_of_the_key_and_holds_key_and_data() {
    let (_around, folder) = folder();
    open(&folder).set("abc", text("the data"), None).await.unwrap();
    let [file] = &entries_in(&folder)[..] else { panic!("one entry") };
    let name = "ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.larder";
    assert_eq!(*file, folder.join(name));
    let content = std::fs::read(file).unwrap();
    assert!(content.starts_with(b"larder\0\x01") && content.ends_with(b"abcthe data"));
    assert!(everything_in(&folder).iter().all(|path| !path.to_string_lossy().contains("../")));
}

/// Safety rule 12, and rule 21.
#[tokio::test]
async fn files_that_are_not_the_entry_are_a_miss_and_are_left_alone() {
    let (_around, folder) = folder();
    let files = open(&folder);
    files.set("a", text("of a"), None).await.unwrap();
    files.set("b", text("of b"), None).await.unwrap();
    let [first, second] = &entries_in(&folder)[..] else { panic!("two entries") };
    let whole = std::fs::read(first).unwrap();
    let key_of_first = if whole.ends_with(b"of a") { "a" } else { "b" };

    let mut newer = whole.clone();
    newer[7] = 2;
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let foreign: [&[u8]; 7] = [
        b"",
        b"larder",
        &whole[..whole.len() - 1],
        &[&whole[..], b"x"].concat(),
        &newer,
        &flipped,
        b"\x80\x05\x95\x0a\0\0\0\0\0\0\0GA\xda\x55\x6e\x8b\x20\0\0.x\x9ck`\x9d\xca\xca\0\x01=\x8ceS\xf4\0\x16:\x02\xe5",
    ];
    for content in foreign.into_iter().chain([&std::fs::read(second).unwrap()[..]]) {
        std::fs::write(first, content).unwrap();
        assert_eq!(files.get(key_of_first).await.unwrap(), None);
        assert_eq!(files.incr(key_of_first, 1).await.unwrap(), None);
        assert!(!files.touch(key_of_first, None).await.unwrap());
        assert_eq!(std::fs::read(first).unwrap(), content, "left as it was");
        assert!(files.add(key_of_first, text("again"), None).await.unwrap(), "but replaced by what is stored");
        assert_eq!(files.get(key_of_first).await.unwrap(), Some(text("again")));
    }

    std::fs::remove_file(first).unwrap();
    std::fs::create_dir(first).unwrap();
    assert_eq!(files.get(key_of_first).await.unwrap(), None);
    assert!(!files.contains(key_of_first).await.unwrap());
}

#[tokio::test]
async fn files_of_others_survive_everything() {
    let (_around, folder) = folder();
    std::fs::create_dir_all(folder.join("ba")).unwrap();
    let foreign = ["0123456789abcdef0123456789abcdef.djcache", "README", "ba/notes.txt", "ba/x.larder"];
    for name in foreign {
        std::fs::write(folder.join(name), name).unwrap();
    }
    let files = Files::builder(&folder).max_entries(20).build().unwrap();
    for number in 0..100 {
        files.set(&format!("k{number}"), integer(number), None).await.unwrap();
    }
    files.clear("k1").await.unwrap();
    files.clear("").await.unwrap();
    assert_eq!(files.get("k99").await.unwrap(), None);
    for name in foreign {
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), name);
    }
    let left: Vec<_> = entries_in(&folder);
    assert_eq!(left, [folder.join("ba/x.larder")]);
}

#[tokio::test]
async fn a_restart_of_the_process_keeps_entries_and_their_lifetimes() {
    let (_around, folder) = folder();
    let hands = ManualClock::at(Timestamp::from_secs(1_800_000_000));
    let make = || Files::builder(&folder).clock(hands.clock()).build().unwrap();
    make().set("k", text("v"), Some(Duration::from_nanos(1_500_000_001))).await.unwrap();
    make().set("ever", text("v"), None).await.unwrap();
    hands.advance(Duration::from_nanos(1_500_000_000));
    assert_eq!(make().get("k").await.unwrap(), Some(text("v")));
    hands.advance(Duration::from_nanos(1));
    assert_eq!(make().get("k").await.unwrap(), None, "dead at the very moment");
    assert_eq!(make().get("ever").await.unwrap(), Some(text("v")));
    assert_eq!(entries_in(&folder).len(), 2, "get removes nothing");
}

#[tokio::test]
async fn what_a_crash_left_unfinished_goes_after_an_hour() {
    let (_around, folder) = folder();
    open(&folder).set("k", text("v"), None).await.unwrap();
    let [old, new, foreign] = ["old.larder-unfinished", "new.larder-unfinished", "novel.txt"]
        .map(|name| folder.join("unfinished").join(name));
    for file in [&old, &new, &foreign] {
        std::fs::write(file, "half of an ent").unwrap();
    }
    for file in [&old, &foreign] {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3700)).unwrap();
    }
    // As a process does that begins.
    open(&folder).set("k", text("w"), None).await.unwrap();
    assert!(!old.exists() && new.exists());
    assert!(foreign.exists(), "somebody else's, however old");
}

#[tokio::test]
async fn nothing_unfinished_is_left_by_calls_that_went_well() {
    let (_around, folder) = folder();
    let files = open(&folder);
    for number in 0..20 {
        files.set("k", integer(number), None).await.unwrap();
        files.add("k", integer(number), None).await.unwrap();
        files.incr("k", 1).await.unwrap();
        files.touch("k", None).await.unwrap();
    }
    assert_eq!(everything_in(&folder.join("unfinished")), Vec::<std::path::PathBuf>::new());
    assert_eq!(entries_in(&folder).len(), 1);
}

#[tokio::test]
async fn a_set_that_is_dropped_undoes_nothing_that_came_after() {
    let (_around, folder) = folder();
    let files = open(&folder);
    files.set("k", text("old"), None).await.unwrap();
    let shard = entries_in(&folder)[0].parent().unwrap().to_owned();
    let unfinished = || everything_in(&folder.join("unfinished")).len();
    // Another process that is slow to let go of the entry's directory.
    let lock = std::fs::File::open(shard.join("lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    {
        let set = std::pin::pin!(files.set("k", text("late"), None));
        let is_written = async {
            while unfinished() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = set => panic!("it has no lock"),
            () = is_written => {}
        }
    }
    fs4::FileExt::unlock(&lock).unwrap();
    while unfinished() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(files.get("k").await.unwrap(), Some(text("old")), "what was given up is not stored later");
}

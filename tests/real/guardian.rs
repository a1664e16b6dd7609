//! A server process that ends with the test, however the test ends.
//! The servers of this folder start themselves through it; `guardian.sh` does the killing.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::place::{Folder, is_root};

/// How a server is started and ended.
pub struct Plan {
    /// What Debian calls its package.
    pub package: &'static str,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Who runs it when the test runs as root, for servers that refuse to be root.
    pub instead_of_root: Option<&'static str>,
    /// What a restart sends: the server may write down what it keeps.
    pub stop_signal: &'static str,
    /// What the end of the test sends.
    pub last_signal: &'static str,
}

/// A running server.
pub struct Guardian {
    name: String,
    folder: PathBuf,
    shell: Mutex<Shell>,
}

struct Shell {
    child: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pid: Option<u32>,
}

impl Guardian {
    /// Starts the server. The folder becomes the guardian's, which removes it at the end.
    pub fn start(folder: Folder, plan: &Plan) -> Self {
        let program = find_program(&plan.command[0])
            .unwrap_or_else(|| panic!("{} is not installed: apt-get install {}", plan.command[0], plan.package));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(include_str!("guardian.sh")).arg("guardian");
        shell.arg(&folder).arg(plan.stop_signal).arg(plan.last_signal);
        if let Some(user) = plan.instead_of_root.filter(|_| is_root()) {
            give_to(&folder, user);
            shell.args(["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"]);
        }
        shell.arg(program).args(&plan.command[1..]).envs(plan.environment.iter().cloned());
        // Its own group, so that an interrupt from the terminal ends the test first and not the guardian.
        shell.process_group(0).current_dir(&folder);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = shell.spawn().expect("sh starts");
        let folder = folder.keep();
        let words = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let shell = Mutex::new(Shell { child, words, answers, pid: None });
        let guardian = Guardian { name: plan.command[0].clone(), folder, shell };
        guardian.tell("start");
        guardian
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process of the server, while it is started.
    pub fn pid(&self) -> Option<u32> {
        self.shell.lock().unwrap().pid
    }

    /// Stops the process where it stands (SIGSTOP): connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.tell("pause");
    }

    pub fn resume(&self) {
        self.tell("resume");
    }

    /// Ends the process in its own way.
    pub fn stop(&self) {
        self.tell("stop");
    }

    /// Ends the process at once (SIGKILL).
    pub fn kill(&self) {
        self.tell("kill");
    }

    /// Starts it again after `stop` or `kill`, with the same arguments.
    pub fn start_again(&self) {
        self.tell("start");
    }

    /// What the server wrote to its standard output and error.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Whether the process ended by itself, as one does that cannot have its port.
    pub fn has_ended(&self) -> bool {
        let Some(pid) = self.pid() else { return true };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    }

    /// Asks until the server answers. False if the process ended instead; panics after the deadline.
    pub fn wait_until_ready(&self, deadline: Duration, answers: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        loop {
            if answers() {
                return true;
            }
            if self.has_ended() {
                return false;
            }
            assert!(start.elapsed() < deadline, "{} does not answer after {deadline:?}:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn tell(&self, word: &str) {
        let shell = &mut *self.shell.lock().unwrap();
        let words = shell.words.as_mut().expect("the guardian still listens");
        writeln!(words, "{word}").expect("the guardian lives");
        let mut answer = String::new();
        shell.answers.read_line(&mut answer).expect("the guardian lives");
        shell.pid = answer.trim().parse().ok();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let Ok(shell) = self.shell.get_mut() else { return };
        shell.words = None;
        let _ = shell.child.wait();
    }
}

/// Looks for a program in the path, and where Debian keeps what it does not put there.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from));
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn give_to(folder: &Path, user: &str) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| (fields.nth(1), fields.next()))
    });
    let Some((Some(uid), Some(gid))) = ids else { panic!("there is no user {user}, whom Debian's package makes") };
    std::os::unix::fs::chown(folder, uid.parse().ok(), gid.parse().ok()).expect("root gives folders away");
}

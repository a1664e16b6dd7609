//! The README's transcripts of curl, replayed over a real socket: what each `curl` line is answered has to be what the
//! README shows. `tests/site.rs` and `tests/headers_example.rs` replay those of their examples.

use std::time::SystemTime;

use axum::Router;
use larder::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const README: &str = include_str!("../../README.md");

/// The steps shown for an example, each of which begins with its command: of the first block of curl lines after the
/// comment that names the example.
pub fn steps(example: &str) -> Vec<&'static str> {
    let marker = format!("<!-- transcript of {example} -->");
    let (_, rest) = README.split_once(&marker).unwrap_or_else(|| panic!("the README has no {marker}"));
    let (_, block) = rest.split_once("```console\n").expect("a block of console");
    let (block, _) = block.split_once("```").expect("the block has an end");
    block.split("$ ").skip(1).collect()
}

/// Fails unless each of these is shown: a transcript that shows less would hold trivially.
pub fn assert_shows(steps: &[&str], shown: &[&str]) {
    for shown in shown {
        assert!(steps.iter().any(|step| step.contains(shown)), "the transcript shows {shown:?}");
    }
}

/// Asks `app` each step, after `wait` was told the date of the answer that is shown.
pub async fn replay(app: Router, steps: &[&str], wait: impl Fn(Timestamp)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    for shown in steps {
        wait(date_of(shown));
        let request = Curl::parse(command_of(shown));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.to_http().as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream, request.method == "HEAD").await;
        assert_eq!(comparable(&answer), comparable(answer_of(shown)), "to `{}`", command_of(shown));
    }
}

fn command_of(step: &str) -> &str {
    let command = step.lines().next().unwrap();
    command.split_once("; ").map_or(command, |(_wait, curl)| curl)
}

fn answer_of(step: &str) -> &str {
    step.split_once('\n').unwrap().1
}

fn date_of(step: &str) -> Timestamp {
    let date = step.lines().find_map(|line| line.strip_prefix("date: ")).expect("each answer has a date");
    Timestamp::from(SystemTime::from(date.parse::<httpdate::HttpDate>().unwrap()))
}

/// The status, the headers in any order, and the body; without what is from the system's clock: hyper's `Date`, and the
/// `Expires` of `never_cache`.
fn comparable(answer: &str) -> (&str, Vec<&str>, &str) {
    let (head, body) = answer.split_once("\n\n").unwrap_or((answer, ""));
    let (status, headers) = head.trim_end().split_once('\n').unwrap();
    let is_of_now = |line: &str| {
        line.starts_with("date: ") || (line.starts_with("expires: ") && head.contains("cache-control: max-age=0,"))
    };
    let mut headers: Vec<&str> = headers.lines().filter(|line| !is_of_now(line)).collect();
    headers.sort_unstable();
    (status, headers, body.trim_end())
}

/// What a command line of curl asks for, as far as the transcript uses it.
struct Curl {
    method: String,
    url: String,
    headers: Vec<String>,
}

impl Curl {
    fn parse(command: &str) -> Curl {
        let mut curl = Curl { method: "GET".into(), url: String::new(), headers: Vec::new() };
        let mut words = words(command).into_iter();
        assert_eq!(words.next().as_deref(), Some("curl"));
        while let Some(word) = words.next() {
            match word.as_str() {
                "-i" => {}
                "-I" => curl.method = "HEAD".into(),
                "-X" => curl.method = words.next().unwrap(),
                "-H" => curl.headers.push(words.next().unwrap()),
                option if option.starts_with('-') => panic!("{option} in `{command}` is not understood"),
                _ => curl.url = word,
            }
        }
        curl
    }

    fn to_http(&self) -> String {
        let (host, path) = self.url.split_at(self.url.find('/').unwrap());
        let mut lines = vec![format!("{} {path} HTTP/1.1", self.method), format!("Host: {host}")];
        lines.extend(["User-Agent: curl/8.5.0".into(), "Accept: */*".into()]);
        lines.extend(self.headers.iter().cloned());
        lines.join("\r\n") + "\r\n\r\n"
    }
}

/// Words as a shell splits them; quotes are the single ones.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (position, part) in command.split('\'').enumerate() {
        if position % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// An answer to its end, as curl prints it.
async fn read_answer(stream: &mut TcpStream, is_head: bool) -> String {
    let mut bytes = Vec::new();
    let end = loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the answer has an end");
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|length| length.parse::<usize>());
    let has_no_body = is_head || head.starts_with("HTTP/1.1 304 ");
    let whole = end + if has_no_body { 0 } else { length.expect("the body has a length").unwrap() };
    while bytes.len() < whole {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the body is as long as its head says");
    }
    assert_eq!(bytes.len(), whole, "nothing follows the answer");
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

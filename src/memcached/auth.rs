//! Who we are to a server that asks: SASL PLAIN (`memcached -S`, binary protocol) or ASCII authentication (`-Y file`).
//! The transport's streams are logged in here, right after they open and before anything else is asked.

use std::fmt;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Error;
use super::codec::binary::{self, Frame};

/// The longest answer to a login that is read, in bytes.
const LONGEST_ANSWER: usize = 4096;

/// A user name and a password, and how they are shown. Neither its `Debug` nor any error has the password in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    way: Way,
    user: String,
    password: String,
}

/// How a server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `-S`: SASL PLAIN; such a server speaks the binary protocol only.
    Sasl,
    /// `-Y`: the first `set` of a connection carries name and password, and the text protocol goes on.
    Ascii,
}

impl Login {
    pub(crate) fn new(way: Way, user: impl Into<String>, password: impl Into<String>) -> Login {
        Login { way, user: user.into(), password: password.into() }
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// Whether the protocol can carry it.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty name, and for characters that would end it on the way.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let ends_it: &[char] = match self.way {
            Way::Sasl => &['\0'],
            Way::Ascii => &['\0', '\r', '\n'],
        };
        let problem = if self.user.is_empty() {
            "the user name for memcached is empty"
        } else if self.user.contains(ends_it) {
            "the user name for memcached holds a zero byte or a line end"
        } else if self.password.contains(ends_it) {
            "the password for memcached holds a zero byte or a line end"
        } else {
            return Ok(());
        };
        Err(Error::Config(problem.to_owned()))
    }

    /// Logs a fresh connection in. It takes as long as it takes: the caller sets the deadline.
    ///
    /// # Errors
    /// [`Error::Auth`] if the server refuses, [`Error::Protocol`] and [`Error::Connection`] as they say.
    pub(crate) async fn shake_hands<S>(&self, stream: &mut S, server: &str) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.way {
            Way::Sasl => self.sasl(stream, server).await,
            Way::Ascii => self.ascii(stream, server).await,
        }
    }

    async fn sasl<S>(&self, stream: &mut S, server: &str) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let plain = format!("\0{}\0{}", self.user, self.password);
        send(stream, server, &binary::sasl_plain(plain.as_bytes())).await?;
        let mut input = BytesMut::new();
        loop {
            match binary::take_frame(&mut input, LONGEST_ANSWER).map_err(|what| broken(server, what))? {
                Some(frame) => return judge(&frame, &input).map_err(|problem| problem.of(server)),
                None => receive(stream, server, &mut input).await?,
            }
        }
    }

    async fn ascii<S>(&self, stream: &mut S, server: &str) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // A server without -Y would store the login as a value, for everybody to read.
        send(stream, server, b"mn\r\n").await?;
        match answer_line(stream, server).await?.as_str() {
            greeting if greeting.starts_with("CLIENT_ERROR unauth") => {}
            "MN" => {
                let said = "it asks for no login: it was started without -Y".to_owned();
                return Err(Error::Auth { server: server.to_owned(), said });
            }
            _ => return Err(broken(server, "the answer to the greeting is none".to_owned())),
        }
        let said = format!("{} {}", self.user, self.password);
        send(stream, server, format!("set login 0 0 {}\r\n{said}\r\n", said.len()).as_bytes()).await?;
        match answer_line(stream, server).await?.as_str() {
            "STORED" => Ok(()),
            refused if refused.starts_with("CLIENT_ERROR") => Err(Error::Auth {
                server: server.to_owned(),
                said: refused.trim_start_matches("CLIENT_ERROR").trim_start().to_owned(),
            }),
            _ => Err(broken(server, "the answer to the login is none".to_owned())),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("way", &self.way).field("user", &self.user).finish_non_exhaustive()
    }
}

enum Problem {
    Refused(String),
    Broken(&'static str),
}

impl Problem {
    fn of(self, server: &str) -> Error {
        match self {
            Problem::Refused(said) => Error::Auth { server: server.to_owned(), said },
            Problem::Broken(what) => broken(server, what.to_owned()),
        }
    }
}

fn judge(answer: &Frame, behind_it: &[u8]) -> Result<(), Problem> {
    if !answer.answers_sasl() || !behind_it.is_empty() {
        return Err(Problem::Broken("the answer to the login is none"));
    }
    match answer.status {
        binary::DONE => Ok(()),
        binary::UNKNOWN_COMMAND => Err(Problem::Refused("it knows no SASL: it was started without -S".to_owned())),
        binary::AUTH_GOES_ON => Err(Problem::Broken("it asks for more than SASL PLAIN has")),
        _ => Err(Problem::Refused(answer.said())),
    }
}

async fn send<S>(stream: &mut S, server: &str, bytes: &[u8]) -> Result<(), Error>
where
    S: AsyncWrite + Unpin,
{
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await.map_err(|source| lost(server, source))
}

async fn receive<S>(stream: &mut S, server: &str, input: &mut BytesMut) -> Result<(), Error>
where
    S: AsyncRead + Unpin,
{
    match stream.read_buf(input).await {
        Ok(0) => Err(lost(server, std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "closed during the login"))),
        Ok(_) => Ok(()),
        Err(source) => Err(lost(server, source)),
    }
}

/// One line, and nothing behind it.
async fn answer_line<S>(stream: &mut S, server: &str) -> Result<String, Error>
where
    S: AsyncRead + Unpin,
{
    let mut input = BytesMut::new();
    while !input.ends_with(b"\r\n") {
        if input.len() > LONGEST_ANSWER {
            return Err(broken(server, "the answer to the login does not end".to_owned()));
        }
        receive(stream, server, &mut input).await?;
    }
    Ok(String::from_utf8_lossy(&input).trim_end().to_owned())
}

fn lost(server: &str, source: std::io::Error) -> Error {
    Error::Connection { server: server.to_owned(), source: source.into() }
}

fn broken(server: &str, what: String) -> Error {
    Error::Protocol { server: server.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// What a login comes to if the server answers this and closes.
    async fn answered(way: Way, answer: &[u8]) -> Result<(), Error> {
        let login = Login::new(way, "larder", "hunter2");
        let (mut ours, mut theirs) = duplex(64 * 1024);
        let server = async {
            let mut asked = [0; 1024];
            let mut length = theirs.read(&mut asked).await.unwrap();
            if way == Way::Ascii {
                assert_eq!(&asked[..length], b"mn\r\n");
                theirs.write_all(b"CLIENT_ERROR unauthenticated\r\n").await.unwrap();
                length = theirs.read(&mut asked).await.unwrap();
            }
            assert!(String::from_utf8_lossy(&asked[..length]).contains("hunter2"));
            for piece in answer.chunks(7) {
                theirs.write_all(piece).await.unwrap();
            }
            drop(theirs);
        };
        tokio::join!(login.shake_hands(&mut ours, "cache:11211"), server).0
    }

    fn sasl(opcode: u8, status: u8, token: u8, said: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x81, opcode, 0, 0, 0, 0, 0, status, 0, 0, 0, said.len() as u8, 0, 0, 0, token];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(said);
        bytes
    }

    #[tokio::test]
    async fn a_server_that_agrees_lets_us_in() {
        assert!(answered(Way::Sasl, &sasl(0x21, 0, 0, b"Authenticated")).await.is_ok());
        assert!(answered(Way::Ascii, b"STORED\r\n").await.is_ok());
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_the_server() {
        let said = |result: Result<(), Error>| match result {
            Err(Error::Auth { server, said }) => {
                assert_eq!(server, "cache:11211");
                said
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(said(answered(Way::Sasl, &sasl(0x21, 0x20, 0, b"Auth failure.")).await), "Auth failure.");
        assert!(said(answered(Way::Sasl, &sasl(0x21, 0x81, 0, b"Unknown command")).await).contains("without -S"));
        let refused = answered(Way::Ascii, b"CLIENT_ERROR authentication failure\r\n").await;
        assert_eq!(said(refused), "authentication failure");
    }

    #[tokio::test]
    async fn anything_else_breaks_the_connection() {
        let agreed = sasl(0x21, 0, 0, b"");
        for (way, answer) in [
            (Way::Sasl, sasl(0x21, 0x21, 0, b"challenge")),
            (Way::Sasl, sasl(0x00, 0, 0, b"")),
            (Way::Sasl, sasl(0x21, 0, 7, b"")),
            (Way::Sasl, [&agreed[..], b"x"].concat()),
            (Way::Sasl, sasl(0x21, 0, 0, &[b'x'; 255]).repeat(30)),
            (Way::Sasl, b"ERROR\r\n".to_vec()),
            (Way::Ascii, b"ERROR\r\n".to_vec()),
            (Way::Ascii, b"STORED\r\nSTORED\r\n".to_vec()),
            (Way::Ascii, vec![b'x'; 10_000]),
            (Way::Ascii, b"\r\n".to_vec()),
        ] {
            let result = answered(way, &answer).await;
            assert!(matches!(result, Err(Error::Protocol { .. })), "{way:?} {answer:?}: {result:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_closes_is_a_lost_connection() {
        for way in [Way::Sasl, Way::Ascii] {
            for answer in [&b""[..], &[0x81][..]] {
                let answer = if way == Way::Ascii { &b"STO"[..] } else { answer };
                let result = answered(way, answer).await;
                assert!(matches!(result, Err(Error::Connection { .. })), "{way:?}: {result:?}");
            }
        }
    }

    #[test]
    fn what_the_protocols_cannot_carry_is_refused_without_repeating_it() {
        for way in [Way::Sasl, Way::Ascii] {
            assert!(Login::new(way, "us er", "pass word").check().is_ok());
            for (user, password) in [("", "hunter2"), ("a\0b", "hunter2"), ("larder", "hunter2\0")] {
                let message = Login::new(way, user, password).check().unwrap_err().to_string();
                assert!(message.contains("for memcached") && !message.contains("hunter2"), "{message}");
            }
        }
        assert!(Login::new(Way::Ascii, "larder", "hunter2\r\nflush_all").check().is_err());
        assert!(Login::new(Way::Ascii, "larder\n", "hunter2").check().is_err());
        assert!(!format!("{:?}", Login::new(Way::Sasl, "larder", "hunter2")).contains("hunter2"));
    }
}

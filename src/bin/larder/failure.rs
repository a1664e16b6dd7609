//! How a command ends when it does not end well: a sentence for people, an exit code for scripts.
//! Every command returns it; `main` tells it. No password of a URL gets past here.

use std::io;
use std::process::ExitCode;

use larder::Error;

use super::place::redacted;

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// 1: something is not there; the sentence, if it was not told already.
    Missing(Option<String>),
    /// 2: what was typed cannot be done.
    Usage(String),
    /// 3: a server, file or database did not do its part.
    Unreachable(String),
    /// 4: the store or the value refuses.
    Refused(String),
    /// 5: nobody said yes.
    Unconfirmed(String),
    /// Whoever read our output has enough: the quiet end of `larder ... | head`.
    Closed,
}

impl Failure {
    /// Says it on standard error; the exit code.
    pub fn tell(self) -> ExitCode {
        if let Some(message) = self.message() {
            note(message);
        }
        ExitCode::from(match self {
            Failure::Closed => 0,
            Failure::Missing(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
            Failure::Refused(_) => 4,
            Failure::Unconfirmed(_) => 5,
        })
    }

    fn message(&self) -> Option<&str> {
        match self {
            Failure::Closed => None,
            Failure::Missing(message) => message.as_deref(),
            Failure::Usage(message)
            | Failure::Unreachable(message)
            | Failure::Refused(message)
            | Failure::Unconfirmed(message) => Some(message),
        }
    }
}

/// The outcome of several things: the first failure is kept for the end, the next ones are told at once, and a reader who
/// left ends everything.
pub fn worse(so_far: Result<(), Failure>, next: Result<(), Failure>) -> Result<Result<(), Failure>, Failure> {
    match (so_far, next) {
        (_, Err(Failure::Closed)) => Err(Failure::Closed),
        (Ok(()), next) => Ok(next),
        (Err(first), Err(next)) => {
            if let Some(message) = next.message() {
                note(message);
            }
            Ok(Err(first))
        }
        (first, Ok(())) => Ok(first),
    }
}

/// Writes a line to standard error. A terminal that is gone is no reason to fail.
pub fn note(message: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "larder: {}", redacted(message));
}

/// What clap has to say. Help asked for is not a failure.
pub fn of_arguments(error: &clap::Error) -> ExitCode {
    use io::Write;
    if error.use_stderr() {
        let _ = write!(io::stderr(), "{}", redacted(&error.render().to_string()));
        return ExitCode::from(2);
    }
    let _ = error.print();
    ExitCode::SUCCESS
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            // The store is there, and will not.
            Error::Backend { source, .. } if is_refusal(&*source) => Failure::Refused(message),
            Error::Missing { .. } => Failure::Missing(Some(message)),
            Error::Key { .. } | Error::Url { .. } | Error::Config(_) => Failure::Usage(message),
            Error::NotANumber { .. }
            | Error::Overflow { .. }
            | Error::Encode { .. }
            | Error::Decode { .. }
            | Error::TooLarge { .. } => Failure::Refused(message),
            _ => Failure::Unreachable(message),
        }
    }
}

/// Whether a store was asked, and said that it would not.
fn is_refusal(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    #[cfg(feature = "memcached")]
    if let Some(larder::memcached::Error::Server { .. }) = source.downcast_ref() {
        return true;
    }
    #[cfg(feature = "redis")]
    if let Some(error) = source.downcast_ref::<redis::RedisError>() {
        // What a server says that will do its part in a moment.
        const NOT_YET: [&str; 4] = ["LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN"];
        return error.code().is_some_and(|code| !NOT_YET.contains(&code));
    }
    #[cfg(feature = "database")]
    if let Some(error) = source.downcast_ref::<larder::backend::DatabaseError>() {
        use larder::backend::DatabaseProblem::{Busy, Down, Other};
        return !matches!(error.problem(), Busy | Down | Other);
    }
    let _ = source;
    false
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Unreachable(error.to_string()),
        }
    }
}

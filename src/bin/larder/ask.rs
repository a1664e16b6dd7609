//! Asks before anything is destroyed: on a terminal a question, without one a refusal that names `--yes`.
//! Every command that removes more than one thing calls it first.

use std::io::{self, BufRead, IsTerminal, Write};

use super::arguments::Confirmation;
use super::failure::Failure;
use super::place::redacted;

/// Goes on only if `--yes` was given or a person says yes. `deed` is a sentence that names what will be gone, and where.
pub fn confirm(confirmation: &Confirmation, deed: &str) -> Result<(), Failure> {
    if confirmation.yes {
        return Ok(());
    }
    let deed = redacted(deed);
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Unconfirmed(format!(
            "{deed} Nothing was changed: there is no terminal to ask on, so say --yes."
        )));
    }
    let mut stderr = io::stderr();
    let mut answer = String::new();
    write!(stderr, "{deed} Go on? [y/N] ")?;
    stderr.flush()?;
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Unconfirmed("nothing was changed".to_owned())),
    }
}

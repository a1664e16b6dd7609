//! The bar that shows how far a command is, on standard error, where a person is looking.
//! Commands that go through all keys tick it.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::arguments::ProgressArguments;

/// How far a command is.
pub struct Progress {
    bar: ProgressBar,
    /// What the bar was not told yet.
    untold: u64,
}

/// How much is done between two looks at the bar: looking costs more than reading a key.
const STEP: u64 = 500;

impl Progress {
    /// A bar towards `total`; hidden without a terminal, or where keys are printed on the same one.
    pub fn new(arguments: &ProgressArguments, total: u64, what: &'static str, prints_on_terminal: bool) -> Self {
        let is_taken = prints_on_terminal && std::io::stdout().is_terminal();
        let is_seen = !arguments.quiet && std::io::stderr().is_terminal() && !is_taken;
        if !is_seen {
            return Progress {
                bar: ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()),
                untold: 0,
            };
        }
        let bar = ProgressBar::new(total).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {human_pos} of {human_len}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar, untold: 0 }
    }

    /// So much more is done.
    pub fn add(&mut self, done: u64) {
        self.untold += done;
        if self.untold >= STEP {
            self.bar.inc(std::mem::take(&mut self.untold));
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

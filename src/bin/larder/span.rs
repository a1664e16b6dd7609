//! Times as people write them, `90s`, `5m`, `never`, and as the command prints them.
//! The arguments are read with it; every age and time left is printed with it.

use std::time::Duration;

use larder::Timeout;

/// A stretch of time, or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Never,
    For(Duration),
}

impl Span {
    /// The stretch as a deadline; nobody waits longer than a day.
    pub fn deadline(self) -> Duration {
        const DAY: Duration = Duration::from_secs(86_400);
        match self {
            Span::Never => DAY,
            Span::For(duration) => duration.min(DAY),
        }
    }
}

impl From<Span> for Timeout {
    fn from(span: Span) -> Self {
        match span {
            Span::Never => Timeout::Never,
            Span::For(duration) => Timeout::After(duration),
        }
    }
}

/// Reads seconds, with a unit behind them or without: `30`, `0.5`, `250ms`, `90s`, `5m`, `2h`, `7d`, `never`.
pub fn parse_span(text: &str) -> Result<Span, String> {
    if text == "never" {
        return Ok(Span::Never);
    }
    let unit_at = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        unit => return Err(format!("{unit:?} is no unit of time: there are ms, s, m, h, d, and never")),
    };
    let number: f64 = number.parse().map_err(|_| "write seconds, or `250ms`, `90s`, `5m`, `2h`, `7d`, `never`")?;
    let span = Duration::try_from_secs_f64(number * seconds).map_err(|_| "it is negative, or longer than any time")?;
    Ok(Span::For(span))
}

/// A duration in its two largest units: `4 d 3 h`, `12 s`.
pub fn print_span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} m {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} m"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

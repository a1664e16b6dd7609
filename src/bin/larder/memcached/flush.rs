//! `larder memcached flush`: everything in the servers, now or later, after somebody said yes.

use super::arguments::Flush;
use super::fleet::Fleet;
use crate::ask::confirm;
use crate::failure::Failure;
use crate::print::counted;
use crate::span::{Span, print_span};

pub async fn run(fleet: &Fleet, arguments: Flush) -> Result<(), Failure> {
    let delay = match arguments.delay {
        None => std::time::Duration::ZERO,
        Some(Span::For(delay)) => delay,
        Some(Span::Never) => return Err(Failure::Usage("--delay never would flush nothing".to_owned())),
    };
    let mut items = 0;
    for answer in fleet.ask(|node| async move { Ok(node.server()?.stats(None).await?) }).await {
        let stats = answer?;
        let counter = stats.iter().find(|(name, _)| name == "curr_items");
        items += counter.and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or_default();
    }
    let when = if delay.is_zero() { String::new() } else { format!(" in {}", print_span(delay)) };
    let deed = format!(
        "This deletes EVERYTHING on {}{when}, {}, whoever stored it and whatever its prefix.",
        fleet.servers(),
        counted(items, "item")
    );
    confirm(&arguments.confirmation, &deed)?;
    fleet.ask(move |node| async move { Ok(node.server()?.flush(delay).await?) }).await.into_iter().collect()
}

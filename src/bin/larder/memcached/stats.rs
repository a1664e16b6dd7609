//! `larder memcached stats`: the counters of every server, in the form of memcstat or as JSON.

use serde_json::{Map, Value};

use super::arguments::Stats;
use super::fleet::Fleet;
use crate::failure::{Failure, worse};
use crate::print::{Out, printable};

pub async fn run(fleet: &Fleet, arguments: Stats) -> Result<(), Failure> {
    // The words that change a server instead of telling of it.
    if let Some(kind @ ("reset" | "detail on" | "detail off")) = arguments.kind.as_deref() {
        return Err(Failure::Usage(format!("`stats {kind}` changes the server: larder only looks")));
    }
    let kind = arguments.kind.clone();
    let answers = fleet.ask(move |node| {
        let kind = kind.clone();
        async move { Ok(node.server()?.stats(kind.as_deref()).await?) }
    });
    let mut out = Out::new();
    let mut outcome = Ok(());
    for (node, answer) in fleet.nodes.iter().zip(answers.await) {
        match answer {
            Ok(stats) if arguments.json => {
                let stats: Map<String, Value> = stats.into_iter().map(|(name, value)| (name, typed(value))).collect();
                out.json(&serde_json::json!({ "server": node.name, "stats": stats }))?;
            }
            Ok(stats) => {
                out.line(format!("Server: {}", node.name))?;
                for (name, value) in stats {
                    out.line(format!("\t{}: {}", printable(name.as_bytes()), printable(value.as_bytes())))?;
                }
            }
            Err(failure) => outcome = worse(outcome, Err(failure))?,
        }
    }
    out.finish()?;
    outcome
}

/// A counter as a number where it is one that JSON gives back unchanged.
fn typed(value: String) -> Value {
    match value.parse::<u64>() {
        Ok(number) if number.to_string() == value => number.into(),
        _ => value.into(),
    }
}

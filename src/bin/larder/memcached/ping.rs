//! `larder memcached ping`: is every server there, which version runs, and how long does an answer take.

use std::time::Instant;

use super::fleet::Fleet;
use crate::failure::{Failure, worse};
use crate::print::Out;

pub async fn run(fleet: &Fleet) -> Result<(), Failure> {
    let answers = fleet.ask(|node| async move {
        let asked = Instant::now();
        let version = node.server()?.version().await?;
        Ok((version, asked.elapsed()))
    });
    let mut out = Out::new();
    let mut outcome = Ok(());
    for (node, answer) in fleet.nodes.iter().zip(answers.await) {
        outcome = match answer {
            Ok((version, took)) => {
                out.line(format!("{}: memcached {version}, {:.1} ms", node.name, took.as_secs_f64() * 1000.0))?;
                outcome
            }
            Err(failure) => worse(outcome, Err(failure))?,
        };
    }
    out.finish()?;
    outcome
}

//! The command that makes the table of a database cache.
//! `main` calls it; the database backend does the work.

use larder::backend::Database;

use super::arguments::{CreateTable, PlaceArguments};
use super::failure::Failure;
use super::print::Out;

pub async fn run(place: &PlaceArguments, arguments: CreateTable) -> Result<(), Failure> {
    let database = Database::from_url(&place.url()?)?;
    let mut out = Out::new();
    if arguments.dry_run {
        for statement in database.table_sql() {
            out.line(format!("{statement};"))?;
        }
    } else if database.create_table().await? {
        out.line(format!("made the table {:?} in {}", database.table(), place.name()?))?;
    } else {
        out.line(format!("the table {:?} is there already in {}", database.table(), place.name()?))?;
    }
    Ok(out.finish()?)
}

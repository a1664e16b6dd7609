//! The table of a database cache.

use super::command::larder;
use super::real::new_folder;

#[test]
fn the_table_is_made_once() {
    let folder = new_folder("cli-table");
    let url = format!("sqlite://{}?table=my_cache", folder.join("cache.db").display());
    let refused = larder(&url, &["set", "a", "1"]).ends_with(4);
    assert!(refused.err.contains("my_cache"), "{refused:?}");
    let sql = larder(&url, &["create-table", "--dry-run"]).done();
    assert!(sql.text().contains("CREATE TABLE") && sql.text().contains("my_cache"), "{sql:?}");
    assert!(larder(&url, &["create-table"]).done().text().contains("made the table"));
    assert!(larder(&url, &["create-table"]).done().text().contains("there already"));
    larder(&url, &["set", "a", "1"]).done();
    assert_eq!(larder(&url, &["get", "a"]).done().text(), "1\n");
    larder("memory://", &["create-table"]).ends_with(2);
}

//! The SQL of each database, written from one set of templates; identifiers are quoted (DB-13). Pure; the backend asks for
//! the statements of its table once, and for those on several keys as they come.

use std::sync::Arc;

use super::row_key::DIGEST_MARK;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Sqlite,
    Postgres,
    /// MariaDB as well.
    MySql,
}

impl Vendor {
    /// The name in logs and errors.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Vendor::Sqlite => "sqlite",
            Vendor::Postgres => "postgres",
            Vendor::MySql => "mysql",
        }
    }

    /// An identifier between quotes.
    pub(super) fn quoted(self, identifier: &str) -> String {
        match self {
            Vendor::MySql => format!("`{}`", identifier.replace('`', "``")),
            Vendor::Sqlite | Vendor::Postgres => format!("\"{}\"", identifier.replace('"', "\"\"")),
        }
    }
}

/// A statement, shared by the calls that run it.
pub(super) type Sql = Arc<str>;

/// The statements on one table that do not depend on how many keys are asked for.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) vendor: Vendor,
    table: String,
    /// Args: a sought key, now. Columns: key, value.
    pub(super) get: Sql,
    /// Args: key, now. One number.
    pub(super) count_live: Sql,
    /// Args: key, value, expires.
    pub(super) set: Sql,
    /// Args: key, value, expires; and now, where one statement can do it.
    pub(super) add: Sql,
    /// What `add` does where the row is there and `add` alone cannot: takes the place of a dead one, or of another key's that
    /// the column does not tell apart. Args: key, value, expires, key, now, key.
    pub(super) take_over: Option<Sql>,
    /// Args: expires, key, now.
    pub(super) touch: Sql,
    /// Args: key, now.
    pub(super) delete: Sql,
    /// Args: value, key, now, the value it is to replace.
    pub(super) replace: Sql,
    pub(super) clear: Sql,
    /// Args: characters of the prefix, prefix.
    pub(super) clear_prefix: Sql,
    /// Args: a key, how many. The rows with digested keys behind that key. Columns: key, value.
    pub(super) digested: Sql,
    pub(super) count: Sql,
    /// Args: now, now, how many.
    pub(super) delete_dead: Sql,
    /// Args: how many.
    pub(super) delete_soonest: Sql,
    /// Fails where the table is not there or is no cache table.
    pub(super) probe: Sql,
    /// What [`Statements::get_many`] asks for few keys, from one on.
    get_few: Vec<Sql>,
}

/// Statements on up to so many keys are written once and kept prepared: a page asks for two to five, again and again.
pub(super) const FEW_KEYS: usize = 8;

impl Statements {
    pub(super) fn of(vendor: Vendor, table: &str) -> Self {
        let table = vendor.quoted(table);
        let sql = |template: &str| Sql::from(rendered(vendor, &table, template));
        let of = |any: &'static str, mysql: &'static str| if vendor == Vendor::MySql { mysql } else { any };
        // PostgreSQL leaves alone the rows that somebody is writing, and waits for nobody.
        let unlocked = |statement: &str| match vendor {
            Vendor::Postgres => statement.replace("LIMIT {arg}", "LIMIT {arg} FOR UPDATE SKIP LOCKED"),
            Vendor::Sqlite | Vendor::MySql => statement.to_owned(),
        };
        let mut statements = Statements {
            vendor,
            get: sql("SELECT {cache_key}, {value} FROM {table} WHERE {cache_key} = {arg} AND {expires} > {moment}"),
            count_live: sql("SELECT COUNT(*) FROM {table} WHERE {is_key} AND {expires} > {moment}"),
            set: sql("INSERT INTO {table} ({columns}) VALUES {row} {or_replace}"),
            add: sql(of(
                "INSERT INTO {table} ({columns}) VALUES {row} {or_replace} WHERE {table}.{expires} <= {moment}",
                "INSERT INTO {table} ({columns}) VALUES {row}",
            )),
            take_over: (vendor == Vendor::MySql).then(|| {
                sql("UPDATE {table} SET {cache_key} = {arg}, {value} = {arg}, {expires} = {moment} \
                     WHERE {cache_key} = {arg} AND ({expires} <= {moment} OR {exact_key} <> CAST({arg} AS BINARY))")
            }),
            touch: sql("UPDATE {table} SET {expires} = {moment} WHERE {is_key} AND {expires} > {moment}"),
            delete: sql("DELETE FROM {table} WHERE {is_key} AND {expires} > {moment}"),
            replace: sql("UPDATE {table} SET {value} = {arg} WHERE {is_key} AND {expires} > {moment} AND {is_value}"),
            clear: sql("DELETE FROM {table}"),
            clear_prefix: sql("DELETE FROM {table} WHERE {begins_with} AND NOT {is_digest}"),
            digested: sql("SELECT {cache_key}, {value} FROM {table} WHERE {cache_key} > {arg} AND {is_digest} \
                 ORDER BY {cache_key} LIMIT {arg}"),
            count: sql("SELECT COUNT(*) FROM {table}"),
            delete_dead: sql(&unlocked(of(
                "DELETE FROM {table} WHERE {expires} <= {moment} AND {cache_key} IN \
                 (SELECT {cache_key} FROM {table} WHERE {expires} <= {moment} ORDER BY {expires} LIMIT {arg})",
                "DELETE FROM {table} WHERE {expires} <= {moment} AND {expires} <= {moment} ORDER BY {expires} LIMIT {arg}",
            ))),
            delete_soonest: sql(&unlocked(of(
                "DELETE FROM {table} WHERE {cache_key} IN \
                 (SELECT {cache_key} FROM {table} ORDER BY {expires} LIMIT {arg})",
                "DELETE FROM {table} ORDER BY {expires} LIMIT {arg}",
            ))),
            probe: sql("SELECT {cache_key}, {value}, {expires} FROM {table} WHERE 1 = 0"),
            get_few: Vec::new(),
            table,
        };
        statements.get_few = (1..=FEW_KEYS).map(|keys| statements.written_get_many(keys)).collect();
        statements
    }

    /// Args: sought keys, now. Columns: key, value.
    pub(super) fn get_many(&self, keys: usize) -> Sql {
        match keys.checked_sub(1).and_then(|position| self.get_few.get(position)) {
            Some(written) => Arc::clone(written),
            None => self.written_get_many(keys),
        }
    }

    fn written_get_many(&self, keys: usize) -> Sql {
        let may_be_one_of = self.may_be_one_of(keys);
        // PostgreSQL plans a prepared statement once for all keys, and would rather go through all living rows of a small
        // table than find a few by their keys. Such a condition is nothing it has an index for.
        let is_alive = match self.vendor {
            Vendor::Postgres => "({expires} > {moment}) IS TRUE",
            Vendor::Sqlite | Vendor::MySql => "{expires} > {moment}",
        };
        self.sql(&format!("SELECT {{cache_key}}, {{value}} FROM {{table}} WHERE {may_be_one_of} AND {is_alive}"))
    }

    /// Args: key, value and expires of each row. No key comes twice.
    pub(super) fn set_many(&self, rows: usize) -> Sql {
        let rows = vec!["{row}"; rows].join(", ");
        self.sql(&format!("INSERT INTO {{table}} ({{columns}}) VALUES {rows} {{or_replace}}"))
    }

    /// Args: keys.
    pub(super) fn delete_many(&self, keys: usize) -> Sql {
        let is_one_of = self.is_one_of(keys);
        if self.vendor == Vendor::Postgres {
            // Locked in the order that `set_many` writes in, or both may wait for each other until one is undone.
            return self.sql(&format!(
                "DELETE FROM {{table}} WHERE {{cache_key}} IN \
                 (SELECT {{cache_key}} FROM {{table}} WHERE {is_one_of} ORDER BY {{cache_key}} COLLATE \"C\" FOR UPDATE)"
            ));
        }
        self.sql(&format!("DELETE FROM {{table}} WHERE {is_one_of}"))
    }

    /// Whether a row is that of one of several keys.
    fn is_one_of(&self, keys: usize) -> String {
        let mut is_one_of = self.may_be_one_of(keys);
        if self.vendor == Vendor::MySql {
            is_one_of += &format!(" AND {{exact_key}} IN ({})", vec!["CAST({arg} AS BINARY)"; keys].join(", "));
        }
        is_one_of
    }

    /// The same of keys as the column tells them apart. Many are one argument to PostgreSQL; few are one each, as it finds
    /// rows by their keys where it sees that there are few.
    fn may_be_one_of(&self, keys: usize) -> String {
        if self.vendor == Vendor::Postgres && keys > FEW_KEYS {
            return "{cache_key} = ANY({arg})".to_owned();
        }
        format!("{{cache_key}} IN ({})", vec!["{arg}"; keys].join(", "))
    }

    fn sql(&self, template: &str) -> Sql {
        rendered(self.vendor, &self.table, template).into()
    }
}

/// The statements that make a cache table with its index, as Django's `createcachetable` writes them (CCT-4).
///
/// On MySQL the index is made with the table, since there a statement that changes tables cannot be undone; and the keys are
/// compared by their characters, not as words of a language, so that `abc` and `ABC` are two keys.
pub(super) fn create_table(vendor: Vendor, table: &str) -> Vec<String> {
    let index = vendor.quoted(&format!("{table}_expires"));
    let table = vendor.quoted(table);
    match vendor {
        Vendor::Sqlite | Vendor::Postgres => {
            let moment = if vendor == Vendor::Sqlite { "datetime" } else { "timestamp with time zone" };
            vec![
                format!(
                    "CREATE TABLE {table} (\n    \"cache_key\" varchar(255) NOT NULL PRIMARY KEY,\n    \
                     \"value\" text NOT NULL,\n    \"expires\" {moment} NOT NULL\n)"
                ),
                format!("CREATE INDEX {index} ON {table} (\"expires\")"),
            ]
        }
        Vendor::MySql => vec![format!(
            "CREATE TABLE {table} (\n    \
             `cache_key` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,\n    \
             `value` longtext NOT NULL,\n    `expires` datetime(6) NOT NULL,\n    INDEX {index} (`expires`)\n)"
        )],
    }
}

/// How many tables or views there are with a name. Args: the name; on PostgreSQL quoted.
pub(super) const fn count_tables(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Sqlite => {
            "SELECT COUNT(*) FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE"
        }
        Vendor::Postgres => "SELECT COUNT(to_regclass($1))",
        Vendor::MySql => {
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
        }
    }
}

/// A statement out of a template: words in braces stand for what differs among databases.
fn rendered(vendor: Vendor, table: &str, template: &str) -> String {
    let mut sql = Renderer { vendor, table, args: 0, out: String::with_capacity(template.len() * 2) };
    sql.render(template);
    sql.out
}

struct Renderer<'a> {
    vendor: Vendor,
    table: &'a str,
    args: usize,
    out: String,
}

impl Renderer<'_> {
    fn render(&mut self, template: &str) {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            self.out.push_str(before);
            let (word, after) = after.split_once('}').unwrap_or((after, ""));
            self.word(word);
            rest = after;
        }
        self.out.push_str(rest);
    }

    fn word(&mut self, word: &str) {
        use Vendor::{MySql, Postgres, Sqlite};
        match (word, self.vendor) {
            ("table", _) => self.out.push_str(self.table),
            // What SQLite finds between double quotes and knows no column for is a text to it, and no error.
            ("cache_key" | "value" | "expires", Sqlite) => self.out.push_str(&MySql.quoted(word)),
            ("cache_key" | "value" | "expires", vendor) => self.out.push_str(&vendor.quoted(word)),
            ("columns", _) => self.render("{cache_key}, {value}, {expires}"),
            ("row", _) => self.render("({arg}, {arg}, {moment})"),
            ("arg", Sqlite | MySql) => self.out.push('?'),
            ("arg", Postgres) => {
                self.args += 1;
                self.out.push_str(&format!("${}", self.args));
            }
            ("moment", Sqlite | Postgres) => self.render("{arg}"),
            ("moment", MySql) => self.render("CAST({arg} AS DATETIME(6))"),
            ("is_key", Sqlite | Postgres) => self.render("{cache_key} = {arg}"),
            // The first half finds the row by the index. The second half compares byte by byte, whatever the collation of
            // the column, so that the key `abc` never finds `ABC`.
            ("is_key", MySql) => self.render("{cache_key} = {arg} AND {exact_key} = CAST({arg} AS BINARY)"),
            ("exact_key", _) => self.render("CAST(CONVERT({cache_key} USING utf8mb4) AS BINARY)"),
            // A text and the same bytes as a blob are not equal to SQLite, and are read as one.
            ("is_value", Sqlite) => self.render("CAST({value} AS BLOB) = CAST({arg} AS BLOB)"),
            ("is_value", Postgres) => self.render("{value} = {arg}"),
            ("is_value", MySql) => self.render("CAST({value} AS BINARY) = CAST({arg} AS BINARY)"),
            ("begins_with", Sqlite) => self.render("substr({cache_key}, 1, {arg}) = {arg}"),
            ("begins_with", Postgres) => self.render("left({cache_key}, CAST({arg} AS integer)) = {arg}"),
            ("begins_with", MySql) => {
                self.render("CAST(CONVERT(LEFT({cache_key}, {arg}) USING utf8mb4) AS BINARY) = CAST({arg} AS BINARY)")
            }
            ("is_digest", Sqlite) => self.begins_with_mark("substr({cache_key}, 1, "),
            ("is_digest", Postgres | MySql) => self.begins_with_mark("left({cache_key}, "),
            ("or_replace", Sqlite | Postgres) => self.render(
                "ON CONFLICT ({cache_key}) DO UPDATE SET {value} = excluded.{value}, {expires} = excluded.{expires}",
            ),
            // The key too: the row may be one of a key that the column does not tell apart.
            ("or_replace", MySql) => self.render(
                "ON DUPLICATE KEY UPDATE {cache_key} = VALUES({cache_key}), {value} = VALUES({value}), \
                 {expires} = VALUES({expires})",
            ),
            (unknown, _) => unreachable!("the templates above know no {unknown:?}"),
        }
    }

    fn begins_with_mark(&mut self, beginning: &str) {
        self.render(&format!("({beginning}{}) = '{DIGEST_MARK}')", DIGEST_MARK.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(Vendor::Sqlite.quoted("my \"cache\" table"), "\"my \"\"cache\"\" table\"");
        assert_eq!(Vendor::MySql.quoted("my `cache`"), "`my ``cache```");
        let statements = Statements::of(Vendor::Postgres, "a {arg} \"?\" $1");
        assert_eq!(
            &*statements.delete,
            "DELETE FROM \"a {arg} \"\"?\"\" $1\" WHERE \"cache_key\" = $1 \
             AND \"expires\" > $2"
        );
    }

    #[test]
    fn the_arguments_of_postgres_are_numbered_in_order() {
        let statements = Statements::of(Vendor::Postgres, "t");
        let set_many = statements.set_many(2);
        let positions: Vec<_> = (1..=6).map(|number| set_many.find(&format!("${number}")).unwrap()).collect();
        assert!(positions.is_sorted() && !set_many.contains("$7"), "{set_many}");
    }

    #[test]
    fn one_statement_asks_for_many_keys() {
        let sql = |vendor| Statements::of(vendor, "t").get_many(2).to_string();
        assert!(sql(Vendor::Sqlite).contains("IN (?, ?)"));
        assert!(sql(Vendor::Postgres).contains("IN ($1, $2)"));
        let many = Statements::of(Vendor::Postgres, "t").get_many(FEW_KEYS + 1);
        assert!(many.contains("= ANY($1)"), "{many}");
        assert!(sql(Vendor::MySql).contains("IN (?, ?) AND `expires`"));
        let deletion = Statements::of(Vendor::MySql, "t").delete_many(2);
        assert!(deletion.contains("IN (?, ?) AND CAST("), "{deletion}");
    }
}

//! The calls of the contract, each as one statement, or two where that is said.
//! The cache floor calls them through [`Backend`].

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::time::Duration;

use super::connections::{Arg, KeyAndValue, Statement};
use super::dialect::{FEW_KEYS, Sql, Vendor};
use super::problem::{Trouble, is_taken};
use super::row_key::{DIGEST_MARK, RowKey, may_begin_plain_keys};
use super::row_value::{Content, decode, decode_digested, encode};
use super::{COUNTERS, Database, culling, told};
use crate::backend::{Backend, Patience, Reply, Stored, counted};
use crate::clock::Clock;
use crate::error::Error;

/// How many keys are asked for or deleted by one statement; databases take some ten thousand arguments.
const MOST_KEYS: usize = 10_000;
/// How many entries are written by one statement.
const MOST_ROWS: usize = 100;
/// About how much text is written by one statement, in bytes.
const MOST_TEXT: usize = 1 << 20;
/// How often a row is read again that others changed. More often it is no race: the table has a trigger, or cannot hold the
/// key as it is.
const MOST_OVERTAKEN: u32 = 1_000;
/// How many rows with digested keys are looked at at once. Each may be as large as a value may be.
const DIGESTED_PAGE: i64 = 16;

impl Backend for Database {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    fn patience(&self) -> Option<Patience> {
        Some(Patience::default())
    }

    fn largest_value(&self) -> usize {
        self.0.max_value_bytes
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        Reply::pending(async move { Ok(self.content(key).await?.and_then(|(_, content)| content.value())) })
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        Reply::pending(async move {
            if let Err(too_large) = self.check_size(key, &value) {
                self.delete(key).await?;
                return Err(too_large);
            }
            self.write(Statement::new(&self.0.statements.set, self.row(key, &value, ttl))).await?;
            culling::count_writes(&self.0, 1);
            Ok(())
        })
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::pending(async move {
            self.check_size(key, &value)?;
            let row = self.row(key, &value, ttl);
            let is_added = match &self.0.statements.take_over {
                None => {
                    let args = [row, vec![self.now()]].concat();
                    self.write(Statement::new(&self.0.statements.add, args).once()).await? > 0
                }
                Some(take_over) => self.insert_or_take_over(key, row, take_over).await?,
            };
            culling::count_writes(&self.0, usize::from(is_added));
            Ok(is_added)
        })
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::pending(async move {
            let args = [self.expiry(ttl), key_arg(key), self.now()];
            Ok(self.write(Statement::new(&self.0.statements.touch, args)).await? > 0)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::pending(async move {
            let args = [key_arg(key), self.now()];
            Ok(self.write(Statement::new(&self.0.statements.delete, args)).await? > 0)
        })
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        Reply::pending(async move {
            let _alone = self.0.counters[counter_of(key)].lock().await;
            for _ in 0..MOST_OVERTAKEN {
                let Some((text, content)) = self.content(key).await? else { return Ok(None) };
                let Content::Value(stored) = content else { return Err(Error::NotANumber { key: key.to_owned() }) };
                let (number, next) = counted(key, &stored, delta)?;
                let next = encode(key, &RowKey::of(key), &next);
                // What is no UTF-8 is no base64 either, and was foreign.
                let text = String::from_utf8(text).unwrap_or_default();
                let args = [Arg::Text(next), key_arg(key), self.now(), Arg::Text(text)];
                // Nothing is changed where somebody else has changed it meanwhile, in another process.
                if self.write(Statement::new(&self.0.statements.replace, args).once()).await? > 0 {
                    return Ok(Some(number));
                }
            }
            Err(told(&self.0, Trouble::Overtaken))
        })
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        Reply::pending(async move {
            let statements = &self.0.statements;
            if prefix.is_empty() {
                return self.write_at_length(Statement::new(&statements.clear, [])).await.map(|_| ());
            }
            if may_begin_plain_keys(prefix) {
                let args = [Arg::Number(prefix.chars().count() as i64), Arg::from(prefix)];
                self.write_at_length(Statement::new(&statements.clear_prefix, args)).await?;
            }
            self.clear_digested(prefix).await
        })
    }

    fn contains<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::pending(async move {
            self.prepare().await?;
            let live = Statement::new(&self.0.statements.count_live, [key_arg(key), self.now()]);
            let live = self.0.connections.count(live).await;
            Ok(live.map_err(|trouble| told(&self.0, trouble))? > 0)
        })
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        Reply::pending(async move {
            let mut found = Vec::with_capacity(keys.len());
            for keys in keys.chunks(MOST_KEYS) {
                found.append(&mut self.get_some(keys).await?);
            }
            Ok(found)
        })
    }

    fn set_many<'a>(&'a self, entries: &'a [(String, Stored)], ttl: Option<Duration>) -> Reply<'a, Vec<usize>> {
        Reply::pending(async move {
            let mut refused = Vec::new();
            // Of one key's values the last one counts. In the order of keys, so that two calls that write the same entries
            // do not wait for each other's rows.
            let mut rows: BTreeMap<&str, &Stored> = BTreeMap::new();
            for (position, (key, value)) in entries.iter().enumerate() {
                if self.check_size(key, value).is_err() {
                    refused.push(position);
                    rows.remove(key.as_str());
                } else {
                    rows.insert(key, value);
                }
            }
            let refused_keys: Vec<String> = refused.iter().map(|position| entries[*position].0.clone()).collect();
            self.delete_many(&refused_keys).await?;
            let mut rows = rows.into_iter().peekable();
            while rows.peek().is_some() {
                let (mut args, mut count, mut text) = (Vec::new(), 0, 0);
                while let Some((key, value)) =
                    rows.next_if(|(_, value)| count == 0 || (count < MOST_ROWS && text + value.data.len() < MOST_TEXT))
                {
                    count += 1;
                    text += value.data.len();
                    args.extend(self.row(key, value, ttl));
                }
                self.write(Statement::new(&self.0.statements.set_many(count), args).passing()).await?;
                culling::count_writes(&self.0, count);
            }
            Ok(refused)
        })
    }

    fn delete_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, ()> {
        Reply::pending(async move {
            for keys in keys.chunks(MOST_KEYS) {
                let keys: Vec<String> = keys.iter().map(|key| RowKey::of(key).text().to_owned()).collect();
                let count = keys.len();
                let sql = self.0.statements.delete_many(count);
                self.write(self.on_many(Statement::new(&sql, [Arg::Keys(keys)]), count)).await?;
            }
            Ok(())
        })
    }

    fn close(&self) -> Reply<'_, ()> {
        Reply::pending(async move {
            self.0.connections.close().await;
            Ok(())
        })
    }
}

impl Database {
    async fn write(&self, statement: Statement) -> Result<u64, Error> {
        self.prepare().await?;
        self.0.connections.write(statement).await.map_err(|trouble| told(&self.0, trouble))
    }

    async fn write_at_length(&self, statement: Statement) -> Result<u64, Error> {
        self.prepare().await?;
        self.0.connections.write_at_length(statement).await.map_err(|trouble| told(&self.0, trouble))
    }

    async fn read(&self, statement: Statement) -> Result<Vec<KeyAndValue>, Error> {
        self.prepare().await?;
        self.0.connections.read(statement).await.map_err(|trouble| told(&self.0, trouble))
    }

    async fn read_one(&self, statement: Statement) -> Result<Option<KeyAndValue>, Error> {
        self.prepare().await?;
        self.0.connections.read_one(statement).await.map_err(|trouble| told(&self.0, trouble))
    }

    /// A statement on several keys: only PostgreSQL, which takes them as one argument, has one text for any number of them.
    fn on_many(&self, statement: Statement, keys: usize) -> Statement {
        let is_seldom = self.0.statements.vendor != Vendor::Postgres && keys > FEW_KEYS;
        if is_seldom { statement.passing() } else { statement }
    }

    fn now(&self) -> Arg {
        Arg::Moment(self.0.clock.now())
    }

    fn expiry(&self, ttl: Option<Duration>) -> Arg {
        Arg::Moment(self.0.clock.now().after_ttl(ttl))
    }

    fn row(&self, key: &str, value: &Stored, ttl: Option<Duration>) -> Vec<Arg> {
        let row_key = RowKey::of(key);
        vec![Arg::from(row_key.text()), Arg::Text(encode(key, &row_key, value)), self.expiry(ttl)]
    }

    fn check_size(&self, key: &str, value: &Stored) -> Result<(), Error> {
        let (size, limit) = (value.data.len(), self.0.max_value_bytes);
        if size > limit { Err(Error::TooLarge { key: key.to_owned(), size, limit }) } else { Ok(()) }
    }

    /// The text of the live row under a key, and what it means. One statement.
    async fn content(&self, key: &str) -> Result<Option<(Vec<u8>, Content)>, Error> {
        let row_key = RowKey::of(key);
        let args = [Arg::from(row_key.text()), self.now()];
        let found = self.read_one(Statement::new(&self.0.statements.get, args)).await?;
        let row = found.filter(|(its_key, _)| its_key == row_key.text().as_bytes());
        Ok(row.map(|(_, text)| {
            let content = decode(key, &row_key, &text);
            (text, content)
        }))
    }

    /// The values of some keys, in their order. One statement.
    async fn get_some(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        let row_keys: Vec<RowKey<'_>> = keys.iter().map(|key| RowKey::of(key)).collect();
        let mut texts: Vec<String> = row_keys.iter().map(|row_key| row_key.text().to_owned()).collect();
        texts.sort_unstable();
        texts.dedup();
        let count = texts.len();
        let sql = self.0.statements.get_many(count);
        let rows = self.read(self.on_many(Statement::new(&sql, [Arg::Sought(texts), self.now()]), count)).await?;
        let value = |(key, row_key): (&String, &RowKey<'_>), text: Option<&Vec<u8>>| {
            text.and_then(|text| decode(key, row_key, text).value())
        };
        let asked = keys.iter().zip(&row_keys);
        if count <= FEW_KEYS {
            let text = |row_key: &RowKey<'_>| {
                rows.iter().find(|(its_key, _)| its_key == row_key.text().as_bytes()).map(|(_, text)| text)
            };
            return Ok(asked.map(|asked| value(asked, text(asked.1))).collect());
        }
        let rows: HashMap<Vec<u8>, Vec<u8>> = rows.into_iter().collect();
        Ok(asked.map(|asked| value(asked, rows.get(asked.1.text().as_bytes()))).collect())
    }

    /// Adds where an upsert cannot say whether it stored: inserts, or takes over a row that is there and dead.
    async fn insert_or_take_over(&self, key: &str, row: Vec<Arg>, take_over: &Sql) -> Result<bool, Error> {
        for _ in 0..MOST_OVERTAKEN {
            self.prepare().await?;
            match self.0.connections.write(Statement::new(&self.0.statements.add, row.clone()).once()).await {
                Ok(_) => return Ok(true),
                Err(trouble) if is_taken(&trouble) => {}
                Err(trouble) => return Err(told(&self.0, trouble)),
            }
            let text = RowKey::of(key).text().to_owned();
            let args = [row.clone(), vec![Arg::Text(text.clone()), self.now(), Arg::Text(text)]].concat();
            if self.write(Statement::new(take_over, args).once()).await? > 0 {
                return Ok(true);
            }
            // Alive, as a rule. Deleted between the two statements, once in a while: then the first one may try again.
            if self.contains(key).await? {
                return Ok(false);
            }
        }
        Err(told(&self.0, Trouble::Overtaken))
    }

    /// Removes the entries under digests whose whole key begins with `prefix`.
    async fn clear_digested(&self, prefix: &str) -> Result<(), Error> {
        let mut last = DIGEST_MARK.to_owned();
        loop {
            let args = [Arg::from(last.as_str()), Arg::Number(DIGESTED_PAGE)];
            let rows = self.read(Statement::new(&self.0.statements.digested, args)).await?;
            let keys: Vec<(String, bool)> = rows
                .into_iter()
                .filter_map(|(row_key, text)| {
                    let begins = decode_digested(&text).is_some_and(|(key, _)| key.starts_with(prefix.as_bytes()));
                    Some((String::from_utf8(row_key).ok()?, begins))
                })
                .collect();
            let Some((behind, _)) = keys.last() else { return Ok(()) };
            last.clone_from(behind);
            let doomed: Vec<String> = keys.into_iter().filter(|(_, begins)| *begins).map(|(key, _)| key).collect();
            if !doomed.is_empty() {
                let count = doomed.len();
                let sql = self.0.statements.delete_many(count);
                self.write(self.on_many(Statement::new(&sql, [Arg::Keys(doomed)]), count)).await?;
            }
        }
    }
}

fn key_arg(key: &str) -> Arg {
    Arg::Key(RowKey::of(key).text().to_owned())
}

/// Which of the locks is for a key. Two keys may have one: then they wait for each other, and that is all.
fn counter_of(key: &str) -> usize {
    (foldhash::fast::FixedState::default().hash_one(key) % COUNTERS as u64) as usize
}

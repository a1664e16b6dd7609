//! The meta text protocol of memcached 1.6 (`protocol.txt`, "Meta Commands"), with the classic `get` for several keys,
//! which is faster than as many `mg`. The connection writes requests and reads replies with it.

mod line;
#[cfg(test)]
mod tests;

use bytes::{Buf, BytesMut};

use super::super::value::Value;
use super::{
    Asked, Broken, Codec, Decoder, Direction, Keys, LONGEST_LINE, MOST_ANNOUNCED, Output, Refusal, Reply, Request,
    Step, Store,
};
use line::{Line, decimal};

/// The longest line of keys that is sent, in bytes: servers read longer ones into slower memory.
const LONGEST_ASKED: usize = 2000;

/// The meta protocol.
pub(crate) struct Meta;

impl Codec for Meta {
    fn encode(&self, request: &Request<'_>, token: u32, output: &mut Output) {
        match *request {
            Request::Get { key, with_cas } => {
                begin(output, b"mg ", key);
                output.put(if with_cas { b" f v c" } else { b" f v" });
                end(output, token);
            }
            Request::GetAndTouch { key, expiry } => {
                begin(output, b"mg ", key);
                output.put(b" f v");
                put_expiry(output, expiry.signed());
                end(output, token);
            }
            Request::GetMany { keys } => {
                let mut start = 0;
                while start < keys.len() {
                    let line = line_of(keys, start);
                    output.put(b"get");
                    for key in (start..line).filter_map(|position| keys.get(position)) {
                        output.put(b" ");
                        output.put(key);
                    }
                    output.put(b"\r\n");
                    start = line;
                }
            }
            Request::Store { how, key, data, flags, expiry } => {
                begin(output, b"ms ", key);
                output.put(b" ");
                output.put_decimal(data.len() as u64);
                output.put(match how {
                    Store::Set | Store::Cas(_) => b"",
                    Store::Add => b" ME",
                    Store::Replace => b" MR",
                    Store::Append => b" MA",
                    Store::Prepend => b" MP",
                });
                if let Store::Cas(cas) = how {
                    output.put(b" C");
                    output.put_decimal(cas);
                }
                if flags != 0 {
                    output.put(b" F");
                    output.put_decimal(u64::from(flags));
                }
                put_expiry(output, expiry.signed());
                end(output, token);
                output.put_data(data);
                output.put(b"\r\n");
            }
            Request::Touch { key, expiry } => {
                begin(output, b"mg ", key);
                put_expiry(output, expiry.signed());
                end(output, token);
            }
            Request::Delete { key } => {
                begin(output, b"md ", key);
                end(output, token);
            }
            Request::Count { key, direction, delta } => {
                begin(output, b"ma ", key);
                output.put(match direction {
                    Direction::Up => b" v D",
                    Direction::Down => b" v MD D",
                });
                output.put_decimal(delta);
                end(output, token);
            }
            Request::Nothing => output.put(b"mn\r\n"),
        }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(MetaDecoder::default())
    }
}

fn begin(output: &mut Output, command: &[u8], key: &[u8]) {
    output.put(command);
    output.put(key);
}

fn end(output: &mut Output, token: u32) {
    output.put(b" O");
    output.put_decimal(u64::from(token));
    output.put(b"\r\n");
}

fn put_expiry(output: &mut Output, expiry: i32) {
    output.put(if expiry < 0 { b" T-" } else { b" T" });
    output.put_decimal(u64::from(expiry.unsigned_abs()));
}

/// Where the line ends that begins with the key at `start`: the position after its last key.
fn line_of(keys: &Keys, start: usize) -> usize {
    let mut length = 0;
    let fitting = (start..keys.len()).take_while(|position| {
        length += keys.get(*position).map_or(0, <[u8]>::len) + 1;
        length <= LONGEST_ASKED
    });
    (start + fitting.count()).max(start + 1)
}

/// Reads what a server answers to [`Meta`].
#[derive(Default)]
struct MetaDecoder {
    /// A value whose line was read, and whose bytes are not all there.
    announced: Option<Announced>,
    /// The reply to a request for several keys, as far as it got.
    many: Option<Many>,
}

struct Announced {
    length: usize,
    flags: u32,
    cas: Option<u64>,
}

struct Many {
    values: Vec<Option<Value>>,
    /// The position of the first key of this line that may still come.
    next: usize,
    /// The position after the last key of this line.
    end: usize,
}

impl Decoder for MetaDecoder {
    fn decode(&mut self, input: &mut BytesMut, asked: &Asked, token: u32) -> Result<Step, Broken> {
        match asked {
            Asked::Many(keys) => self.many(input, keys),
            Asked::Value | Asked::Count => self.value_or_line(input, asked, token),
            Asked::Store | Asked::Change | Asked::Nothing => {
                match take_line(input, |line| plain(line, asked, token))? {
                    Some(reply) => Ok(Step::Reply(reply)),
                    None => Ok(Step::More(1)),
                }
            }
        }
    }
}

impl MetaDecoder {
    /// `VA <length> <flags ...>` and a value, or a line that says why not.
    fn value_or_line(&mut self, input: &mut BytesMut, asked: &Asked, token: u32) -> Result<Step, Broken> {
        if self.announced.is_none() {
            let read = take_line(input, |line| {
                if line.word() == b"VA" { announced(line, token).map(Err) } else { plain(line, asked, token).map(Ok) }
            })?;
            match read {
                None => return Ok(Step::More(1)),
                Some(Ok(reply)) => return Ok(Step::Reply(reply)),
                Some(Err(announced)) => self.announced = Some(announced),
            }
        }
        let value = match self.take_value(input)? {
            Ok(value) => value,
            Err(missing) => return Ok(Step::More(missing)),
        };
        match asked {
            Asked::Count => match decimal(&value.data) {
                Some(number) => Ok(Step::Reply(Reply::Number(number))),
                None => Err(Broken("the reply to a count is no number".to_owned())),
            },
            _ => Ok(Step::Reply(Reply::Value(value))),
        }
    }

    /// Lines of `VALUE <key> <flags> <length>` with their values, each line of keys closed by `END`.
    fn many(&mut self, input: &mut BytesMut, keys: &Keys) -> Result<Step, Broken> {
        let mut many = self.many.take().unwrap_or_else(|| Many {
            values: vec![None; keys.len()],
            next: 0,
            end: line_of(keys, 0).min(keys.len()),
        });
        loop {
            if self.announced.is_some() {
                match self.take_value(input)? {
                    // The key before `next` is the one whose line was read.
                    Ok(value) => many.values[many.next - 1] = Some(value),
                    Err(missing) => {
                        self.many = Some(many);
                        return Ok(Step::More(missing));
                    }
                }
            }
            let untouched = many.next == 0 && many.end == keys.len();
            let read = take_line(input, |mut line| match line.word() {
                b"END" if line.is_at_end() => Ok(Found::End),
                b"VALUE" => found(line, keys, &mut many),
                b"SERVER_ERROR" if untouched => Ok(Found::Refused(refused(line)?)),
                _ => Err(unexpected(line)),
            })?;
            match read {
                None => {
                    self.many = Some(many);
                    return Ok(Step::More(1));
                }
                Some(Found::Value(announced)) => self.announced = Some(announced),
                Some(Found::Refused(refusal)) => return Ok(Step::Reply(Reply::Refused(refusal))),
                Some(Found::End) if many.end < keys.len() => {
                    (many.next, many.end) = (many.end, line_of(keys, many.end));
                }
                Some(Found::End) => return Ok(Step::Reply(Reply::Values(many.values))),
            }
        }
    }

    /// The announced value, or how many bytes of it are missing.
    fn take_value(&mut self, input: &mut BytesMut) -> Result<Result<Value, usize>, Broken> {
        let Some(Announced { length, flags, cas }) = self.announced else {
            return Err(Broken("a value without its line".to_owned()));
        };
        if input.len() < length + 2 {
            return Ok(Err(length + 2 - input.len()));
        }
        if &input[length..length + 2] != b"\r\n" {
            return Err(Broken("a value is not as long as its line says".to_owned()));
        }
        let data = input.split_to(length).freeze();
        input.advance(2);
        self.announced = None;
        Ok(Ok(Value { data, flags, cas }))
    }
}

enum Found {
    Value(Announced),
    End,
    Refused(Refusal),
}

/// Takes a whole line off the input and reads it, if it is there.
fn take_line<T>(input: &mut BytesMut, read: impl FnOnce(Line<'_>) -> Result<T, Broken>) -> Result<Option<T>, Broken> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        if input.len() > LONGEST_LINE {
            return Err(Broken("a line without an end".to_owned()));
        }
        return Ok(None);
    };
    let Some(line) = input[..end].strip_suffix(b"\r") else {
        return Err(Broken("a line does not end as lines do".to_owned()));
    };
    let read = read(Line::new(line))?;
    input.advance(end + 1);
    Ok(Some(read))
}

/// The numbers of `VA <length> f<flags> c<cas> O<token>`. A value without the token is nobody's.
fn announced(mut line: Line<'_>, token: u32) -> Result<Announced, Broken> {
    line.next();
    let length = length(line.next())?;
    let mut announced = Announced { length, flags: 0, cas: None };
    let mut is_ours = false;
    while let Some((sign, number)) = line.next_flag() {
        match sign {
            b'f' => announced.flags = fitting(number)?,
            b'c' => announced.cas = Some(decimal(number).ok_or_else(bad_number)?),
            b'O' => is_ours = check_token(number, token)?,
            _ => {}
        }
    }
    if is_ours { Ok(announced) } else { Err(no_token()) }
}

/// The numbers of `VALUE <key> <flags> <length>`, whose key must be one of this line's that are still to come.
fn found(mut line: Line<'_>, keys: &Keys, many: &mut Many) -> Result<Found, Broken> {
    line.next();
    let key = line.next().unwrap_or_default();
    let flags = fitting(line.next().unwrap_or_default())?;
    let length = length(line.next())?;
    match (many.next..many.end).find(|position| keys.get(*position) == Some(key)) {
        Some(position) if line.is_at_end() => {
            many.next = position + 1;
            Ok(Found::Value(Announced { length, flags, cas: None }))
        }
        Some(_) => Err(Broken("a VALUE line is too long".to_owned())),
        None => Err(Broken("a value under a key that was not asked for".to_owned())),
    }
}

/// A reply that is one line.
fn plain(mut line: Line<'_>, asked: &Asked, token: u32) -> Result<Reply, Broken> {
    let reply = match (line.word(), asked) {
        (b"EN", Asked::Value | Asked::Change) => Reply::Missing,
        (b"MN", Asked::Nothing) if line.is_single() => return Ok(Reply::Done),
        (b"HD", Asked::Store | Asked::Change) => Reply::Done,
        (b"NS", Asked::Store) => Reply::NotStored,
        (b"EX", Asked::Store) => Reply::Changed,
        (b"NF", Asked::Store | Asked::Change | Asked::Count) => Reply::Missing,
        (b"SERVER_ERROR", asked) if !matches!(asked, Asked::Nothing) => return Ok(Reply::Refused(refused(line)?)),
        (b"CLIENT_ERROR", Asked::Count) if line.says("cannot increment or decrement non-numeric value") => {
            return Ok(Reply::Refused(Refusal::NotANumber));
        }
        _ => return Err(unexpected(line)),
    };
    let is_bare_miss = reply == Reply::Missing && line.is_single();
    line.next();
    let mut is_ours = false;
    while let Some((sign, number)) = line.next_flag() {
        is_ours |= sign == b'O' && check_token(number, token)?;
    }
    // Older servers say a miss without its token; the order of the replies has to do.
    if is_ours || is_bare_miss { Ok(reply) } else { Err(no_token()) }
}

fn refused(line: Line<'_>) -> Result<Refusal, Broken> {
    if line.says("object too large for cache") {
        return Ok(Refusal::TooLarge);
    }
    Ok(Refusal::Said(line.shown()))
}

fn length(word: Option<&[u8]>) -> Result<usize, Broken> {
    let length = decimal(word.unwrap_or_default()).ok_or_else(bad_number)?;
    match usize::try_from(length) {
        Ok(length) if length <= MOST_ANNOUNCED => Ok(length),
        _ => Err(Broken(format!("a value of {length} bytes is announced"))),
    }
}

fn fitting(number: &[u8]) -> Result<u32, Broken> {
    decimal(number).and_then(|number| u32::try_from(number).ok()).ok_or_else(bad_number)
}

fn check_token(number: &[u8], token: u32) -> Result<bool, Broken> {
    if decimal(number) == Some(u64::from(token)) {
        Ok(true)
    } else {
        Err(Broken("a reply to another request (its opaque is another one)".to_owned()))
    }
}

fn bad_number() -> Broken {
    Broken("a number that is none, or is out of range".to_owned())
}

fn no_token() -> Broken {
    Broken("a reply without the opaque of its request".to_owned())
}

fn unexpected(line: Line<'_>) -> Broken {
    Broken(format!("an unexpected line, {}", super::shown(line.whole())))
}

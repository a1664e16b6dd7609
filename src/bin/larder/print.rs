//! Standard output: buffered, and quiet when its reader leaves; bytes made safe for a terminal; numbers made readable.
//! Every command prints through it.

#![cfg_attr(not(feature = "memcached"), allow(dead_code, reason = "lists and sizes are memcached's"))]

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Standard output, locked for this command.
pub struct Out {
    inner: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Out {
    pub fn new() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Out { inner: BufWriter::with_capacity(64 << 10, stdout.lock()), is_terminal }
    }

    /// A line of text.
    pub fn line(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.inner.write_all(text.as_ref())?;
        self.inner.write_all(b"\n")
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)
    }

    /// A line of JSON.
    pub fn json(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.inner, value)?;
        self.inner.write_all(b"\n")
    }

    /// Shows what is buffered if a person is looking.
    pub fn show(&mut self) -> io::Result<()> {
        if self.is_terminal { self.inner.flush() } else { Ok(()) }
    }

    /// Shows the rest.
    pub fn finish(mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A key or another short byte string on one line: what is not printable text becomes `\xNN`.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || (character.is_whitespace() && character != ' ') {
                character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
            } else {
                out.push(character);
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}

/// Puts bytes into a JSON object: as text under `name` if they are UTF-8, else under `name` with `_base64`.
pub fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

/// A number with commas between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One thing, several things: `1 key`, `2,000 keys`.
pub fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Bytes in the unit that suits them: `512 B`, `1.5 KiB`, `63.1 MiB`.
pub fn sized(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1_024.0;
    let mut unit = 0;
    // What would be printed as 1024.0 belongs to the next unit.
    while size >= 1_023.95 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

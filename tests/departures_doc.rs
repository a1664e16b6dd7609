//! The page on departures says exactly what `tests/departures.toml` says, and the README's short list names only what is
//! there. With `LARDER_WRITE_DOCS=1` the page is written anew.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

const PAGE: &str = "src/docs/departures.md";

const INTRODUCTION: &str = "\
Where larder departs from Django, and why.

larder answers as Django's cache framework does, 5.2 and 6.1, but for what this page lists. What Django answered is recorded
in `tests/vectors`; `tests/django.rs` asks larder the same, and holds every answer that differs to the departure that it
is counted under. *Seen in* is how many of those recordings show it. Where there are none, a test of larder's own does.

The numbers are those of Django's behaviours, which recordings, tests and doc comments name: KEY and LOW are the low-level API,
CFG settings, LOC the memory backend, DB the database backend, MEM the memcached backends, FIL the file backend, RED the
Redis backend, PGK the keys of pages, MID the middleware, VIEW the decorators, AGE, HDR and VRY the
header functions, CON conditional requests, LIM what is widely held to be wrong or missing in Django. The safety rules are larder's own:
`tests/safety.rs` has a test named after each.
";

/// A heading, and the families of rules whose departures stand under it.
const SECTIONS: [(&str, &[&str]); 4] = [
    ("Pages", &["MID", "PGK", "VIEW", "LIM"]),
    ("Headers", &["AGE", "HDR", "VRY"]),
    ("Conditional requests", &["CON"]),
    ("Values, and the store", &["KEY", "LOW", "LOC", "CFG", "DB", "MEM", "FIL", "RED"]),
];

#[derive(Deserialize)]
struct Table {
    departure: Vec<Departure>,
    out_of_scope: Vec<OutOfScope>,
}

#[derive(Deserialize)]
struct Departure {
    name: String,
    rules: Vec<String>,
    cases: Vec<String>,
    django: String,
    ours: String,
    why: String,
}

#[derive(Deserialize)]
struct OutOfScope {
    name: String,
    rules: Vec<String>,
    cases: Vec<String>,
    why: String,
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = page(&table());
    if std::env::var_os("LARDER_WRITE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &page).unwrap();
    }
    let present = std::fs::read_to_string(&path).unwrap();
    for (line, (present, expected)) in (1..).zip(present.lines().zip(page.lines())) {
        assert_eq!(present, expected, "line {line} of {PAGE}: run this test with LARDER_WRITE_DOCS=1");
    }
    assert!(present == page, "{PAGE} is of another length: run this test with LARDER_WRITE_DOCS=1");
}

#[test]
fn names_are_there_once_and_every_departure_has_a_section() {
    let table = table();
    let mut names = HashSet::new();
    for entry in &table.departure {
        assert!(names.insert(&entry.name), "{} is there twice", entry.name);
        assert_eq!(SECTIONS.iter().filter(|(_, families)| is_of(entry, families)).count(), 1, "{}", entry.name);
    }
    for entry in &table.out_of_scope {
        assert!(names.insert(&entry.name), "{} is there twice", entry.name);
    }
}

/// Each line of the README's list ends with the name of its departure.
#[test]
fn the_readme_names_ten_departures_of_the_table() {
    let table = table();
    let (_, list) = include_str!("../README.md").split_once("<!-- departures -->").unwrap();
    let (list, _) = list.split_once("<!-- /departures -->").unwrap();
    let named: Vec<&str> =
        list.lines().filter_map(|line| line.strip_prefix("- ")?.rsplit_once("(`")?.1.strip_suffix("`)")).collect();
    assert_eq!(named.len(), 10, "{named:?}");
    assert_eq!(list.lines().filter(|line| line.starts_with("- ")).count(), named.len());
    for name in named {
        assert!(table.departure.iter().any(|entry| entry.name == name), "{name} is no departure");
    }
}

fn table() -> Table {
    toml::from_str(include_str!("departures.toml")).unwrap()
}

fn page(table: &Table) -> String {
    let mut page = INTRODUCTION.to_owned();
    for (heading, families) in SECTIONS {
        let _ =
            write!(page, "\n# {heading}\n\n| departure | Django | larder | why | seen in |\n|---|---|---|---|---:|\n");
        for entry in table.departure.iter().filter(|entry| is_of(entry, families)) {
            let Departure { name, rules, cases, django, ours, why } = entry;
            let cells = [django, ours, why].map(|text| cell(text));
            let _ = writeln!(page, "| `{name}` {} | {} | {} |", ranges(rules), cells.join(" | "), cases.len());
        }
    }
    page.push_str("\n# Out of scope\n\nWhat only Python can ask, or no HTTP server lets through.\n\n");
    page.push_str("| what | why | seen in |\n|---|---|---:|\n");
    for OutOfScope { name, rules, cases, why } in &table.out_of_scope {
        let _ = writeln!(page, "| `{name}` {} | {} | {} |", ranges(rules), cell(why), cases.len());
    }
    page
}

/// Whether the first rule of an entry, which is the one that it is most about, is of one of these families.
fn is_of(entry: &Departure, families: &[&str]) -> bool {
    entry.rules.first().is_some_and(|rule| families.contains(&split(rule).0))
}

/// Text as a cell of a table holds it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn split(rule: &str) -> (&str, u32) {
    let (family, number) = rule.split_once('-').unwrap();
    (family, number.parse().unwrap())
}

/// `MID-1, MID-2, MID-3, MID-7` is `MID-1 to MID-3, MID-7`.
fn ranges(rules: &[String]) -> String {
    let mut ranges: Vec<(&str, u32, u32)> = Vec::new();
    for (family, number) in rules.iter().map(|rule| split(rule)) {
        match ranges.last_mut() {
            Some((of, _, last)) if *of == family && *last + 1 == number => *last = number,
            _ => ranges.push((family, number, number)),
        }
    }
    let words = ranges.into_iter().map(|(family, first, last)| match last - first {
        0 => format!("{family}-{first}"),
        1 => format!("{family}-{first}, {family}-{last}"),
        _ => format!("{family}-{first} to {family}-{last}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

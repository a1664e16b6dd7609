//! Loads vectors and departures, has each case judged, prints and counts. Every file's runner goes through [`run`].
//! A runner looks at what is in a case, never at its ID, so that other vectors of the same format run the same way.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The departure of whoever answers as Django 6.1 where 5.2 answers differently.
pub const AS_DJANGO_6_1: &str = "as-django-6.1";

/// One case of a file of vectors.
pub struct Case {
    pub file: &'static str,
    pub id: String,
    pub rules: Vec<String>,
    pub value: Value,
}

impl Case {
    /// What Django 5.2 answered.
    pub fn expected(&self) -> &Value {
        &self.value["expected"]
    }

    /// What Django 6.1 answered.
    pub fn expected_6_1(&self) -> &Value {
        self.value.get("expected_6_1").unwrap_or_else(|| self.expected())
    }

    /// The judgment where our answer does not depend on the version: the same as both, or as 6.1 only.
    /// `None` if it is not what 6.1 answered.
    pub fn judge_as_6_1(&self, got: &str, is_ours: impl Fn(&Value) -> bool) -> Option<Judged> {
        match (is_ours(self.expected()), is_ours(self.expected_6_1())) {
            (true, true) => Some(Judged::Same),
            (false, true) => Some(self.differs(got, Some(AS_DJANGO_6_1))),
            (_, false) => None,
        }
    }

    /// Our answer is another one; `ours` names the departure that promises exactly it.
    pub fn differs(&self, got: &str, ours: Option<&'static str>) -> Judged {
        let mut expected = self.expected().to_string();
        if let Some(newer) = self.value.get("expected_6_1") {
            expected = format!("{expected}, 6.1: {newer}");
        }
        Judged::Differs { expected, got: got.to_owned(), ours }
    }
}

/// How our answer compares with Django's.
pub enum Judged {
    /// our answer is Django's
    Same,
    /// our answer differs; `ours` is Some(departure name) iff the runner itself verified that our answer is exactly what that departure promises
    Differs { expected: String, got: String, ours: Option<&'static str> },
    /// the case is Python-only; the name of an [[out_of_scope]] entry
    OutOfScope(&'static str),
}

/// What a file came to.
#[derive(Default)]
pub struct Summary {
    pub cases: usize,
    pub same: usize,
    pub departures: usize,
    pub out_of_scope: usize,
    pub failed: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cases, {} as Django, {} departures", self.cases, self.same, self.departures)?;
        if self.out_of_scope > 0 {
            write!(f, ", {} out of scope", self.out_of_scope)?;
        }
        write!(f, ", {} failed", self.failed)
    }
}

/// `tests/departures.toml`, and the folder of vectors it is held against.
pub struct Departures {
    table: Table,
    folder: PathBuf,
    is_default_folder: bool,
    seen: RefCell<HashSet<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    departure: Vec<Departure>,
    #[serde(default)]
    out_of_scope: Vec<OutOfScope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Departure {
    name: String,
    rules: Vec<String>,
    cases: Vec<String>,
    #[allow(dead_code, reason = "read by people and by the documentation")]
    django: String,
    #[allow(dead_code, reason = "read by people and by the documentation")]
    ours: String,
    #[allow(dead_code, reason = "read by people and by the documentation")]
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutOfScope {
    name: String,
    rules: Vec<String>,
    cases: Vec<String>,
    #[allow(dead_code, reason = "read by people and by the documentation")]
    why: String,
}

impl Departures {
    /// Reads the table, and where the vectors are.
    pub fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("tests/departures.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let table = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let default = root.join("tests/vectors");
        let folder = std::env::var_os("LARDER_VECTORS").map_or_else(|| default.clone(), PathBuf::from);
        let is_default_folder = folder == default;
        Departures { table, folder, is_default_folder, seen: RefCell::default() }
    }

    /// Prints the IDs of the table that are in no file of the default folder; how many there are.
    pub fn report_stale(&self) -> usize {
        if !self.is_default_folder {
            return 0;
        }
        let departures = self.table.departure.iter().flat_map(|entry| &entry.cases);
        let out_of_scope = self.table.out_of_scope.iter().flat_map(|entry| &entry.cases);
        let seen = self.seen.borrow();
        let stale: Vec<&String> = departures.chain(out_of_scope).filter(|id| !seen.contains(*id)).collect();
        for id in &stale {
            println!("departures.toml lists {id}, which no runner has seen");
        }
        stale.len()
    }

    /// Why the case may not depart under that name, if it may not.
    fn objection(&self, case: &Case, name: &str) -> Option<String> {
        let entry = self.table.departure.iter().find(|entry| entry.name == name);
        let lists = entry.map(|entry| (&entry.rules, &entry.cases));
        self.objection_to(case, name, "departs", lists)
    }

    /// Why the case may not be out of scope under that name, if it may not.
    fn objection_to_scope(&self, case: &Case, name: &str) -> Option<String> {
        let entry = self.table.out_of_scope.iter().find(|entry| entry.name == name);
        let lists = entry.map(|entry| (&entry.rules, &entry.cases));
        self.objection_to(case, name, "is out of scope", lists)
    }

    fn objection_to(
        &self,
        case: &Case,
        name: &str,
        what: &str,
        lists: Option<(&Vec<String>, &Vec<String>)>,
    ) -> Option<String> {
        let Some((rules, cases)) = lists else {
            return Some(format!("{what} as {name:?}, which departures.toml does not have"));
        };
        if !case.rules.iter().any(|rule| rules.contains(rule)) {
            return Some(format!("{what} as {name:?}, which is about other rules"));
        }
        if self.is_default_folder && !cases.contains(&case.id) {
            return Some(format!("{what} as {name:?} but is not listed"));
        }
        None
    }

    /// The entry other than `name` that lists the case although it should not.
    fn stale_listing(&self, case: &Case, name: Option<&str>) -> Option<String> {
        let departures = self.table.departure.iter().map(|entry| (&entry.name, &entry.cases));
        let out_of_scope = self.table.out_of_scope.iter().map(|entry| (&entry.name, &entry.cases));
        let mut listings = departures.chain(out_of_scope).filter(|(_, cases)| cases.contains(&case.id));
        let (listed, _) = listings.find(|(listed, _)| Some(listed.as_str()) != name)?;
        Some(format!("is listed under {listed:?} but no longer differs in that way"))
    }
}

/// Loads `<folder>/<file>.json`, has each case judged, prints what fails and the closing line.
pub fn run(file: &'static str, departures: &Departures, judge: impl FnMut(&Case) -> Judged) -> Summary {
    run_some(file, file, |_| true, departures, judge)
}

/// The same for those cases of a file that are of some `kind`, which `title` names in the closing line.
pub fn run_some(
    file: &'static str,
    title: &str,
    is_one: impl Fn(&str) -> bool,
    departures: &Departures,
    mut judge: impl FnMut(&Case) -> Judged,
) -> Summary {
    let mut summary = Summary::default();
    match load(file, departures) {
        Ok(cases) => {
            for case in cases.iter().filter(|case| is_one(case.value["kind"].as_str().unwrap_or_default())) {
                summary.cases += 1;
                departures.seen.borrow_mut().insert(case.id.clone());
                let judged = catch_unwind(AssertUnwindSafe(|| judge(case)));
                if let Err(complaint) = count(case, judged, departures, &mut summary) {
                    summary.failed += 1;
                    println!("{} {} [{}] {complaint}", case.file, case.id, case.rules.join(", "));
                }
            }
        }
        // Another folder need not have every file.
        Err(Missing::NotThere) if !departures.is_default_folder => {}
        Err(problem) => {
            summary.failed += 1;
            println!("{file}: {problem}");
        }
    }
    println!("{title}: {summary}");
    summary
}

/// Takes cases for seen that this build cannot run, for want of a feature.
#[allow(dead_code, reason = "a build with every feature runs all of them")]
pub fn pass_over(file: &'static str, title: &str, is_one: impl Fn(&str) -> bool, departures: &Departures) -> Summary {
    for case in load(file, departures).unwrap_or_default() {
        if is_one(case.value["kind"].as_str().unwrap_or_default()) {
            departures.seen.borrow_mut().insert(case.id);
        }
    }
    println!("{title}: not in this build");
    Summary::default()
}

/// Counts one case; the complaint if it fails.
fn count(
    case: &Case,
    judged: Result<Judged, Box<dyn Any + Send>>,
    departures: &Departures,
    summary: &mut Summary,
) -> Result<(), String> {
    match judged {
        Err(panic) => Err(format!("expected {} got a panic: {}", case.expected(), message(&*panic))),
        Ok(Judged::Same) => {
            departures.stale_listing(case, None).map_or(Ok(()), Err)?;
            summary.same += 1;
            Ok(())
        }
        Ok(Judged::Differs { expected, got, ours: None }) => Err(format!("expected {expected} got {got}")),
        Ok(Judged::Differs { expected, got, ours: Some(name) }) => {
            let objection = departures.objection(case, name).or_else(|| departures.stale_listing(case, Some(name)));
            if let Some(objection) = objection {
                return Err(format!("expected {expected} got {got}: {objection}"));
            }
            summary.departures += 1;
            Ok(())
        }
        Ok(Judged::OutOfScope(name)) => {
            let objection = departures.objection_to_scope(case, name);
            objection.or_else(|| departures.stale_listing(case, Some(name))).map_or(Ok(()), Err)?;
            summary.out_of_scope += 1;
            Ok(())
        }
    }
}

enum Missing {
    NotThere,
    Unreadable(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::NotThere => f.write_str("there is no such file of vectors"),
            Missing::Unreadable(why) => f.write_str(why),
        }
    }
}

fn load(file: &'static str, departures: &Departures) -> Result<Vec<Case>, Missing> {
    let path = departures.folder.join(format!("{file}.json"));
    if !path.exists() {
        return Err(Missing::NotThere);
    }
    let text = std::fs::read_to_string(&path).map_err(|error| Missing::Unreadable(error.to_string()))?;
    let vectors: Value = serde_json::from_str(&text).map_err(|error| Missing::Unreadable(error.to_string()))?;
    let cases = listed(&vectors).ok_or_else(|| Missing::Unreadable("it has no cases".to_owned()))?;
    Ok(cases.iter().map(|value| case(file, value)).collect())
}

/// The cases of a file. Where it has schemes of placement instead, each on one of its fleets and for all of its keys, each
/// is a case.
fn listed(vectors: &Value) -> Option<Vec<Value>> {
    let Some(schemes) = vectors.get("schemes") else { return vectors["cases"].as_array().cloned() };
    let case = |scheme: &Value| {
        let fleet = scheme["fleet"].as_str()?;
        let mut case = scheme.clone();
        case["id"] = format!("{fleet} {} {}", scheme["weights"], scheme["scheme"].as_str()?).into();
        case["rules"] = ["MEM-16"].as_slice().into();
        case["servers"] = vectors["fleets"].get(fleet)?.clone();
        case["keys"] = vectors["keys"].clone();
        Some(case)
    };
    schemes.as_array()?.iter().map(case).collect()
}

fn case(file: &'static str, value: &Value) -> Case {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rules = value["rules"].as_array().map(|rules| rules.iter().map(text).collect()).unwrap_or_default();
    Case { file, id: text(&value["id"]), rules, value: value.clone() }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of no text")
}

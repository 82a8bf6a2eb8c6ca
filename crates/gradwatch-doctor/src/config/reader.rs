//! Reads TOML tables and collects all problems instead of stopping at the first. Configs and study files use it.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive, path::PathBuf};

use toml::{Table, Value};

use super::{
    Problem,
    error::{MOST_PROBLEMS, shortened},
    from_toml::FromToml,
    names::Named,
    nearest,
    range::{self, Numbers},
};

/// Where a problem refers to for the keys of a config.
const ALL_KEYS: &str = "configs/fashion-mnist-resnet8.toml";

/// All problems, and all keys that were read.
pub struct Notes {
    /// File that lists all keys.
    reference: &'static str,
    /// Whether the config was saved by a run, perhaps of an earlier version with weaker checks.
    is_saved: bool,
    problems: RefCell<Vec<Problem>>,
    unknown: RefCell<Vec<(String, String)>>,
    known: RefCell<BTreeSet<(String, &'static str)>>,
}

impl Default for Notes {
    /// Notes on a config.
    fn default() -> Self {
        Self::referring_to(ALL_KEYS)
    }
}

impl Notes {
    /// Notes on another kind of file, whose keys are listed in the file `reference`.
    pub fn referring_to(reference: &'static str) -> Self {
        Self {
            reference,
            is_saved: false,
            problems: RefCell::default(),
            unknown: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// Notes on a config that was saved by a run.
    pub(super) fn of_saved() -> Self {
        Self { is_saved: true, ..Self::default() }
    }

    /// Adds a problem of a key.
    pub fn problem(&self, key: impl Into<String>, text: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { key: key.into(), text: text.into() });
    }

    /// All keys that were read, as `table.key`, without tables that have keys of their own.
    pub(super) fn keys(&self) -> Vec<String> {
        let known = self.known.borrow();
        let tables: BTreeSet<&str> = known.iter().map(|(table, _)| &**table).collect();
        let paths = known.iter().map(|(table, key)| join(table, key));
        paths.filter(|path| !tables.contains(&**path)).collect()
    }

    /// All problems in the order of their keys. The first unknown keys get a suggestion, up to the number that a
    /// message shows.
    pub fn into_problems(self) -> Vec<Problem> {
        let known: Vec<String> = self.known.into_inner().iter().map(|(section, key)| join(section, key)).collect();
        let mut problems = self.problems.into_inner();
        let mut unknown = self.unknown.into_inner();
        unknown.sort_unstable();
        for (index, (section, key)) in unknown.into_iter().enumerate() {
            // Finding the nearest name takes time, and a file may have very many unknown keys.
            let near = if index < MOST_PROBLEMS { nearest::key(&section, &key, &known) } else { None };
            let text = match near {
                Some(right) => format!("unknown key; did you mean {right}?"),
                None => format!("unknown key; {} lists all keys", self.reference),
            };
            problems.push(Problem { key: join(&section, &key), text });
        }
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        problems
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A table being read. Keys that were not read before `finish` are reported as unknown.
pub struct Section<'a> {
    path: String,
    table: Table,
    /// Keys whose value was reported as invalid.
    invalid: Vec<&'static str>,
    notes: &'a Notes,
}

impl<'a> Section<'a> {
    /// The outermost table of a file.
    pub fn root(table: Table, notes: &'a Notes) -> Self {
        Self::new(String::new(), table, notes)
    }

    fn new(path: String, table: Table, notes: &'a Notes) -> Self {
        Self { path, table, invalid: Vec::new(), notes }
    }

    /// Whether the config was saved by a run, perhaps of an earlier version with weaker checks.
    pub(super) fn is_saved(&self) -> bool {
        self.notes.is_saved
    }

    /// Whether any of `keys` is set and has not been read.
    pub(super) fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.table.contains_key(*key))
    }

    /// Whether the table has a key that was not read yet.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the value of `key` was reported as invalid.
    pub(super) fn is_invalid(&self, key: &str) -> bool {
        self.invalid.contains(&key)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.notes.known.borrow_mut().insert((self.path.clone(), key));
        self.table.remove(key)
    }

    /// Reports a problem of `key`, unless its value is invalid anyway.
    pub fn problem(&self, key: &str, text: impl Into<String>) {
        if !self.is_invalid(key) {
            self.notes.problem(join(&self.path, key), text);
        }
    }

    /// Reports that the value of `key` is invalid.
    fn invalid(&mut self, key: &'static str, text: String) {
        self.problem(key, text);
        self.invalid.push(key);
    }

    /// The sub-table `key`; empty if it is missing.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        self.section_or(key, |_| None)
    }

    /// The sub-table `key`, which may also be written as a shorter value.
    pub(super) fn section_or(&mut self, key: &'static str, short: impl Fn(&Value) -> Option<Table>) -> Section<'a> {
        let path = join(&self.path, key);
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(value) => short(&value).unwrap_or_else(|| {
                self.problem(key, format!("got {}, want a table [{path}]", shown(&value)));
                Table::new()
            }),
        };
        Section::new(path, table, self.notes)
    }

    /// The tables of the array `key`; empty if it is missing.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let path = join(&self.path, key);
        let tables = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(values)) if values.iter().all(Value::is_table) => values,
            Some(value) => {
                self.problem(key, format!("got {}, want tables [[{path}]]", shown(&value)));
                Vec::new()
            }
        };
        tables.into_iter().map(|value| Section::new(path.clone(), as_table(value), self.notes)).collect()
    }

    /// The tables of the array `key`, each with its index in the path of its keys: `charts[0].title`.
    pub fn numbered_sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let numbered = |(index, section): (usize, Section<'a>)| {
            let path = format!("{}[{index}]", section.path);
            Section { path, ..section }
        };
        self.sections(key).into_iter().enumerate().map(numbered).collect()
    }

    /// The value of `key`; `None` if it is missing or invalid. Reports an invalid value.
    pub fn optional<T: FromToml>(&mut self, key: &'static str, is_valid: impl Fn(&T) -> bool, want: &str) -> Option<T> {
        let value = self.take(key)?;
        match T::from_toml(&value) {
            Some(parsed) if is_valid(&parsed) => return Some(parsed),
            Some(_) => self.invalid(key, format!("got {}, want {want}", shown(&value))),
            None => self.invalid(key, format!("got {}, want {}", shown(&value), T::WANT)),
        }
        None
    }

    /// The path `key`, which must not be empty; `None` as for [`optional`](Self::optional).
    pub(super) fn optional_path(&mut self, key: &'static str, want: &str) -> Option<PathBuf> {
        self.optional(key, |path: &PathBuf| !path.as_os_str().is_empty(), want)
    }

    /// The number `key` within its bounds; `None` as for [`optional`](Self::optional).
    pub(super) fn optional_number(&mut self, key: &'static str, range: &Numbers) -> Option<f64> {
        self.optional(key, |number| range.has(number), &range.to_string())
    }

    /// The number `key` within its bounds, or `default`.
    pub(super) fn number(&mut self, key: &'static str, default: f64, range: &Numbers) -> f64 {
        self.optional_number(key, range).unwrap_or(default)
    }

    /// The numbers of the array `key`, each within its bounds, or `default`.
    pub(super) fn numbers(&mut self, key: &'static str, default: Vec<f64>, range: &Numbers) -> Vec<f64> {
        let are_valid = |list: &Vec<f64>| list.iter().all(|number| range.has(number));
        self.get(key, default, are_valid, &format!("a list, each {range}"))
    }

    /// The two numbers of `key`, in ascending order and each within its bounds, or `default`.
    pub(super) fn interval(&mut self, key: &'static str, default: [f64; 2], range: &Numbers) -> [f64; 2] {
        let is_valid = |ends: &[f64; 2]| ends.iter().all(|number| range.has(number)) && ends[0] <= ends[1];
        self.get(key, default, is_valid, &format!("[low, high], each {range}"))
    }

    /// The integer `key` within its bounds; `None` as for [`optional`](Self::optional).
    pub fn optional_count<T: FromToml + Copy + TryInto<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let is_valid = |count: &T| (*count).try_into().is_ok_and(|count| range.contains(&count));
        self.optional(key, is_valid, &range::whole(&range))
    }

    /// The integer `key` within its bounds, or `default`.
    pub fn count<T: FromToml + Copy + TryInto<u64>>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<u64>,
    ) -> T {
        self.optional_count(key, range).unwrap_or(default)
    }

    /// The value of `key`, or `default`.
    pub(super) fn get<T: FromToml>(
        &mut self,
        key: &'static str,
        default: T,
        is_valid: impl Fn(&T) -> bool,
        want: &str,
    ) -> T {
        self.optional(key, is_valid, want).unwrap_or(default)
    }

    /// The value of `key`, or `default`. Accepts any value of the type.
    pub fn any<T: FromToml>(&mut self, key: &'static str, default: T) -> T {
        self.get(key, default, |_| true, "")
    }

    /// The enum member named by `key`; `None` if it is missing or unknown. Reports an unknown name.
    pub fn optional_choice<T: Named>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        let found = value.as_str().and_then(T::find);
        if found.is_none() {
            let names: Vec<&str> = T::MEMBERS.iter().map(|member| member.label()).collect();
            let near = value.as_str().and_then(|name| nearest::name(name, &names));
            let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            self.invalid(key, format!("got {}, want one of {}{hint}", shown(&value), names.join(", ")));
        }
        found
    }

    /// The enum member named by `key`, or `default`.
    pub fn choice<T: Named>(&mut self, key: &'static str, default: T) -> T {
        self.optional_choice(key).unwrap_or(default)
    }

    /// The enum member named by `key`. Reports a missing key.
    pub fn required_choice<T: Named>(&mut self, key: &'static str) -> Option<T> {
        if !self.table.contains_key(key) {
            let names: Vec<&str> = T::MEMBERS.iter().map(|member| member.label()).collect();
            self.missing(key, &format!("one of {}", names.join(", ")));
        }
        self.optional_choice(key)
    }

    /// Reports that the required key `key` is missing.
    pub fn missing(&self, key: &str, want: &str) {
        self.problem(key, format!("missing; want {want}"));
    }

    /// Reports each of `keys` that is set although it does not apply.
    pub(super) fn forbid(&mut self, keys: &[&'static str], why: &str) {
        for &key in keys {
            if self.table.contains_key(key) {
                self.invalid(key, format!("{why}; remove the key"));
            }
        }
    }

    /// All keys that were not read yet, with their values. Any key is valid.
    pub fn rest(&mut self) -> Table {
        std::mem::take(&mut self.table)
    }

    /// Ends the table. Reports all remaining keys as unknown.
    pub fn finish(self) {
        let mut unknown = self.notes.unknown.borrow_mut();
        unknown.extend(self.table.into_iter().map(|(key, _)| (self.path.clone(), key)));
    }
}

fn as_table(value: Value) -> Table {
    match value {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}

/// Longest string and array that a message shows, in characters and elements.
const MOST_SHOWN: usize = 80;
const MOST_ELEMENTS: usize = 8;

/// Formats a string as in a config, on one line.
pub(super) fn quoted(text: &str) -> String {
    shown(&Value::String(text.to_owned()))
}

/// Formats a value as in a config, on one line.
pub fn shown(value: &Value) -> String {
    let text = match value {
        Value::Table(_) => "a table".into(),
        Value::Float(number) => range::shown(*number),
        Value::Array(values) => {
            let some: Vec<String> = values.iter().take(MOST_ELEMENTS).map(shown).collect();
            let rest = if values.len() > MOST_ELEMENTS { ", ..." } else { "" };
            format!("[{}{rest}]", some.join(", "))
        }
        // Shortens the string first, because quoting takes time proportional to its length.
        Value::String(text) if text.chars().nth(MOST_SHOWN).is_some() => {
            format!("{}...", Value::String(text.chars().take(MOST_SHOWN).collect()))
        }
        other => other.to_string().replace('\n', " "),
    };
    shortened(&text, 4 * MOST_SHOWN)
}

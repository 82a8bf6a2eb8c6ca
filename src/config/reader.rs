//! Reads TOML tables and collects all problems instead of stopping at the first.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive};

use toml::{Table, Value};

use super::{
    Problem,
    error::{MOST_PROBLEMS, shortened},
    names::Named,
    nearest,
    range::{self, Numbers},
};

/// A type of a config value.
pub(super) trait FromToml: Sized {
    /// Description of the expected value, such as "a number".
    const WANT: &'static str;

    /// Converts the value; `None` if it has another type.
    fn from_toml(value: &Value) -> Option<Self>;
}

impl FromToml for f64 {
    const WANT: &'static str = "a number";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64))
    }
}

impl FromToml for u64 {
    const WANT: &'static str = "an integer from 0";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_integer().and_then(|integer| integer.try_into().ok())
    }
}

impl FromToml for usize {
    const WANT: &'static str = "an integer from 0";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_integer().and_then(|integer| integer.try_into().ok())
    }
}

impl FromToml for bool {
    const WANT: &'static str = "true or false";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromToml for String {
    const WANT: &'static str = "a string";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FromToml for Vec<f64> {
    const WANT: &'static str = "a list of numbers";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(f64::from_toml).collect()
    }
}

impl FromToml for Vec<String> {
    const WANT: &'static str = "a list of strings";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(String::from_toml).collect()
    }
}

/// Name patterns: `true` matches every name, `false` none.
#[derive(Default)]
pub(super) struct Patterns(pub Vec<String>);

impl FromToml for Patterns {
    const WANT: &'static str = "true, false, or a list of patterns";

    fn from_toml(value: &Value) -> Option<Self> {
        match value {
            Value::Boolean(true) => Some(Self(vec!["*".to_owned()])),
            Value::Boolean(false) => Some(Self::default()),
            value => Vec::from_toml(value).map(Self),
        }
    }
}

impl FromToml for [f64; 2] {
    const WANT: &'static str = "a list of two numbers";

    fn from_toml(value: &Value) -> Option<Self> {
        Vec::<f64>::from_toml(value)?.try_into().ok()
    }
}

/// All problems, and all keys that were read.
#[derive(Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    unknown: RefCell<Vec<(String, String)>>,
    known: RefCell<BTreeSet<(String, &'static str)>>,
}

impl Notes {
    pub(super) fn problem(&self, key: impl Into<String>, text: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { key: key.into(), text: text.into() });
    }

    /// All problems in the order of their keys. The first unknown keys get a suggestion, up to the number that a
    /// message shows.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let known: Vec<String> = self.known.into_inner().iter().map(|(section, key)| join(section, key)).collect();
        let mut problems = self.problems.into_inner();
        let mut unknown = self.unknown.into_inner();
        unknown.sort_unstable();
        for (index, (section, key)) in unknown.into_iter().enumerate() {
            // Finding the nearest name takes time, and a file may have very many unknown keys.
            let near = if index < MOST_PROBLEMS { nearest::key(&section, &key, &known) } else { None };
            let text = match near {
                Some(right) => format!("unknown key; did you mean {right}?"),
                None => "unknown key; configs/fashion-mnist-resnet8.toml lists all keys".into(),
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
pub(super) struct Section<'a> {
    path: String,
    table: Table,
    notes: &'a Notes,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: Table, notes: &'a Notes) -> Self {
        Self { path: String::new(), table, notes }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.notes.known.borrow_mut().insert((self.path.clone(), key));
        self.table.remove(key)
    }

    pub(super) fn problem(&self, key: &str, text: impl Into<String>) {
        self.notes.problem(join(&self.path, key), text);
    }

    /// The sub-table `key`; empty if it is missing.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
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
        Section { path, table, notes: self.notes }
    }

    /// The tables of the array `key`; empty if it is missing.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let path = join(&self.path, key);
        let tables = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(values)) if values.iter().all(Value::is_table) => values,
            Some(value) => {
                self.problem(key, format!("got {}, want tables [[{path}]]", shown(&value)));
                Vec::new()
            }
        };
        let section = |value| Section { path: path.clone(), table: as_table(value), notes: self.notes };
        tables.into_iter().map(section).collect()
    }

    /// The value of `key`; `None` if it is missing or invalid. Reports an invalid value.
    pub(super) fn optional<T: FromToml>(
        &mut self,
        key: &'static str,
        is_valid: impl Fn(&T) -> bool,
        want: &str,
    ) -> Option<T> {
        let value = self.take(key)?;
        match T::from_toml(&value) {
            Some(parsed) if is_valid(&parsed) => return Some(parsed),
            Some(_) => self.problem(key, format!("got {}, want {want}", shown(&value))),
            None => self.problem(key, format!("got {}, want {}", shown(&value), T::WANT)),
        }
        None
    }

    /// The number `key` within its bounds; `None` as for [`optional`](Self::optional).
    pub(super) fn optional_number(&mut self, key: &'static str, range: &Numbers) -> Option<f64> {
        self.optional(key, |number| range.has(number), &range.to_string())
    }

    /// The number `key` within its bounds, or `default`.
    pub(super) fn number(&mut self, key: &'static str, default: f64, range: &Numbers) -> f64 {
        self.optional_number(key, range).unwrap_or(default)
    }

    /// The numbers of the array `key`, each within its bounds; empty if it is missing.
    pub(super) fn numbers(&mut self, key: &'static str, range: &Numbers) -> Vec<f64> {
        let are_valid = |list: &Vec<f64>| list.iter().all(|number| range.has(number));
        self.get(key, Vec::new(), are_valid, &format!("a list, each {range}"))
    }

    /// The two numbers of `key`, in ascending order and each within its bounds, or `default`.
    pub(super) fn interval(&mut self, key: &'static str, default: [f64; 2], range: &Numbers) -> [f64; 2] {
        let is_valid = |ends: &[f64; 2]| ends.iter().all(|number| range.has(number)) && ends[0] <= ends[1];
        self.get(key, default, is_valid, &format!("[low, high], each {range}"))
    }

    /// The integer `key` within its bounds; `None` as for [`optional`](Self::optional).
    pub(super) fn optional_count<T: FromToml + Copy + TryInto<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let is_valid = |count: &T| (*count).try_into().is_ok_and(|count| range.contains(&count));
        self.optional(key, is_valid, &range::whole(&range))
    }

    /// The integer `key` within its bounds, or `default`.
    pub(super) fn count<T: FromToml + Copy + TryInto<u64>>(
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
    pub(super) fn any<T: FromToml>(&mut self, key: &'static str, default: T) -> T {
        self.get(key, default, |_| true, "")
    }

    /// The enum member named by `key`; `None` if it is missing or unknown. Reports an unknown name.
    pub(super) fn choice<T: Named>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        let found = value.as_str().and_then(|name| T::MEMBERS.iter().copied().find(|member| member.label() == name));
        if found.is_none() {
            let names: Vec<&str> = T::MEMBERS.iter().map(|member| member.label()).collect();
            let near = value.as_str().and_then(|name| nearest::name(name, &names));
            let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            self.problem(key, format!("got {}, want one of {}{hint}", shown(&value), names.join(", ")));
        }
        found
    }

    /// The enum member named by `key`. Reports a missing key.
    pub(super) fn required_choice<T: Named>(&mut self, key: &'static str) -> Option<T> {
        if !self.table.contains_key(key) {
            let names: Vec<&str> = T::MEMBERS.iter().map(|member| member.label()).collect();
            self.missing(key, &format!("one of {}", names.join(", ")));
        }
        self.choice(key)
    }

    /// Reports that the required key `key` is missing.
    pub(super) fn missing(&self, key: &str, want: &str) {
        self.problem(key, format!("missing; want {want}"));
    }

    /// Reports each of `keys` that is set although it does not apply.
    pub(super) fn forbid(&self, keys: &[&'static str], why: &str) {
        for key in keys.iter().filter(|key| self.table.contains_key(**key)) {
            self.problem(key, format!("{why}; remove the key"));
        }
    }

    /// Ends the table. Reports all remaining keys as unknown.
    pub(super) fn finish(self) {
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

/// Formats a value as in a config, on one line.
fn shown(value: &Value) -> String {
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

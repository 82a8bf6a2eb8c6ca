//! Conversion of TOML values to the types of config values.

use std::path::PathBuf;

use toml::Value;

/// A type of a config value.
pub trait FromToml: Sized {
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

impl FromToml for PathBuf {
    const WANT: &'static str = String::WANT;

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }
}

impl FromToml for Vec<f64> {
    const WANT: &'static str = "a list of numbers";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(f64::from_toml).collect()
    }
}

impl FromToml for Vec<u64> {
    const WANT: &'static str = "a list of integers from 0";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(u64::from_toml).collect()
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

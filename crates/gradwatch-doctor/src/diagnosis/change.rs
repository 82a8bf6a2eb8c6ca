//! Recommended changes: a config key with its value, or advice.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{Config, ConfigError};

/// A recommended change. As text and in JSON, a config line such as `model.activation = "relu"`, or the advice.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A config key and its new value.
    Config {
        /// Path of the key, such as `model.activation`.
        key: String,
        /// New value.
        value: ChangeValue,
    },
    /// Advice that is not a config line.
    Advice(String),
}

/// Value of a config key.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeValue {
    /// A string, without quotes and backslashes.
    Text(String),
    /// An integer, or a number without decimals.
    Integer(i64),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// Numbers, such as `[0.9, 0.999]`. `[]` also stands for no tables.
    Numbers(Vec<f64>),
}

impl Change {
    pub(super) fn config(key: &str, value: impl Into<ChangeValue>) -> Self {
        Self::Config { key: key.to_owned(), value: value.into() }
    }

    /// Path of the config key; `None` for advice.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Config { key, .. } => Some(key),
            Self::Advice(_) => None,
        }
    }

    /// The config line, but only its key if the value is a number, which depends on the run.
    pub fn kind(&self) -> String {
        match self {
            Self::Config { key, value: ChangeValue::Integer(_) | ChangeValue::Number(_) } => key.clone(),
            change => change.to_string(),
        }
    }

    /// Whether the change gives another valid config. Advice always counts.
    pub(super) fn changes(&self, config: &Config) -> bool {
        let Self::Config { .. } = self else { return true };
        self.apply_to(config).is_ok_and(|changed| changed.to_toml() != config.to_toml())
    }

    /// The config with the change.
    ///
    /// # Errors
    /// If it is advice, or the result is not valid.
    pub fn apply_to(&self, config: &Config) -> Result<Config, ConfigError> {
        let line = self.to_string();
        if self.key().is_none() {
            return Err(ConfigError::Override { argument: line });
        }
        Config::parse_with(&config.to_toml(), "with the change", &[line])
    }

    /// Whether the change sets a key of a config table, such as `model`.
    pub fn is_in(&self, table: &str) -> bool {
        self.key().and_then(|key| key.split_once('.')).is_some_and(|(first, _)| first == table)
    }
}

impl ChangeValue {
    /// Parses a TOML value; `None` for tables, other arrays, dates, and strings with escapes.
    fn parse(text: &str) -> Option<Self> {
        if let Some(items) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let items = items.split(", ").filter(|item| !item.is_empty());
            return items.map(|item| item.parse().ok()).collect::<Option<_>>().map(Self::Numbers);
        }
        let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let number = || Some(Self::Number(text.parse().ok()?));
        match (quoted, text) {
            (Some(text), _) => (!text.contains(['"', '\\'])).then(|| Self::Text(text.to_owned())),
            (None, "true") => Some(Self::Flag(true)),
            (None, "false") => Some(Self::Flag(false)),
            (None, text) => text.parse().ok().map(Self::Integer).or_else(number),
        }
    }
}

impl From<&str> for ChangeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<f64> for ChangeValue {
    fn from(number: f64) -> Self {
        // A number without decimals is written like an integer.
        if number.fract() == 0.0 && number.abs() < 1e15 { Self::Integer(number as i64) } else { Self::Number(number) }
    }
}

impl From<usize> for ChangeValue {
    fn from(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl<const N: usize> From<[f64; N]> for ChangeValue {
    fn from(numbers: [f64; N]) -> Self {
        Self::Numbers(numbers.to_vec())
    }
}

impl From<bool> for ChangeValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<&str> for Change {
    /// Parses a config line. Any other text is advice.
    fn from(text: &str) -> Self {
        let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
        let parse = |(key, value): (&str, &str)| Some(Self::config(key, ChangeValue::parse(value)?));
        let config = text.split_once(" = ").filter(|(key, _)| is_key(key)).and_then(parse);
        // A value that would be written in another way stays as it is.
        config.filter(|config| config.to_string() == text).unwrap_or_else(|| Self::Advice(text.to_owned()))
    }
}

impl fmt::Display for ChangeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Numbers(numbers) => {
                write!(f, "[{}]", numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { key, value } => write!(f, "{key} = {value}"),
            Self::Advice(advice) => f.write_str(advice),
        }
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&*String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_lines_are_typed_and_all_else_is_advice() {
        let config = |key, value| Change::Config { key: String::from(key), value };
        for (text, want) in [
            ("model.activation = \"relu\"", config("model.activation", ChangeValue::Text("relu".into()))),
            ("model.residual = true", config("model.residual", ChangeValue::Flag(true))),
            ("data.batch_size = 32", config("data.batch_size", ChangeValue::Integer(32))),
            ("optimizer.learning_rate = 0.00006", config("optimizer.learning_rate", ChangeValue::Number(0.000_06))),
            ("optimizer.betas = [0.9, 0.999]", config("optimizer.betas", ChangeValue::Numbers(vec![0.9, 0.999]))),
            ("optimizer.groups = []", config("optimizer.groups", ChangeValue::Numbers(Vec::new()))),
        ] {
            assert_eq!(Change::from(text), want);
        }
        let advice = [
            "data.path",
            "zero_grad() before each backward",
            "cross_entropy(logits, labels)",
            "a b = 1",
            "optimizer.groups.learning_rate_scale = 1.0",
            "run.name = \"a\\\"b\"",
            "data.mean = [0.0, 1]",
            "run.name = [\"a\"]",
        ];
        assert!(advice.iter().all(|text| Change::from(*text) == Change::Advice((*text).to_owned())));
    }

    #[test]
    fn the_current_value_and_an_invalid_one_are_no_changes() {
        let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"lenet5\"\nclipping.mode = \"norm\"";
        let config = Config::parse(toml, "test").unwrap();
        let changes = |text: &str| Change::from(text).changes(&config);
        assert!(changes("clipping.mode = \"agc\"") && changes("zero_grad() before each backward"));
        assert!(!changes("clipping.mode = \"norm\"") && !changes("optimizer.learning_rate = 0.1"));
        assert!(!changes("model.initialization = \"default\""));
        // Advice is never applied, even if it has the form of an override.
        let advice = Change::Advice("optimizer.learning_rate = 0.1".into());
        assert!(advice.apply_to(&config).is_err());
        assert!(!changes("model.dropout = 7"), "it is not valid");
    }

    #[test]
    fn a_change_is_a_string_in_json_and_reads_back_as_the_same_change() {
        let changes = [
            Change::config("model.activation", "relu"),
            Change::config("optimizer.learning_rate", 30.0),
            Change::config("optimizer.learning_rate", 6e-5),
            Change::config("optimizer.learning_rate", 1e20),
            Change::config("data.batch_size", 32usize),
            Change::config("model.residual", true),
            Change::Advice("data.path".into()),
        ];
        for change in changes {
            let json = serde_json::to_string(&change).unwrap();
            assert_eq!(json, serde_json::to_string(&change.to_string()).unwrap());
            assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change, "{json}");
        }
        assert_eq!(Change::config("optimizer.learning_rate", 30.0).to_string(), "optimizer.learning_rate = 30");
    }

    #[test]
    fn the_table_of_a_key_is_its_first_part() {
        let is_of_model = |text: &str| Change::from(text).is_in("model");
        assert!(is_of_model("model.activation = \"relu\""));
        assert!(!is_of_model("models.activation = \"relu\"") && !is_of_model("model.activation"));
    }
}

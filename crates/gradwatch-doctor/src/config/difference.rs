//! Compares two configs key by key.

use std::{collections::BTreeMap, fmt};

use toml::{Table, Value};

use super::{Config, ConfigError, matches, overrides::set_value, reader::Notes};

/// Keys that set the length, location, and monitoring of a run, but not the training computation. The number of threads
/// and the device do change the last bits. Files at the paths are compared separately.
const HARMLESS: [&str; 20] = [
    "run.logdir",
    "run.device",
    "run.threads",
    "run.max_epochs",
    "run.max_steps",
    "run.max_minutes",
    "data.path",
    "data.validation_path",
    "model.path",
    "data.workers",
    "data.prefetch",
    "distributed.check_weights_every_steps",
    "distributed.start_timeout_seconds",
    "distributed.hang_timeout_seconds",
    "monitor.*",
    "diagnosis.*",
    "repair.*",
    "evaluate.*",
    "early_stopping.*",
    "checkpoint.*",
];

/// A key with different values in two configs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The key, with its tables: `optimizer.learning_rate`.
    pub key: String,
    /// Value in the first config; `None` if it has no such key.
    pub before: Option<Value>,
    /// Value in the second config; `None` if it has no such key.
    pub after: Option<Value>,
}

impl Difference {
    /// Whether a run that started with the first config can resume with the second as the same experiment.
    pub fn is_harmless(&self) -> bool {
        HARMLESS.iter().any(|pattern| matches(pattern, &self.key))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "not set".to_owned(), Value::to_string);
        write!(f, "{} = {} (was {})", self.key, text(&self.after), text(&self.before))
    }
}

impl Config {
    /// The value of a key, such as `optimizer.learning_rate`; `None` if it is not set.
    pub fn value(&self, key: &str) -> Option<Value> {
        let table = Value::Table(self.to_toml().parse().unwrap_or_default());
        key.split('.').try_fold(&table, |table, name| table.get(name)).cloned()
    }

    /// The config with other values of some keys; `None` removes a key.
    ///
    /// # Errors
    /// If the result is not valid.
    pub fn with_values<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, Option<&'a Value>)>,
    ) -> Result<Self, ConfigError> {
        let mut table: Table = self.to_toml().parse().unwrap_or_default();
        values.into_iter().for_each(|(key, value)| set_value(&mut table, key, value.cloned()));
        Self::from_table(table, "with the change", Notes::of_saved())
    }
}

/// All keys with different values, in alphabetical order.
pub fn differences(before: &Config, after: &Config) -> Vec<Difference> {
    let flat = |config: &Config| {
        let mut keys = BTreeMap::new();
        flatten(config.to_toml().parse().unwrap_or_default(), "", &mut keys);
        keys
    };
    let (mut before, mut after) = (flat(before), flat(after));
    let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    let difference = |key: String| {
        let (before, after) = (before.remove(&key), after.remove(&key));
        (before != after).then_some(Difference { key, before, after })
    };
    keys.into_iter().filter_map(difference).collect()
}

fn flatten(table: Table, path: &str, keys: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let path = format!("{path}{key}");
        match value {
            Value::Table(inner) => flatten(inner, &format!("{path}."), keys),
            value => _ = keys.insert(path, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n{more}");
        Config::parse(&toml, "test").unwrap()
    }

    #[test]
    fn every_differing_key_is_found_with_both_values() {
        let before = config("model.width = 8\nmodel.initialization = \"orthogonal\"");
        let after = config("optimizer.learning_rate = 0.5\nrun.max_steps = 3\nmodel.width = 8");
        let found = differences(&before, &after);
        let lines: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(
            lines,
            [
                "model.initialization.method = \"default\" (was \"orthogonal\")",
                "optimizer.learning_rate = 0.5 (was 0.1)",
                "run.max_steps = 3 (was not set)",
            ]
        );
        assert_eq!(found.iter().map(Difference::is_harmless).collect::<Vec<_>>(), [false, false, true]);
        assert!(differences(&before, &before).is_empty());
    }

    #[test]
    fn a_config_with_the_values_of_another_is_that_config() {
        let before = config("model.width = 8\noptimizer.name = \"adamw\"");
        let after = config("run.max_steps = 3\nmodel.initialization = \"orthogonal\"\noptimizer.name = \"adamw\"");
        let found = differences(&before, &after);
        let values = |of: fn(&Difference) -> &Option<Value>| -> Vec<_> {
            found.iter().map(|found| (found.key.as_str(), of(found).as_ref())).collect()
        };
        assert_eq!(before.with_values(values(|found| &found.after)).unwrap(), after);
        assert_eq!(after.with_values(values(|found| &found.before)).unwrap(), before);
        assert_eq!(before.value("model.width"), Some(Value::Integer(8)));
        assert_eq!(before.value("run.max_steps"), None);
        let wrong = Value::String("fast".into());
        let error = before.with_values([("optimizer.learning_rate", Some(&wrong))]).unwrap_err();
        assert!(error.to_string().contains("optimizer.learning_rate: got \"fast\""), "{error}");
    }

    #[test]
    fn every_harmless_key_is_one_that_there_is() {
        let mut keys = BTreeMap::new();
        let toml = "run = { max_epochs = 1, max_steps = 1, max_minutes = 1 }\n\
                    data = { source = \"webdataset\", path = \"a.tar\", validation_path = \"b.tar\" }\n\
                    model = { name = \"torchscript\", path = \"net.pt\" }";
        flatten(Config::parse(toml, "test").unwrap().to_toml().parse().unwrap(), "", &mut keys);
        for pattern in HARMLESS {
            assert!(keys.keys().any(|key| matches(pattern, key)), "{pattern}");
        }
    }
}

//! Overrides of the form `table.key=value`, as in `--set`.

use toml::{Table, Value};

use super::{
    ConfigError,
    error::{MOST_CHARACTERS, shortened},
};

/// Deepest key of an override, in levels.
const DEEPEST_KEY: usize = 8;

/// Splits an override into its key and its value. `None` if it does not have the form `table.key=value`.
///
/// ```
/// use gradwatch_doctor::config::split_override;
///
/// assert_eq!(split_override("optimizer.name=adamw"), Some(("optimizer.name", "adamw")));
/// assert_eq!(split_override("optimizer.name"), None);
/// ```
pub fn split_override(argument: &str) -> Option<(&str, &str)> {
    let (key, value) = argument.split_once('=')?;
    let key = key.trim();
    let is_key = !key.is_empty() && !key.ends_with('.') && key.split('.').nth(DEEPEST_KEY).is_none();
    is_key.then_some((key, value))
}

/// The value of an override: TOML if possible, otherwise a string.
pub fn override_value(text: &str) -> Value {
    let table = format!("value = {text}").parse::<Table>().ok();
    table.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Applies overrides to the table of a config.
pub(super) fn with_overrides(mut table: Table, overrides: &[String]) -> Result<Table, ConfigError> {
    // Only given numbers have these keys. An override to another normalization removes them, unless it sets them too.
    let normalize =
        overrides.iter().filter_map(|argument| split_override(argument)).rfind(|(key, _)| *key == NORMALIZE);
    if normalize.is_some_and(|(_, value)| override_value(value.trim()).as_str() != Some("given")) {
        GIVEN.iter().for_each(|key| set_value(&mut table, key, None));
    }
    overrides.iter().try_for_each(|argument| set(&mut table, argument))?;
    Ok(table)
}

/// Chooses the normalization of images.
const NORMALIZE: &str = "data.normalize";
/// The numbers of a given normalization.
const GIVEN: [&str; 2] = ["data.mean", "data.std"];

/// Applies one override.
fn set(table: &mut Table, argument: &str) -> Result<(), ConfigError> {
    let refuse = || ConfigError::Override { argument: shortened(argument, MOST_CHARACTERS) };
    let (path, text) = split_override(argument).ok_or_else(refuse)?;
    set_value(table, path, Some(override_value(text)));
    Ok(())
}

/// Sets the value at a path of keys; `None` removes it.
pub(super) fn set_value(table: &mut Table, path: &str, value: Option<Value>) {
    let Some((key, rest)) = path.split_once('.') else {
        match value {
            Some(value) => _ = table.insert(path.to_owned(), value),
            None => _ = table.remove(path),
        }
        return;
    };
    let entry = table.entry(key).or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        // For example `--set model.initialization.gain=1` with the short form `initialization = "orthogonal"`.
        *entry = Value::Table(Table::from_iter([("method".to_owned(), entry.clone())]));
    }
    if let Value::Table(inner) = entry {
        set_value(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, InitializationMethod, OptimizerName};

    const SMALLEST: &str =
        "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nmodel.initialization = \"orthogonal\"";

    fn load(overrides: &[&str]) -> Result<Config, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        Config::parse_with(SMALLEST, "test", &overrides)
    }

    #[test]
    fn overrides_are_typed_reach_into_tables_and_are_validated_like_the_file() {
        let config =
            load(&["model.initialization.gain=2", "optimizer.name=adamw", "data.augment.hflip = 0.5"]).unwrap();
        assert_eq!(config.model.initialization.gain, Some(2.0));
        assert_eq!(config.model.initialization.method, InitializationMethod::Orthogonal);
        assert_eq!((config.optimizer.name, config.optimizer.learning_rate), (OptimizerName::Adamw, 1e-3));
        let error = load(&["run.sede=1"]).unwrap_err().to_string();
        assert!(error.contains("run.sede: unknown key; did you mean run.seed?"), "{error}");
    }

    #[test]
    fn another_normalization_removes_the_given_numbers_of_the_file() {
        let toml = format!("{SMALLEST}\ndata.normalize = \"given\"\ndata.mean = [0.5]\ndata.std = [0.2]");
        let load = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
            Config::parse_with(&toml, "test", &overrides)
        };
        for other in ["computed", "\"imagenet\"", " none"] {
            match load(&[&format!("data.normalize={other}")]) {
                Ok(config) => assert!(config.data.mean.is_empty() && config.data.std.is_empty(), "{other}"),
                Err(error) => assert!(!error.to_string().contains("data.mean"), "{other}: {error}"),
            }
        }
        let given = load(&["data.normalize=given", "data.std=[0.3]"]).unwrap();
        assert_eq!((given.data.mean, given.data.std), (vec![0.5], vec![0.3]));
        assert!(load(&["data.normalize=computed", "data.mean=[0.1]"]).is_err(), "it was asked for");
    }

    #[test]
    fn an_argument_without_a_key_or_a_value_is_no_override() {
        for argument in ["seed", "", "=1", "run.=1", " = 1", "a.a.a.a.a.a.a.a.a=1"] {
            assert_eq!(split_override(argument), None, "{argument}");
            assert!(matches!(load(&[argument]), Err(ConfigError::Override { .. })), "{argument}");
        }
        assert_eq!(split_override("run.device = a=b"), Some(("run.device", " a=b")));
        assert_eq!(split_override("a.a.a.a.a.a.a.a="), Some(("a.a.a.a.a.a.a.a", "")));
    }
}

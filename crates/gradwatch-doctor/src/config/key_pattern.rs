//! Patterns that select config keys, as in `--allow-change`.

use std::collections::BTreeSet;

use toml::Table;

use super::{
    Config, ConfigError,
    error::{MOST_CHARACTERS, shortened},
    matches, nearest,
    reader::{Notes, Section},
};

/// Stands for the images in a pattern for config keys. The config has no such key.
pub const DATA_FILES: &str = "data.files";

/// Checks that a pattern matches a config key or [`DATA_FILES`]; see [`matches()`].
///
/// # Errors
/// If it matches none. The error suggests the nearest valid pattern.
///
/// ```
/// use gradwatch_doctor::config::check_key_pattern;
///
/// assert!(check_key_pattern("optimizer.*").is_ok());
/// let error = check_key_pattern("optimizer.lr").unwrap_err().to_string();
/// assert_eq!(error, "no config key matches \"optimizer.lr\"; did you mean \"optimizer.learning_rate\"?");
/// ```
pub fn check_key_pattern(pattern: &str) -> Result<(), ConfigError> {
    let keys = keys();
    if keys.iter().any(|key| matches(pattern, key)) {
        return Ok(());
    }
    Err(no_such_key(pattern, nearest_pattern(pattern, &keys)))
}

fn no_such_key(pattern: &str, near: Option<String>) -> ConfigError {
    let hint = match near {
        Some(near) => format!("did you mean {near:?}?"),
        None => "configs/fashion-mnist-resnet8.toml lists all keys".to_owned(),
    };
    ConfigError::NoSuchKey { pattern: shortened(pattern, MOST_CHARACTERS), hint }
}

/// Checks that a config has a key, such as `model.depth`, or a table, such as `model.initialization`.
///
/// # Errors
/// If it has none. The error suggests the nearest one.
pub fn check_key(key: &str) -> Result<(), ConfigError> {
    let mut keys = keys();
    keys.retain(|known| known != DATA_FILES);
    let is_in = |path: &String| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if keys.iter().any(is_in) {
        return Ok(());
    }
    let (table, last) = key.rsplit_once('.').unwrap_or(("", key));
    Err(no_such_key(key, nearest::key(table, last, &keys)))
}

/// All config keys, with [`DATA_FILES`].
fn keys() -> Vec<String> {
    let notes = Notes::default();
    // Reading an empty table names every key.
    let _ = Config::read(Section::root(Table::new(), &notes), &notes);
    let mut keys = notes.keys();
    keys.push(DATA_FILES.to_owned());
    keys
}

fn nearest_pattern(pattern: &str, keys: &[String]) -> Option<String> {
    let tables: BTreeSet<&str> = keys.iter().filter_map(|key| key.rsplit_once('.')).map(|(table, _)| table).collect();
    let all_of = |table: &str| format!("{table}.*");
    if tables.contains(pattern) {
        return Some(all_of(pattern));
    }
    let (table, last) = pattern.rsplit_once('.').unwrap_or(("", pattern));
    if last == "*" {
        let tables: Vec<&str> = tables.into_iter().collect();
        return nearest::name(table, &tables).map(all_of);
    }
    nearest::key(table, last, keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_a_config_can_have_is_known() {
        let mut known = keys();
        known.retain(|key| key != DATA_FILES);
        for key in ["run.max_steps", "optimizer.groups", "model.path", "data.augment.hflip", "clipping.agc.exclude"] {
            assert!(known.iter().any(|known| known == key), "{key}");
        }
        assert!(!known.iter().any(|key| ["run", "data.augment", "clipping.agc"].contains(&&**key)), "{known:?}");
        let toml: Table = Config::default().to_toml().parse().unwrap();
        let Some(toml::Value::Table(clipping)) = toml.get("clipping") else { panic!() };
        for key in clipping.iter().filter(|(_, value)| !value.is_table()).map(|(key, _)| format!("clipping.{key}")) {
            assert!(known.contains(&key), "{key}");
        }
    }

    #[test]
    fn a_key_is_one_of_a_config_or_a_table_of_it() {
        for key in ["run.max_steps", "model.initialization", "model", "optimizer.groups", "clipping.agc.exclude"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for (key, hint) in [
            ("model.dept", "did you mean \"model.depth\"?"),
            ("lr", "did you mean \"optimizer.learning_rate\"?"),
            ("optimizer.*", "configs/fashion-mnist-resnet8.toml lists all keys"),
            ("", "configs/fashion-mnist-resnet8.toml lists all keys"),
        ] {
            assert_eq!(check_key(key).unwrap_err().to_string(), format!("no config key matches {key:?}; {hint}"));
        }
        // The images are no key.
        assert!(check_key(DATA_FILES).is_err());
    }

    #[test]
    fn a_pattern_that_matches_no_key_is_refused_with_the_nearest_one() {
        for pattern in ["optimizer.*", "*", "*.learning_rate", "run.seed", DATA_FILES, "data.*", "clipping.agc.*"] {
            assert!(check_key_pattern(pattern).is_ok(), "{pattern}");
        }
        for (pattern, hint) in [
            ("learning_rate", "did you mean \"optimizer.learning_rate\"?"),
            ("optimizer", "did you mean \"optimizer.*\"?"),
            ("optimiser.*", "did you mean \"optimizer.*\"?"),
            ("optimiser.momentum", "did you mean \"optimizer.momentum\"?"),
            ("data.file", "did you mean \"data.files\"?"),
            ("nosuch", "configs/fashion-mnist-resnet8.toml lists all keys"),
            ("", "configs/fashion-mnist-resnet8.toml lists all keys"),
        ] {
            let error = check_key_pattern(pattern).unwrap_err().to_string();
            assert_eq!(error, format!("no config key matches {pattern:?}; {hint}"));
        }
        assert!(check_key_pattern(&"x\n".repeat(9999)).unwrap_err().to_string().len() < 1000);
    }
}

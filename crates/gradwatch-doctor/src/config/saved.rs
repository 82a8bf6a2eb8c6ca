//! Reads and writes the config of a run: resolves relative paths and fills in defaults for runs of older versions.

use std::{
    env, io,
    path::{Path, PathBuf, absolute},
};

use gradwatch_events::disk::Folder;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Config, ConfigError, SplitBy, overrides::with_overrides, parse_table, read, reader::Notes};

/// File in a run folder that records the base folder of relative paths in the config.
pub const PATHS: &str = "paths.json";
/// Largest [`PATHS`] file to read, in bytes; much larger than any real one.
const MOST_BYTES: u64 = 1 << 16;
/// Keys whose value is the path of an input file or folder.
const PATH_KEYS: [(&str, &str); 4] =
    [("data", "path"), ("data", "validation_path"), ("model", "path"), ("model", "weights")];

#[derive(Serialize, Deserialize)]
struct Paths {
    /// Working directory in which the run started.
    relative_to: PathBuf,
}

/// Contents of [`PATHS`] for a new run; `None` if the current folder is gone or its name is not UTF-8.
pub fn paths_json() -> Option<String> {
    serde_json::to_string(&Paths { relative_to: env::current_dir().ok()? }).ok()
}

/// Working directory in which the run in `folder` started; `None` if the run does not record it.
fn begun_in(folder: &Path) -> Option<PathBuf> {
    let text = Folder::open(folder).and_then(|run| run.read_text(PATHS, MOST_BYTES));
    match text.and_then(|text| Ok(serde_json::from_str::<Paths>(&text)?)) {
        Ok(paths) => Some(paths.relative_to),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(
                "{}: {error}; relative paths are resolved in the current folder",
                folder.join(PATHS).display()
            );
            None
        }
    }
}

/// `path` relative to the current folder, for a run that started in `begun_in`. If the path exists only in the current
/// folder, it stays as it is, because the whole project may have moved.
fn seen_from_here(path: &str, begun_in: &Path) -> String {
    let there = begun_in.join(path);
    let is_same = env::current_dir().is_ok_and(|here| here == begun_in);
    match there.to_str() {
        Some(there_text) if !is_same && (there.exists() || !Path::new(path).exists()) => there_text.to_owned(),
        _ => path.to_owned(),
    }
}

impl Config {
    /// Reads the config of the run in `folder` or of one of its checkpoints, with `overrides` as for
    /// [`load`](Self::load). Relative paths in it start at the folder in which the run started; those of `overrides`
    /// start at the current folder. Without `data.split_by`, the config comes from a version that split by position;
    /// without `data.edition`, from one with data edition 1.
    ///
    /// # Errors
    /// If a key or value is invalid.
    pub fn parse_saved(text: &str, name: &str, overrides: &[String], folder: &Path) -> Result<Self, ConfigError> {
        let mut table = parse_table(text, name)?;
        data_default(&mut table, SplitBy::Position, 1);
        if let Some(begun_in) = begun_in(folder) {
            for (section, key) in PATH_KEYS {
                let value = table.get_mut(section).and_then(|section| section.get_mut(key));
                if let Some(Value::String(path)) = value {
                    *path = seen_from_here(path, &begun_in);
                }
            }
        }
        Self::from_table(with_overrides(table, overrides)?, name, Notes::of_saved())
    }

    /// Reads the config of the run in `folder` from `path`, as [`parse_saved`](Self::parse_saved) does.
    ///
    /// # Errors
    /// If the file cannot be read, or if a key or value is invalid.
    pub fn load_saved(path: &Path, overrides: &[String], folder: &Path) -> Result<Self, ConfigError> {
        Self::parse_saved(&read(path)?, &path.display().to_string(), overrides, folder)
    }

    /// The same config with absolute paths, resolved in the current folder.
    pub fn with_absolute_paths(&self) -> Self {
        let mut config = self.clone();
        let paths = [Some(&mut config.data.path), config.model.path.as_mut(), config.model.weights.as_mut()];
        for path in paths.into_iter().flatten().filter(|path| !path.as_os_str().is_empty()) {
            // The config file cannot contain a path that is not UTF-8.
            if let Ok(whole) = absolute(&*path)
                && whole.to_str().is_some()
            {
                *path = whole;
            }
        }
        config
    }

    /// The config to store for the run in `folder`. Paths are absolute if the run started in another folder.
    pub fn to_keep(self, folder: &Path) -> Self {
        let begun_in = begun_in(folder);
        match begun_in.is_none() || begun_in == env::current_dir().ok() {
            true => self,
            false => self.with_absolute_paths(),
        }
    }

    /// Reads a TOML file for an existing run. A missing `data.split_by` or `data.edition` is taken from `saved`, the
    /// run's own config.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn load_for_run(path: &Path, overrides: &[String], saved: &Self) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let mut table = with_overrides(parse_table(&read(path)?, &name)?, overrides)?;
        data_default(&mut table, saved.data.split_by, saved.data.edition);
        Self::from_table(table, &name, Notes::default())
    }
}

/// Sets `data.split_by` and `data.edition` if the config does not have them.
fn data_default(table: &mut Table, split_by: SplitBy, edition: usize) {
    if let Some(Value::Table(data)) = table.get_mut("data") {
        data.entry("split_by").or_insert_with(|| Value::String(split_by.name().to_owned()));
        data.entry("edition").or_insert(Value::Integer(edition as i64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "run.max_epochs = 1\ndata = { source = \"folder\", path = \"photos\" }\n\
                       model = { name = \"mlp\", weights = \"/w/net.pth\" }";

    fn saved(folder: &Path, overrides: &[&str]) -> Config {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        Config::parse_saved(OLD, "old", &overrides, folder).unwrap()
    }

    #[test]
    fn a_config_without_the_key_is_of_a_run_that_split_by_position() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Config::parse(OLD, "new").unwrap().data.split_by, SplitBy::Name);
        let old = saved(folder.path(), &[]);
        assert_eq!(old.data.split_by, SplitBy::Position);
        assert_eq!(saved(folder.path(), &["data.split_by=name"]).data.split_by, SplitBy::Name);
        let file = folder.path().join("old.toml");
        std::fs::write(&file, OLD).unwrap();
        assert_eq!(Config::load_for_run(&file, &[], &old).unwrap().data.split_by, SplitBy::Position);
        let said = ["data.split_by=name".to_owned()];
        assert_eq!(Config::load_for_run(&file, &said, &old).unwrap().data.split_by, SplitBy::Name);
    }

    #[test]
    fn relative_paths_begin_where_the_run_was_begun_and_those_of_the_command_line_here() {
        let (run, begun_in) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // A run of an earlier version has no such file.
        assert_eq!(saved(run.path(), &[]).data.path, Path::new("photos"));
        let paths = Paths { relative_to: begun_in.path().to_owned() };
        std::fs::write(run.path().join(PATHS), serde_json::to_string(&paths).unwrap()).unwrap();
        let config = saved(run.path(), &[]);
        assert_eq!(config.data.path, begun_in.path().join("photos"));
        assert_eq!(config.model.weights.as_deref(), Some(Path::new("/w/net.pth")));
        assert_eq!(saved(run.path(), &["data.path=here"]).data.path, Path::new("here"));
        // If the path exists only here, the whole project has moved. `src` exists in the folder of these tests.
        assert_eq!(seen_from_here("src", begun_in.path()), "src");
        std::fs::create_dir(begun_in.path().join("src")).unwrap();
        assert_eq!(Path::new(&seen_from_here("src", begun_in.path())), begun_in.path().join("src"));
        let here = env::current_dir().unwrap();
        assert_eq!(seen_from_here("absent", &here), "absent");
    }

    #[test]
    fn a_run_that_was_begun_elsewhere_keeps_absolute_paths() {
        let run = tempfile::tempdir().unwrap();
        let config = saved(run.path(), &[]);
        std::fs::write(run.path().join(PATHS), paths_json().unwrap()).unwrap();
        assert_eq!(config.clone().to_keep(run.path()), config);
        std::fs::write(run.path().join(PATHS), "{\"relative_to\":\"/elsewhere\"}").unwrap();
        assert_eq!(config.to_keep(run.path()).data.path, env::current_dir().unwrap().join("photos"));
    }
}

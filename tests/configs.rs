//! The example configs: each reads, and the one that explains every key has every key.

use std::{fs, path::Path};

use gradwatch::config::Config;
use toml::{Table, Value};

fn configs() -> impl Iterator<Item = std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())
}

/// Every key of a table with its path.
fn keys(table: &Table, path: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        let path = format!("{path}{key}");
        match value {
            Value::Table(inner) => keys(inner, &format!("{path}."), found),
            _ => found.push(path),
        }
    }
}

#[test]
fn every_example_config_is_valid() {
    let mut count = 0;
    for path in configs() {
        Config::load(&path, &[]).unwrap();
        count += 1;
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn the_commented_config_writes_out_every_key() {
    let path = configs().find(|path| path.ends_with("fashion-mnist-resnet8.toml")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (mut resolved, mut written) = (Vec::new(), Vec::new());
    keys(&Config::load(&path, &[]).unwrap().to_toml().parse().unwrap(), "", &mut resolved);
    keys(&text.parse().unwrap(), "", &mut written);
    let missing: Vec<&String> = resolved.iter().filter(|key| !written.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

//! Runs the program as a user would, in a temporary folder.
#![allow(dead_code)] // Each test file uses only a part.

pub mod checkpoints;
pub mod limit;
pub mod limited;
pub mod networks;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gradwatch::events::{
    EventFile,
    proto::{Content, What},
};
use limit::Running;
use tempfile::TempDir;

/// A folder with one config, in which the program runs.
pub struct Workplace {
    folder: TempDir,
}

/// The result of a call of the program.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Runs a command with a time limit.
    pub fn of(command: &mut Command) -> Self {
        let output = limit::output(command);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A small experiment with many features: augmentation, dropout, batch normalization, a schedule.
pub const SMALL: &str = r#"
run = { max_epochs = 2, threads = 1 }
data = { source = "synthetic", samples = 300, classes = 4, image_size = 8, channels = 1, batch_size = 32, augment = { hflip = 0.5, random_crop = 1 } }
model = { name = "cnn", width = 4, depth = 2, normalization = "batch", dropout = 0.2 }
optimizer = { learning_rate = 0.05 }
schedule = { name = "one_cycle" }
clipping = { mode = "norm", max_norm = 0.5 }
monitor = { first_steps = 1, parameters_every_steps = 2 }
"#;

impl Workplace {
    pub fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("small.toml"), toml).unwrap();
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn run_folder(&self, name: &str) -> PathBuf {
        self.path().join("logs").join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradwatch"));
        command.args(arguments).current_dir(self.path()).env_remove("RUST_LOG");
        command
    }

    /// Calls the program in another folder.
    pub fn call_in(&self, folder: &Path, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).current_dir(folder))
    }

    /// Calls the program and waits for it.
    pub fn call(&self, arguments: &[&str]) -> Outcome {
        self.call_in(self.path(), arguments)
    }

    /// Trains into `logs/<name>` and checks that it succeeds.
    pub fn train(&self, name: &str, settings: &[&str]) -> PathBuf {
        let mut arguments = vec!["train", "small.toml", "--run-name", name];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let outcome = self.call(&arguments);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        self.run_folder(name)
    }

    /// Starts the program without waiting for it.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }
}

/// The event files of a run, in the order in which TensorBoard reads them.
pub fn event_files(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let is_events = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents.");
    let mut found: Vec<PathBuf> = entries.filter(is_events).collect();
    found.sort();
    found
}

/// The event file of an uninterrupted run.
pub fn event_file(run: &Path) -> PathBuf {
    let mut found = event_files(run);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Every scalar of a run: the bits of each value by tag and step. Fails on a damaged or truncated file, or if the steps
/// of a tag do not increase.
pub fn scalars(run: &Path) -> BTreeMap<(String, i64), u32> {
    let mut values = BTreeMap::new();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for event in event_files(run).into_iter().flat_map(|file| EventFile::open(file).unwrap()) {
        let event = event.unwrap();
        let Some(What::Summary(summary)) = event.what else { continue };
        for value in summary.value {
            if let Some(Content::SimpleValue(number)) = value.content {
                let before = last.insert(value.tag.clone(), event.step);
                assert!(before < Some(event.step), "{} at step {} after {before:?}", value.tag, event.step);
                values.insert((value.tag, event.step), number.to_bits());
            }
        }
    }
    values
}

/// [`scalars`] without time measurements, which differ between runs.
pub fn scalars_without_times(run: &Path) -> BTreeMap<(String, i64), u32> {
    scalars(run).into_iter().filter(|((tag, _), _)| !tag.starts_with("backward_ms/")).collect()
}

/// The bytes of the last weights.
pub fn last_weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("weights/last.safetensors")).unwrap()
}

/// Writes the first `images` training images of Fashion-MNIST, and 40 others, as a separate dataset.
pub fn write_images(folder: &Path, images: usize) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist");
    fs::create_dir(folder).unwrap();
    for (split, count) in [("train", images), ("t10k", 40)] {
        for (kind, header, bytes) in [("images-idx3", 16, 784), ("labels-idx1", 8, 1)] {
            let name = format!("{split}-{kind}-ubyte");
            let zipped = fs::File::open(source.join(format!("{name}.gz"))).unwrap_or_else(|error| {
                panic!("{}: {error}; run `make setup`", source.display());
            });
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(zipped), &mut all).unwrap();
            all.truncate(header + count * bytes);
            all[4..8].copy_from_slice(&(count as u32).to_be_bytes());
            fs::write(folder.join(name), all).unwrap();
        }
    }
}

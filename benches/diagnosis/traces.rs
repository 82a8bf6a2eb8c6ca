//! Trains each run once and keeps its files, so that rules can be scored again without training.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use gradwatch::config::{Config, ConfigError};

use crate::{
    case::{Case, Recipe},
    images, own_loops,
    repairs::random,
};

/// Settings of every run: 564 steps; full measurement on every fifth step and on the first ten, loss and norms on all
/// steps.
const BASE: &str = r#"
run = { max_epochs = 6, threads = 1, device = "cpu" }
data = { source = "synthetic", batch_size = 64 }
model = { name = "mlp" }
optimizer = { name = "sgd", momentum = 0.9 }
monitor = { first_steps = 10, parameters_every_steps = 5, histograms_every_steps = 50, layers_every_steps = 5, weights_every_steps = 5, pictures_every_steps = 0, previous_cosine = true }
checkpoint = { every_epochs = 0 }
"#;

/// Number of parallel runs.
const AT_ONCE: usize = 2;

/// All settings of a run on top of [`BASE`]; writes its images if they are missing.
fn settings(root: &Path, case: &Case) -> Vec<String> {
    let mut settings = images::settings(case.images, case.form, &root.join("images"));
    match &case.recipe {
        Recipe::Program(more) => settings.extend(more.iter().cloned()),
        Recipe::OwnLoop(_) => settings.push(include_str!("own_loops.rs").into()),
    }
    settings.push(format!("run.seed={}", case.seed));
    settings
}

/// Config of a run of the program.
pub(crate) fn config(root: &Path, case: &Case) -> Result<Config, ConfigError> {
    Config::parse_with(BASE, "benchmark", &settings(root, case))
}

/// The folder of a run: its name and a hash of its settings.
pub(crate) fn folder(root: &Path, case: &Case) -> PathBuf {
    folder_of(root, case, &settings(root, case))
}

fn folder_of(root: &Path, case: &Case, settings: &[String]) -> PathBuf {
    // Runs of the other grids keep their names.
    let grid = if case.grid == random::GRID { random::GRID } else { "" };
    let hash = blake3::hash(format!("{BASE}{settings:?}{grid}").as_bytes()).to_hex();
    let name: String = case.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    root.join(format!("{}-{}-{}-{}", case.architecture, name.to_lowercase(), case.seed, &hash[..8]))
}

/// Trains missing runs unless only existing ones count. Returns the folder of each run; `None` if the program rejected it or failed.
pub(crate) fn train_all(root: &Path, cases: &[Case], is_cached: bool) -> Vec<Option<PathBuf>> {
    fs::create_dir_all(root).expect("target/ can be written");
    fs::write(root.join("base.toml"), BASE).expect("target/ can be written");
    // Writes all images, which two threads must not do at once.
    let all: Vec<Vec<String>> = cases.iter().map(|case| settings(root, case)).collect();
    let folders: Vec<PathBuf> =
        cases.iter().zip(&all).map(|(case, settings)| folder_of(root, case, settings)).collect();
    // Nor may they train the same run at once: several faulty runs have the same healthy twin.
    let mut seen = HashSet::new();
    let first: Vec<usize> = (0..cases.len()).filter(|&index| seen.insert(&folders[index])).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(&index) = first.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !is_cached && !folders[index].is_dir() {
                        train(root, &cases[index], &all[index], &folders[index]);
                    }
                }
            });
        }
    });
    // A run that failed has no folder.
    folders.into_iter().map(|folder| folder.is_dir().then_some(folder)).collect()
}

/// Trains a run into a new folder. `None` if the program rejected it or failed.
fn train(root: &Path, case: &Case, settings: &[String], folder: &Path) -> Option<()> {
    let temporary = folder.with_extension("part");
    let _ = fs::remove_dir_all(&temporary);
    match case.recipe {
        Recipe::Program(_) => run_program(root, case, &temporary, settings)?,
        Recipe::OwnLoop(twist) => {
            // All threads share one random generator.
            static ALONE: Mutex<()> = Mutex::new(());
            let _alone = ALONE.lock().expect("no thread panics with it");
            let images = root.join("images/clean");
            own_loops::train(&images, &temporary, case.architecture, twist, case.seed).expect("a loop can be trained");
        }
    }
    fs::rename(&temporary, folder).expect("target/ can be written");
    eprintln!("trained {} {} seed {}", case.architecture, case.name, case.seed);
    Some(())
}

/// `None` if the program rejected it or failed.
fn run_program(root: &Path, case: &Case, folder: &Path, settings: &[String]) -> Option<()> {
    let logdir = format!("run.logdir={}", root.display());
    let mut command = if case.grid == random::GRID {
        let mut command = Command::new(std::env::current_exe().ok()?);
        command.arg(random::ARGUMENT).arg(root.join("base.toml")).arg(folder.file_name()?).arg(logdir).args(settings);
        command
    } else {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradwatch"));
        command.arg("train").arg(root.join("base.toml")).arg("--run-name").arg(folder.file_name()?);
        command.args(["--set", &logdir]);
        settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
        command
    };
    let output = command.stdin(Stdio::null()).output().expect("the program was built with this one");
    // A run that diverged, or that no repair helped, is a valid trace.
    if !matches!(output.status.code(), Some(0 | 16 | 18)) {
        let message = String::from_utf8_lossy(&output.stderr);
        eprintln!("{} {}: {}", case.architecture, case.name, message.lines().last().unwrap_or_default());
        return None;
    }
    for name in ["weights", "checkpoints", "abandoned"] {
        let _ = fs::remove_dir_all(folder.join(name));
    }
    Some(())
}

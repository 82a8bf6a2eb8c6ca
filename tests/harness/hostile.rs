//! A small run for tests of hostile names, files, and outputs.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Outcome, Workplace};

const TOML: &str = r#"
run = { max_epochs = 1, threads = 1 }
data = { source = "synthetic", samples = 60, classes = 3, image_size = 8, channels = 1, batch_size = 20 }
model = { name = "mlp", width = 8, depth = 1 }
checkpoint = { every_steps = 1 }
"#;

/// A workplace with a run in `logs/run`.
pub(crate) fn workplace() -> (Workplace, PathBuf) {
    let workplace = without_run();
    let run = workplace.train("run", &[]);
    (workplace, run)
}

/// The same without the run.
pub(crate) fn without_run() -> Workplace {
    Workplace::new(TOML)
}

/// Calls the program with arguments of any bytes.
pub(crate) fn call<S: AsRef<OsStr>>(workplace: &Workplace, arguments: &[S]) -> Outcome {
    Outcome::of(workplace.command(&[]).args(arguments))
}

/// Checks the exit code, and one last line with these words.
pub(crate) fn refuses(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("gradwatch: ") && words.iter().all(|word| last.contains(word)), "{outcome:#?}");
}

pub(crate) fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

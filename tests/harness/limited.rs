//! Calls that have to end in time, and pipes for them to hang on.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Outcome, Workplace};

/// No call here takes more than a second or two where nothing hangs.
pub const LIMIT: Duration = Duration::from_secs(120);

const TOML: &str = r#"
run = { max_epochs = 1, threads = 1 }
data = { source = "synthetic", samples = 60, classes = 3, image_size = 8, channels = 1, batch_size = 20 }
model = { name = "mlp", width = 8, depth = 1 }
checkpoint = { every_steps = 1 }
"#;

/// A workplace with a run in `logs/run`.
pub fn workplace() -> (Workplace, PathBuf) {
    let workplace = without_run();
    let run = workplace.train("run", &[]);
    (workplace, run)
}

/// The same without the run.
pub fn without_run() -> Workplace {
    Workplace::new(TOML)
}

/// Waits for a process that must end by itself.
pub fn end_of(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it hangs: {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Calls the program, which has to end in time.
pub fn call<S: AsRef<OsStr>>(workplace: &Workplace, arguments: &[S]) -> Outcome {
    let [out, err] = ["stdout", "stderr"].map(|name| tempfile::NamedTempFile::with_prefix(name).unwrap());
    let mut command = workplace.command(&[]);
    command.args(arguments).stdin(Stdio::null()).stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
    let what = format!("{command:?}");
    let status = end_of(&mut command.spawn().unwrap(), &what);
    let [stdout, stderr] = [out, err].map(|file| fs::read_to_string(file.path()).unwrap());
    Outcome { code: status.code(), stdout, stderr }
}

/// Demands a code, and one last line with these words.
pub fn refuses(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("gradwatch: ") && words.iter().all(|word| last.contains(word)), "{outcome:#?}");
}

pub fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

//! Memory and utilization of the GPUs of this machine, from nvidia-smi.

use std::{
    io::{self, Read},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// One line per GPU, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus(Vec<String>);

impl Default for Gpus {
    fn default() -> Self {
        Self(vec!["nvidia-smi does not answer".into()])
    }
}

/// Time between two questions, and longest time to wait for an answer.
const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest answer to read, in bytes.
const MOST_BYTES: u64 = 1 << 16;
const QUERY: [&str; 2] = [
    "--query-gpu=index,name,utilization.gpu,memory.used,memory.total,temperature.gpu",
    "--format=csv,noheader,nounits",
];

impl Gpus {
    /// The lines.
    pub fn rows(&self) -> &[String] {
        &self.0
    }

    /// Reads an answer of nvidia-smi; `None` if it has no GPU.
    fn parse(answer: &str) -> Option<Self> {
        let rows: Vec<String> = answer.lines().filter_map(row).collect();
        (!rows.is_empty()).then_some(Self(rows))
    }
}

/// `0, NVIDIA H200, 97, 70000, 143771, 55` as a line; memory is in MiB. Unknown values are `[N/A]`.
fn row(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [index, name, busy, used, total, degrees] = fields[..] else { return None };
    let gib = |mib: &str| mib.parse::<f64>().map_or("?".into(), |mib| format!("{:.1}", mib / 1024.0));
    let known = |value: &str| if value.parse::<f64>().is_ok() { value.to_owned() } else { "?".into() };
    Some(format!(
        "GPU {index} {name}: {:>3}% busy, {} of {} GiB, {} °C",
        known(busy),
        gib(used),
        gib(total),
        known(degrees)
    ))
}

/// Asks nvidia-smi again and again in a thread, and passes each new answer to `send`. Nothing waits for it: a driver
/// that hangs costs this thread alone. Ends if there is no nvidia-smi, or when `send` returns false.
///
/// # Errors
/// If the thread cannot be started.
pub(super) fn start(send: impl Fn(Gpus) -> bool + Send + 'static) -> io::Result<()> {
    let ask_on = move || {
        loop {
            let gpus = match ask("nvidia-smi", PATIENCE) {
                Ok(answer) => Gpus::parse(&answer).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(_) => Gpus::default(),
            };
            if !send(gpus) {
                return;
            }
            thread::sleep(EVERY);
        }
    };
    thread::Builder::new().name("nvidia-smi".into()).spawn(ask_on).map(|_| ())
}

/// Runs the program, and stops it if it takes too long.
fn ask(program: &str, patience: Duration) -> io::Result<String> {
    const TICK: Duration = Duration::from_millis(20);
    let mut child =
        Command::new(program).args(QUERY).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let until = Instant::now() + patience;
    while child.try_wait()?.is_none() {
        if Instant::now() >= until {
            let _ = child.kill();
            // A process that waits for the driver ends later; nothing waits for it here.
            let _ = child.try_wait();
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(TICK);
    }
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MOST_BYTES).read_to_string(&mut answer)?;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn an_answer_has_a_line_per_gpu_and_unknown_values_are_question_marks() {
        let answer = "0, NVIDIA H200, 97, 70000, 143771, 55\n1, NVIDIA H200, [N/A], 0, [N/A], 31\nodd\n";
        let want = [
            "GPU 0 NVIDIA H200:  97% busy, 68.4 of 140.4 GiB, 55 °C",
            "GPU 1 NVIDIA H200:   ?% busy, 0.0 of ? GiB, 31 °C",
        ];
        assert_eq!(Gpus::parse(answer).unwrap().rows(), want);
        assert_eq!(Gpus::parse("No devices were found\n"), None);
    }

    #[test]
    fn a_program_that_hangs_is_stopped_and_one_that_is_missing_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.display().to_string()
        };
        let quick = program("quick", "#!/bin/sh\necho 0, GPU, 1, 2048, 4096, 30\n");
        assert_eq!(ask(&quick, PATIENCE).unwrap(), "0, GPU, 1, 2048, 4096, 30\n");
        let started = Instant::now();
        let error = ask(&program("slow", "#!/bin/sh\nexec sleep 60\n"), Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(ask("/nonexistent/smi", PATIENCE).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

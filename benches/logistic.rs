//! Effect of the initialization on deep nets of sigmoid units.
//!
//! Trains `configs/logistic-10-layers.toml` and its sibling of 15 layers with five initializations and five seeds each,
//! two runs at a time, and prints the test accuracy after the last epoch. Keeps runs in `target/logistic` by their
//! settings, and does not repeat existing ones.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

const DEPTHS: [usize; 2] = [10, 15];
const METHODS: [&str; 5] = ["xavier_uniform", "yilmaz_poli", "centered_logistic", "lsuv", "orthogonal"];
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
/// Number of parallel runs.
const AT_ONCE: usize = 2;
/// Monitoring changes no weight, and this bench does not need it.
const UNWATCHED: [&str; 4] =
    ["monitor.preset=off", "diagnosis.enabled=false", "checkpoint.every_epochs=0", "checkpoint.keep_best=0"];

/// One run and its folder.
struct Run {
    depth: usize,
    method: &'static str,
    config: PathBuf,
    settings: Vec<String>,
    folder: PathBuf,
}

impl Run {
    fn new(root: &Path, depth: usize, method: &'static str, seed: u64) -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("configs/logistic-{depth}-layers.toml"));
        let mut settings =
            vec![format!("model.initialization={method}"), format!("run.seed={seed}"), "run.threads=1".into()];
        settings.extend(UNWATCHED.map(str::to_owned));
        let toml = fs::read_to_string(&config).expect("configs/ is beside benches/");
        let meant: Vec<&str> = toml.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
        let hash = blake3::hash(format!("{meant:?}{settings:?}").as_bytes()).to_hex();
        let folder = root.join(format!("{depth}-{method}-{seed}-{}", &hash[..8]));
        Self { depth, method, config, settings, folder }
    }

    /// Trains the run, unless its folder exists.
    fn train(&self) {
        if self.folder.is_dir() {
            return;
        }
        let part = self.folder.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        let (logdir, name) = (part.parent().expect("in target/"), part.file_name().expect("of its own"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradwatch"));
        command.arg("train").arg(&self.config).arg("--run-name").arg(name);
        command.arg("--set").arg(format!("run.logdir={}", logdir.display()));
        self.settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
        let output = command.stdin(Stdio::null()).output().expect("the program was built with this one");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let _ = fs::remove_dir_all(part.join("weights"));
        fs::rename(&part, &self.folder).expect("target/ can be written");
        eprintln!("{}: {:.1} %", self.folder.file_name().unwrap_or_default().display(), 100.0 * self.accuracy());
    }

    /// Test accuracy of the last evaluation.
    fn accuracy(&self) -> f64 {
        let metrics = fs::read_to_string(self.folder.join("metrics.jsonl")).expect("a run has metrics");
        let lines = metrics.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["validation"]["accuracy"].as_f64()).next_back().expect("every epoch is evaluated")
    }
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/logistic");
    fs::create_dir_all(&root).expect("target/ can be written");
    // Seeds vary slowest, so that every setting has a first result early.
    let of_seed = |seed| DEPTHS.iter().flat_map(move |&depth| METHODS.map(|method| (depth, method, seed)));
    let runs: Vec<Run> =
        SEEDS.iter().flat_map(|&seed| of_seed(seed)).map(|(d, m, seed)| Run::new(&root, d, m, seed)).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run.train();
                }
            });
        }
    });
    print_table(&runs);
}

/// Mean (smallest to largest) over the seeds.
fn print_table(runs: &[Run]) {
    println!("\n| initialization | {} |", DEPTHS.map(|depth| format!("{depth} layers")).join(" | "));
    println!("|---{}|", "|---".repeat(DEPTHS.len()));
    for method in METHODS {
        let cell = |depth| {
            let of_cell = runs.iter().filter(|run| run.depth == depth && run.method == method);
            let percents: Vec<f64> = of_cell.map(|run| 100.0 * run.accuracy()).collect();
            let mean = percents.iter().sum::<f64>() / percents.len() as f64;
            let least = percents.iter().copied().fold(f64::INFINITY, f64::min);
            let most = percents.iter().copied().fold(0.0, f64::max);
            format!("{mean:.1} % ({least:.1} to {most:.1})")
        };
        println!("| `{method}` | {} |", DEPTHS.map(cell).join(" | "));
    }
}

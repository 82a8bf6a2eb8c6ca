//! Signals, closed terminals, and closed output pipes: a run continues, or ends with all of its data.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use gradwatch::checkpoint::newest_whole;

use crate::harness::{SMALL, Workplace, background::wait_for, last_weights, limit::Running};

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn has_steps(run: &Path) -> bool {
    fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count() > 5
}

/// Starts the program as a terminal does, even if these tests run under nohup.
fn start(workplace: &Workplace, arguments: &[&str]) -> Running {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT").arg(env!("CARGO_BIN_EXE_gradwatch")).args(arguments);
    Running::start(command.current_dir(workplace.path()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

const ENDLESS: &str = "run.max_epochs=100000";

#[test]
fn a_closed_terminal_and_sigquit_end_a_run_with_a_checkpoint() {
    let workplace = Workplace::new(SMALL);
    for (name, code) in [("HUP", 129), ("QUIT", 131)] {
        let mut child = start(&workplace, &["train", "small.toml", "--run-name", name, "--set", ENDLESS]);
        let run = workplace.run_folder(name);
        wait_for("steps", || has_steps(&run));
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let mut summary = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut summary).unwrap();
        assert!(summary.contains(&format!("ended       SIG{name}")), "{summary}");
        let step = newest_whole(&run.join("checkpoints")).unwrap().unwrap().manifest.step;
        // As many steps as recorded, and all of them.
        let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        assert_eq!(log.lines().filter(|line| line.starts_with("{\"kind\":\"step\"")).count() as u64, step);
    }
}

#[test]
fn a_run_that_was_started_to_ignore_sighup_goes_on() {
    let workplace = Workplace::new(SMALL);
    let program = env!("CARGO_BIN_EXE_gradwatch");
    let script = format!("trap '' HUP; exec '{program}' train small.toml --run-name nohup --set run.max_epochs=6");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(workplace.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Running::start(&mut command);
    let run = workplace.run_folder("nohup");
    wait_for("steps", || has_steps(&run));
    signal(&child, "HUP");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Closes the terminal of a run in the middle, and prints its exit status.
const TERMINAL: &str = r#"
import os, pty, signal, sys, time
program, run = sys.argv[1:3]
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.execv(program, [program, "train", "small.toml", "--run-name", run, "--set", "run.max_epochs=100000"])
os.set_blocking(terminal, False)
end = time.time() + 120
def drain():
    try: os.read(terminal, 65536)
    except (BlockingIOError, OSError): pass
while time.time() < end:
    drain()
    try: steps = len(open(f"logs/{run}/metrics.jsonl").readlines())
    except OSError: steps = 0
    if steps > 20: break
    time.sleep(0.01)
os.close(terminal)
while time.time() < end:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        print(os.waitstatus_to_exitcode(status))
        sys.exit()
    time.sleep(0.01)
os.kill(pid, signal.SIGKILL)
print("the run does not end")
"#;

#[test]
fn a_run_whose_terminal_is_closed_under_it_saves_and_ends_without_a_panic() {
    let workplace = Workplace::new(SMALL);
    let python = Command::new("python3")
        .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_gradwatch"), "closed"])
        .current_dir(workplace.path())
        .output()
        .expect("python3, which makes a terminal, is not there");
    let said = String::from_utf8_lossy(&python.stdout).into_owned();
    assert_eq!(said.trim(), "129", "{}", String::from_utf8_lossy(&python.stderr));
    let run = workplace.run_folder("closed");
    assert!(newest_whole(&run.join("checkpoints")).unwrap().unwrap().manifest.step > 0);
    assert!(run.join("report.html").exists() && !last_weights(&run).is_empty());
    let log = fs::read_to_string(run.join("train.log")).unwrap();
    assert!(!log.contains("internal error"), "{log}");
}

#[test]
fn a_signal_before_training_begins_ends_the_process_at_once() {
    // Drawing these images takes many seconds.
    let long = ["--set", "data.samples=2000000", "--set", "data.image_size=24"];
    let workplace = Workplace::new(SMALL);
    for (command, name, codes) in [
        ("train", "TERM", [Some(143), None]),
        ("train", "HUP", [Some(129), None]),
        ("train", "USR1", [Some(75), None]),
        ("check", "TERM", [Some(143), None]),
        ("inspect", "INT", [Some(130), None]),
    ] {
        let mut child = start(&workplace, &[&[command, "small.toml"], &long[..]].concat());
        std::thread::sleep(Duration::from_millis(700));
        assert!(child.try_wait().unwrap().is_none(), "{command} is over before the signal comes");
        signal(&child, name);
        // The exit code is that of an unfinished process, however slow the machine is.
        let code = child.wait().unwrap().code();
        assert!(codes.contains(&code), "{command} {name}: {code:?}");
    }
    assert!(!workplace.path().join("logs").exists());
}

/// Runs the program with its output redirected by a shell, and returns its exit code.
fn call_with(workplace: &Workplace, arguments: &str, output: &str) -> Option<i32> {
    let script = format!("exec '{}' {arguments} {output}", env!("CARGO_BIN_EXE_gradwatch"));
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(workplace.path()).stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(&mut command).wait().unwrap().code()
}

#[test]
fn a_run_is_none_the_worse_for_output_that_nobody_takes() {
    let workplace = Workplace::new(SMALL);
    for (index, output) in
        ["> /dev/full", "2> /dev/full", "> /dev/full 2>&1", ">&-", "2>&-", ">&- 2>&- <&-"].into_iter().enumerate()
    {
        let arguments = format!("train small.toml --run-name run{index} --max-steps 3");
        assert_eq!(call_with(&workplace, &arguments, output), Some(0), "{output}");
        let run = workplace.run_folder(&format!("run{index}"));
        assert!(run.join("report.html").exists() && !last_weights(&run).is_empty(), "{output}");
        assert!(newest_whole(&run.join("checkpoints")).unwrap().is_some(), "{output}");
    }
    // The contents of files do not depend on the output streams.
    let export = "export logs/run0 --weights last --format safetensors --output w.safetensors";
    assert_eq!(call_with(&workplace, export, "> /dev/full"), Some(0));
    assert!(workplace.path().join("w.safetensors").exists());
}

#[test]
fn a_command_whose_result_is_its_output_says_so_where_that_cannot_be_written() {
    let workplace = Workplace::new(SMALL);
    workplace.train("run", &["run.max_steps=1"]);
    for arguments in [
        "models",
        "check small.toml",
        "inspect small.toml",
        "find-lr small.toml --from 0.001 --to 1 --steps 30",
        "diagnose logs/run",
        "compare logs/run logs/run",
        "checkpoints logs/run",
        "completions bash",
    ] {
        assert_eq!(call_with(&workplace, arguments, "> /dev/full"), Some(13), "{arguments}");
        assert_eq!(call_with(&workplace, arguments, "2> /dev/full"), Some(0), "{arguments}");
    }
    for (arguments, file) in [
        ("check small.toml --show-batch batch.png", "batch.png"),
        ("find-lr small.toml --from 0.001 --to 1 --steps 30 --output rates.png", "rates.png"),
        ("compare logs/run logs/run --output runs.html", "runs.html"),
    ] {
        assert_eq!(call_with(&workplace, arguments, "> /dev/full"), Some(13), "{arguments}");
        assert!(workplace.path().join(file).exists(), "{arguments}: a full stdout costs the file");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = workplace.command(&["models"]).stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "gradwatch: stdout cannot be written: No space left on device (os error 28); the output is incomplete\n"
    );
    // A closed pipe is a normal end of output.
    let script = format!("'{}' models | head -1", env!("CARGO_BIN_EXE_gradwatch"));
    let output = Command::new("bash").args(["-c", &format!("set -o pipefail; {script}")]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

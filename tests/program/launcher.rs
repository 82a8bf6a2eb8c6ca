//! `--ranks N`: starts its ranks, and takes them along when it ends.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use crate::harness::{SMALL, Workplace, background::wait_for, limit::Running};

/// Drawing these images takes many seconds.
const SLOW_DATA: [&str; 4] = ["--set", "data.samples=500000", "--set", "data.image_size=24"];

/// Starts two ranks with slow data, as from a terminal.
fn start(workplace: &Workplace) -> Running {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT").arg(env!("CARGO_BIN_EXE_gradwatch"));
    command.args(["train", "small.toml", "--ranks", "2"]).args(SLOW_DATA).env_remove("OMP_NUM_THREADS");
    Running::start(command.current_dir(workplace.path()).stdout(Stdio::null()).stderr(Stdio::null()))
}

fn process(id: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{id}"))
}

/// The children of a process that have started the program.
fn ranks_of(launcher: &Running) -> Vec<u32> {
    let id = launcher.id();
    let children = fs::read_to_string(process(id).join(format!("task/{id}/children"))).unwrap_or_default();
    let is_started = |id: &u32| texts(*id, "environ").iter().any(|variable| variable.starts_with("RANK="));
    children.split_whitespace().map(|id| id.parse().unwrap()).filter(is_started).collect()
}

/// The texts of a file in /proc that separates them by NUL.
fn texts(id: u32, file: &str) -> Vec<String> {
    let bytes = fs::read(process(id).join(file)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).split_terminator('\0').map(str::to_owned).collect()
}

/// Whether a process has installed its handler of SIGTERM. It has asked for the signal of its launcher before.
fn handles_sigterm(id: u32) -> bool {
    let status = fs::read_to_string(process(id).join("status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap() >> 14 & 1 == 1
}

/// Whether a process has ended, even if nobody has waited for it.
fn has_ended(id: u32) -> bool {
    let stat = fs::read_to_string(process(id).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('Z'))
}

fn signal(id: u32, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn an_impossible_number_of_ranks_and_ranks_of_a_rank_are_wrong_command_lines() {
    let workplace = Workplace::new(SMALL);
    for ranks in ["0", "-1", "1025", "two"] {
        let outcome = workplace.call(&["train", "small.toml", &format!("--ranks={ranks}")]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    }
    for (arguments, variables, said) in [
        (["train", "small.toml"], vec![("RANK", "0")], "RANK=0 is set, so this process already is a rank"),
        (["resume", "logs/run"], vec![("RANK", "1"), ("WORLD_SIZE", "2")], "RANK=1 is set"),
        (["train", "small.toml"], vec![("SLURM_PROCID", "3"), ("SLURM_NTASKS", "8")], "SLURM_NTASKS=8 is set"),
    ] {
        let mut command = workplace.command(&arguments);
        let output = command.args(["--ranks", "2"]).envs(variables).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(said) && stderr.contains("omit --ranks"), "{stderr}");
    }
    assert!(!workplace.path().join("logs").exists());
}

#[test]
fn a_wrong_config_is_reported_once() {
    let workplace = Workplace::new(SMALL);
    let outcome = workplace.call(&["train", "small.toml", "--ranks", "2", "--set", "model.wdth=3"]);
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    assert_eq!(outcome.stderr.matches("model.wdth: unknown key").count(), 1, "{outcome:#?}");
}

#[test]
fn an_error_of_the_ranks_is_the_exit_code_of_the_launcher() {
    let workplace = Workplace::new(SMALL);
    let outcome = workplace.call(&["resume", "logs/nothing", "--ranks", "2"]);
    assert_eq!(outcome.code, Some(6), "{outcome:#?}");
    assert_eq!(outcome.stderr.matches("failed with exit code 6").count(), 1, "{outcome:#?}");
}

#[test]
fn one_rank_is_the_process_itself() {
    let workplace = Workplace::new(SMALL);
    let outcome = workplace.call(&["train", "small.toml", "--ranks", "1", "--run-name", "one", "--max-steps", "1"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(workplace.run_folder("one").join("weights/last.safetensors").exists());
}

#[test]
fn each_rank_has_its_place_in_the_environment_and_ends_at_a_signal_of_the_launcher() {
    let workplace = Workplace::new(SMALL);
    let mut launcher = start(&workplace);
    wait_for("ranks", || ranks_of(&launcher).iter().filter(|id| handles_sigterm(**id)).count() == 2);
    let cores = thread::available_parallelism().unwrap().get();
    let threads = format!("OMP_NUM_THREADS={}", (cores / 2).max(1));
    for (rank, id) in ranks_of(&launcher).into_iter().enumerate() {
        let arguments = texts(id, "cmdline");
        assert_eq!(arguments[1..], [&["train", "small.toml"][..], &SLOW_DATA].concat());
        let environment = texts(id, "environ");
        let [own, local] = [format!("RANK={rank}"), format!("LOCAL_RANK={rank}")];
        let shared =
            ["WORLD_SIZE=2", "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE=True"];
        for variable in shared.into_iter().chain([&*own, &*local, &*threads]) {
            assert!(environment.iter().any(|other| other == variable), "no {variable} in {environment:?}");
        }
        let port = environment.iter().find_map(|variable| variable.strip_prefix("MASTER_PORT=")).unwrap();
        let port = port.parse().unwrap();
        // The launcher serves the store.
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
    let ranks = ranks_of(&launcher);
    signal(launcher.id(), "TERM");
    assert_eq!(launcher.wait().unwrap().code(), Some(143));
    assert!(ranks.into_iter().all(has_ended));
}

#[test]
fn ranks_do_not_outlive_a_killed_launcher() {
    let workplace = Workplace::new(SMALL);
    // In the first turn, at most some ranks have asked the kernel for a signal.
    for is_early in [true, false] {
        let mut launcher = start(&workplace);
        wait_for("ranks", || {
            let ranks = ranks_of(&launcher);
            ranks.len() == 2 && (is_early || ranks.into_iter().all(handles_sigterm))
        });
        let ranks = ranks_of(&launcher);
        signal(launcher.id(), "KILL");
        launcher.wait().unwrap();
        wait_for("the end of the ranks", || ranks.iter().all(|id| has_ended(*id)));
    }
}

/// Trains two ranks in a terminal, presses Ctrl-C after some steps, and prints the exit status and the output.
const TERMINAL: &str = r#"
import glob, os, pty, signal, sys, time
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[1], [sys.argv[1], "train", "small.toml", "--ranks", "2", "--set", "run.max_epochs=100000"])
os.set_blocking(terminal, False)
output, is_pressed, end = b"", False, time.time() + 120
def read():
    global output
    try: output += os.read(terminal, 65536)
    except (BlockingIOError, OSError): pass
while time.time() < end:
    read()
    if not is_pressed and any(len(open(file).readlines()) > 20 for file in glob.glob("logs/*/metrics.jsonl")):
        os.write(terminal, b"\x03")
        is_pressed = True
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        read()
        print(os.waitstatus_to_exitcode(status))
        print(output.decode(errors="replace"))
        sys.exit()
    time.sleep(0.01)
os.kill(pid, signal.SIGKILL)
print("the run does not end")
"#;

#[test]
fn ctrl_c_in_a_terminal_ends_all_ranks_in_order_and_rank_0_draws_its_progress_bar_there() {
    let workplace = Workplace::new(SMALL);
    let python = Command::new("python3")
        .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_gradwatch")])
        .current_dir(workplace.path())
        .output()
        .expect("python3, which makes a terminal, is not there");
    let said = String::from_utf8_lossy(&python.stdout).into_owned();
    assert!(said.starts_with("130\n"), "{said} {}", String::from_utf8_lossy(&python.stderr));
    assert!(said.contains("epoch 1/100000") && said.contains("ended       SIGINT"), "{said}");
    assert!(!said.contains("killed") && !said.contains("failed"), "{said}");
}

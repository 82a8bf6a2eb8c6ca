//! `--ranks N`: starts N copies of this program as the ranks of a data-parallel run on this machine.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    num::NonZero,
    path::Path,
    process::{self, Command},
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, Result};
use gradwatch::{libtorch::Store, train::StopSignal};
use rustix::process::{Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use signal_hook::iterator::Signals;

use super::{
    exit::Code,
    rank_processes::{Patience, RankProcesses},
};

/// Process ID of the launcher, in the environment of its ranks, and of a study, in that of its runs.
pub(super) const LAUNCHER: &str = "GRADWATCH_LAUNCHER";
/// torchrun sets it in each rank.
const TORCHRUN: &str = "TORCHELASTIC_RUN_ID";

/// Longest wait for the store to start.
const STORE_LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Patience = Patience { to_end: Duration::from_secs(60), to_save: Duration::from_secs(10) };

/// Rejects `--ranks` in a process that another launcher started as a rank.
pub(super) fn refuse_in_a_rank(ranks: usize) -> Result<usize, String> {
    let variable = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    existing_rank(variable).map_or(Ok(ranks), Err)
}

/// The reason why the process is already a rank.
fn existing_rank(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(rank) = variable("RANK") {
        return Some(format!("RANK={rank} is set, so this process already is a rank; omit --ranks, or unset RANK"));
    }
    // A batch script is a task of its own, unless srun runs several.
    let tasks = variable("SLURM_PROCID").and_then(|_| variable("SLURM_NTASKS")).filter(|tasks| tasks != "1")?;
    Some(format!("SLURM_NTASKS={tasks} is set, so srun starts the ranks; omit --ranks, or use --ntasks=1"))
}

/// Runs this command line in `ranks` processes and waits for them. Serves their store, as torchrun does.
pub(super) fn launch(ranks: usize) -> Result<Code> {
    // Before the first rank starts, so that no signal ends the launcher alone.
    let mut signals = Signals::new(StopSignal::signals()).context("cannot install the signal handler")?;
    let store = Store::open("127.0.0.1", 0, true, STORE_LIMIT).context("cannot start the store of the ranks")?;
    let program = env::current_exe().context("cannot find the program to start as ranks")?;
    let ranks = RankProcesses::start(ranks, |rank| command(&program, rank, ranks, store.port()))
        .with_context(|| format!("cannot start {} as {ranks} ranks", program.display()))?;
    Ok(ranks.wait(|| signals.pending().collect(), &PATIENCE)?)
}

fn command(program: &Path, rank: usize, ranks: usize, port: u16) -> Command {
    let mut command = Command::new(program);
    command.args(rank_arguments(env::args_os().skip(1)));
    let world = ranks.to_string();
    command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
    command.env("WORLD_SIZE", &world).env("LOCAL_WORLD_SIZE", &world);
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    command.env("TORCHELASTIC_USE_AGENT_STORE", "True");
    command.env(LAUNCHER, process::id().to_string());
    if env::var_os("OMP_NUM_THREADS").is_none() {
        let cores = available_parallelism().map_or(1, NonZero::get);
        command.env("OMP_NUM_THREADS", (cores / ranks).max(1).to_string());
    }
    command
}

/// The command line of a rank: that of the launcher without `--ranks`.
fn rank_arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut own = own.peekable();
    let mut arguments = Vec::new();
    while let Some(argument) = own.next_if(|argument| argument != "--") {
        if argument == "--ranks" {
            own.next();
        } else if !argument.as_encoded_bytes().starts_with(b"--ranks=") {
            arguments.push(argument);
        }
    }
    // All that follows "--" is positional.
    arguments.extend(own);
    arguments
}

/// If a launcher started this rank, asks the kernel to end the rank by SIGTERM when the launcher dies: a rank that is
/// left alone would wait for its peers, or train on unseen. torchrun dies so by SIGUSR1 or SIGKILL.
///
/// # Errors
/// If the kernel rejects the request.
pub(super) fn end_with_launcher() -> io::Result<()> {
    let launcher = env::var_os(LAUNCHER);
    if launcher.is_none() && env::var_os(TORCHRUN).is_none() {
        return Ok(());
    }
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // The kernel says nothing about a launcher that died before the request.
    if launcher.is_some_and(|launcher| !is_parent(&launcher)) {
        kill_process(getpid(), Signal::TERM)?;
    }
    Ok(())
}

fn is_parent(pid: &OsStr) -> bool {
    getppid().is_some_and(|parent| pid == OsStr::new(&parent.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_has_the_arguments_of_the_launcher_without_ranks() {
        let of = |line: &str| {
            let arguments = rank_arguments(line.split(' ').map(OsString::from));
            arguments.join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(of("train a.toml --ranks 2 --max-steps 3"), "train a.toml --max-steps 3");
        assert_eq!(of("train --ranks=2 a.toml"), "train a.toml");
        assert_eq!(of("resume logs/ranks --ranks 16"), "resume logs/ranks");
        assert_eq!(of("train --ranks 2 -- --ranks"), "train -- --ranks");
    }

    #[test]
    fn a_process_with_a_rank_or_with_several_slurm_tasks_starts_no_ranks() {
        let reason = |variables: &[(&str, &str)]| {
            existing_rank(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
        };
        assert_eq!(reason(&[]), None);
        assert_eq!(reason(&[("SLURM_PROCID", "0")]), None);
        assert_eq!(reason(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")]), None);
        // salloc: a shell in an allocation, not a task.
        assert_eq!(reason(&[("SLURM_NTASKS", "8")]), None);
        assert!(reason(&[("RANK", "1")]).unwrap().starts_with("RANK=1 is set"));
        let tasks = reason(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap();
        assert!(tasks.starts_with("SLURM_NTASKS=8 is set"), "{tasks}");
    }
}

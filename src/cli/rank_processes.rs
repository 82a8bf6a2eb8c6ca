//! The processes of a launcher, one per rank: passes signals on to them, and waits for all of them.

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use gradwatch::cli::tell_error;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1},
    low_level::signal_name,
};

use super::exit::Code;

/// Pause between two looks at the processes and the received signals.
const POLL: Duration = Duration::from_millis(20);

/// Time for the other ranks to end after one has failed.
pub(super) struct Patience {
    /// From the failure to SIGTERM.
    pub(super) to_end: Duration,
    /// From SIGTERM to SIGKILL.
    pub(super) to_save: Duration,
}

/// Running ranks. Ranks that still run when this value is dropped are killed.
pub(super) struct RankProcesses {
    running: Vec<(usize, Child)>,
    /// Signals that the launcher has sent.
    sent: Vec<i32>,
    /// The ending that decides the exit code, so far.
    worst: (Ending, Code),
    /// When to send which signal to ranks that wait for a failed one.
    next: Option<(Instant, i32)>,
}

/// How a rank ended. A later variant says more about the cause; of equal ones, the first decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Done,
    /// Early but in order, as agreed among the ranks: by a signal or a finding, or with something skipped.
    Stopped,
    /// Because another rank failed.
    LostPeer,
    Failed,
}

impl RankProcesses {
    /// Starts `command(rank)` for each rank.
    ///
    /// # Errors
    /// If one cannot be started; kills the others.
    pub(super) fn start(count: usize, command: impl Fn(usize) -> Command) -> io::Result<Self> {
        let running = Vec::with_capacity(count);
        let mut ranks = Self { running, sent: Vec::new(), worst: (Ending::Done, Code::Success), next: None };
        for rank in 0..count {
            // In a process group of its own, it gets no second Ctrl-C from the terminal. Such a group may write to the
            // terminal, but not read from it.
            ranks.running.push((rank, command(rank).process_group(0).stdin(Stdio::null()).spawn()?));
        }
        Ok(ranks)
    }

    /// Waits for all ranks. Passes each signal that `received` returns on to all of them once.
    ///
    /// # Errors
    /// If the system rejects the wait.
    pub(super) fn wait(mut self, mut received: impl FnMut() -> Vec<i32>, patience: &Patience) -> io::Result<Code> {
        loop {
            received().into_iter().for_each(|signal| self.send(signal));
            self.reap(patience)?;
            if self.running.is_empty() {
                return Ok(self.worst.1);
            }
            self.hurry(patience);
            thread::sleep(POLL);
        }
    }

    fn send(&mut self, signal: i32) {
        self.sent.push(signal);
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        for (_, child) in &self.running {
            // The process ID is valid, as nobody has waited for the child. A child that has just ended ignores signals.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// Takes note of the ranks that have ended.
    fn reap(&mut self, patience: &Patience) -> io::Result<()> {
        let mut index = 0;
        while let Some((_, child)) = self.running.get_mut(index) {
            match child.try_wait()? {
                Some(status) => {
                    let (rank, _) = self.running.remove(index);
                    self.note(rank, status, patience);
                }
                None => index += 1,
            }
        }
        Ok(())
    }

    fn note(&mut self, rank: usize, status: ExitStatus, patience: &Patience) {
        let (ending, code) = judge(status, &self.sent);
        let so_far = self.worst.0;
        match status.signal() {
            Some(signal) if ending == Ending::Failed => tell_death(rank, signal),
            None if ending == Ending::Failed && so_far < ending => {
                tell_error("gradwatch", &format!("rank {rank} failed with exit code {}", code.number()));
            }
            _ => {}
        }
        if ending >= Ending::LostPeer && so_far < Ending::LostPeer {
            self.next = Some((Instant::now() + patience.to_end, SIGTERM));
        }
        if ending > so_far {
            self.worst = (ending, code);
        }
    }

    /// Ends ranks that do not notice the loss of another one.
    fn hurry(&mut self, patience: &Patience) {
        let Some((time, signal)) = self.next.filter(|(time, _)| Instant::now() >= *time) else { return };
        let ranks: Vec<String> = self.running.iter().map(|(rank, _)| rank.to_string()).collect();
        let name = signal_name(signal).unwrap_or_default();
        let message = format!("still running after another rank failed: {}; sending {name}", ranks.join(", "));
        tell_error("gradwatch", &message);
        self.send(signal);
        self.next = (signal == SIGTERM).then_some((time + patience.to_save, SIGKILL));
    }
}

impl Drop for RankProcesses {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            // Both fail if it has already ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn judge(status: ExitStatus, sent: &[i32]) -> (Ending, Code) {
    match (status.code(), status.signal()) {
        (Some(number), _) => {
            let number = u8::try_from(number).unwrap_or(Code::Internal.number());
            (ending_of(number), Code::OfRank(number))
        }
        (None, Some(signal)) if sent.contains(&signal) => (Ending::Stopped, Code::Signal(signal)),
        _ => (Ending::Failed, Code::Rank),
    }
}

fn ending_of(number: u8) -> Ending {
    let stops = [SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGHUP].map(Code::Signal);
    let is_a_stop = |code: &Code| code.number() == number;
    match number {
        0 => Ending::Done,
        _ if number == Code::Rank.number() => Ending::LostPeer,
        _ if [Code::Partial, Code::Finding].iter().chain(&stops).any(is_a_stop) => Ending::Stopped,
        _ => Ending::Failed,
    }
}

fn tell_death(rank: usize, signal: i32) {
    let name = signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned);
    let hint = if signal == SIGKILL { "; if you did not do that, memory ran out: see dmesg" } else { "" };
    tell_error("gradwatch", &format!("rank {rank} was killed by {name}{hint}"));
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, fs, path::Path};

    use tempfile::tempdir;

    use super::*;

    /// So long that a test which waits for it fails by its own limits.
    const NEVER: Patience = Patience { to_end: Duration::from_secs(600), to_save: Duration::from_secs(600) };

    /// Runs a shell script as each rank, with RANK set, as if started from a terminal.
    fn start(count: usize, folder: &Path, script: &str) -> RankProcesses {
        let command = |rank: usize| {
            let mut command = Command::new("env");
            command.args(["--default-signal=HUP,INT,QUIT", "sh", "-c", script]);
            command.current_dir(folder).env("RANK", rank.to_string());
            command
        };
        RankProcesses::start(count, command).unwrap()
    }

    fn code_of(count: usize, script: &str) -> u8 {
        let folder = tempdir().unwrap();
        start(count, folder.path(), script).wait(Vec::new, &NEVER).unwrap().number()
    }

    /// A script in which rank 1 runs `first`, and rank 0 runs `then` after the launcher has taken note of that.
    fn in_order(first: &str, then: &str) -> String {
        let wait = "until [ -s pid ]; do sleep 0.01; done; while kill -0 $(cat pid) 2>/dev/null; do sleep 0.01; done";
        format!("if [ $RANK = 1 ]; then echo $$ > new; mv new pid; {first}; else {wait}; {then}; fi")
    }

    #[test]
    fn the_rank_that_failed_by_itself_first_decides_the_exit_code() {
        assert_eq!(code_of(3, "exit 0"), 0);
        assert_eq!(code_of(2, &in_order("exit 4", "exit 8")), 4);
        // Code 15: the failure of another rank, which may end later, and stops such as by a finding.
        assert_eq!(code_of(2, &in_order("exit 15", "exit 14")), 14);
        assert_eq!(code_of(2, &in_order("exit 0", "exit 15")), 15);
        assert_eq!(code_of(2, &in_order("exit 11", "exit 6")), 6);
        assert_eq!(code_of(2, &in_order("exit 9", "exit 0")), 9);
        assert_eq!(code_of(2, &in_order("exit 143", "exit 143")), 143);
    }

    #[test]
    fn a_killed_rank_counts_as_failed_with_the_code_of_a_lost_rank() {
        assert_eq!(code_of(2, &in_order("kill -KILL $$", "exit 0")), 15);
        assert_eq!(code_of(2, &in_order("kill -KILL $$", "exit 8")), 15);
        assert_eq!(code_of(2, &in_order("exit 143", "kill -SEGV $$")), 15);
    }

    #[test]
    fn every_rank_gets_each_signal_once_in_a_process_group_of_its_own() {
        let folder = tempdir().unwrap();
        let path = |name: &str, rank: usize| folder.path().join(format!("{name}{rank}"));
        let script = "for name in INT TERM QUIT USR1 HUP; do trap \"echo $name >> got$RANK\" $name; done
            cut -d ' ' -f 1,5 /proc/$$/stat > new$RANK; readlink /proc/$$/fd/0 >> new$RANK; mv new$RANK ready$RANK
            for i in $(seq 6000); do [ -e end ] && exit $((RANK * 11)); sleep 0.01; done; exit 1";
        let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
        let mut signals = VecDeque::from([SIGINT, SIGTERM, SIGTERM, SIGQUIT, SIGUSR1, SIGHUP]);
        let mut sent = 0;
        let received = || {
            let is_noted = (0..2).all(|rank| path("ready", rank).exists() && lines(&path("got", rank)) == sent);
            match is_noted.then(|| signals.pop_front()) {
                Some(Some(signal)) => {
                    sent += 1;
                    vec![signal]
                }
                Some(None) => {
                    fs::write(folder.path().join("end"), "").unwrap();
                    Vec::new()
                }
                None => Vec::new(),
            }
        };
        assert_eq!(start(2, folder.path(), script).wait(received, &NEVER).unwrap().number(), 11);
        for rank in 0..2 {
            assert_eq!(fs::read_to_string(path("got", rank)).unwrap(), "INT\nTERM\nTERM\nQUIT\nUSR1\nHUP\n");
            let ready = fs::read_to_string(path("ready", rank)).unwrap();
            let (ids, stdin) = ready.trim().split_once('\n').unwrap();
            let (process, group) = ids.split_once(' ').unwrap();
            assert_eq!((process, stdin), (group, "/dev/null"));
        }
    }

    #[test]
    fn a_signal_that_the_launcher_passed_on_is_no_failure() {
        let folder = tempdir().unwrap();
        let mut once = vec![vec![SIGUSR1]];
        let ranks = start(2, folder.path(), "for i in $(seq 6000); do sleep 0.01; done");
        assert_eq!(ranks.wait(|| once.pop().unwrap_or_default(), &NEVER).unwrap().number(), 75);
    }

    #[test]
    fn ranks_that_do_not_notice_a_failure_get_sigterm_and_then_sigkill() {
        let folder = tempdir().unwrap();
        let brief = Patience { to_end: Duration::from_millis(100), to_save: Duration::from_secs(3) };
        // The sleeps bound the test if no signal comes.
        let script = "case $RANK in
            0) trap 'echo >> term0; exit 143' TERM; : > ready0; for i in $(seq 6000); do sleep 0.01; done;;
            1) until [ -e ready0 ] && [ -e ready2 ]; do sleep 0.01; done; exit 8;;
            2) trap 'echo >> term2' TERM; : > ready2; for i in $(seq 6000); do sleep 0.01; done; : > survived;;
        esac";
        assert_eq!(start(3, folder.path(), script).wait(Vec::new, &brief).unwrap().number(), 8);
        for name in ["term0", "term2"] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "\n", "{name}");
        }
        assert!(!folder.path().join("survived").exists());
    }

    #[test]
    fn ranks_get_all_the_time_they_need_after_a_stop_in_order() {
        let folder = tempdir().unwrap();
        let none = Patience { to_end: Duration::ZERO, to_save: Duration::ZERO };
        let script = in_order("exit 11", "sleep 0.3; : > saved; exit 11");
        assert_eq!(start(2, folder.path(), &script).wait(Vec::new, &none).unwrap().number(), 11);
        assert!(folder.path().join("saved").exists());
    }

    #[test]
    fn ranks_do_not_outlive_an_error_of_the_launcher() {
        let folder = tempdir().unwrap();
        let pid = folder.path().join("pid");
        let command = |rank: usize| match rank {
            0 => {
                let mut command = Command::new("sh");
                command.args(["-c", "echo $$ > new; mv new pid; exec sleep 600"]).current_dir(folder.path());
                command
            }
            _ => {
                let deadline = Instant::now() + Duration::from_secs(60);
                while !pid.exists() {
                    assert!(Instant::now() < deadline, "rank 0 does not start");
                    thread::sleep(Duration::from_millis(5));
                }
                Command::new("/nonexistent")
            }
        };
        assert_eq!(RankProcesses::start(2, command).err().unwrap().kind(), io::ErrorKind::NotFound);
        let process = fs::read_to_string(&pid).unwrap();
        assert!(!Path::new("/proc").join(process.trim()).exists(), "rank 0 is left");
    }
}

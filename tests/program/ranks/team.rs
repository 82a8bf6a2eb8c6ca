//! The ranks of a run: each is a process of the program, with the environment variables of a launcher.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{self, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Workplace, limit::Running};

/// Exit code of a rank that ends because of another one.
pub(super) const RANK: i32 = 15;
/// Limit for all ranks to end, on a busy machine.
const OF_A_TEAM: Duration = Duration::from_secs(300);
/// Text that must not reach a user: frames and exceptions of C++, panics, and aborts.
const INTERNALS: [&str; 8] = [
    "Exception raised",
    "frame #",
    "terminate called",
    "what():",
    "panicked",
    "RUST_BACKTRACE",
    "internal error",
    "[E",
];

/// Where the ranks of a run meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meeting {
    pub world: usize,
    pub port: u16,
}

impl Meeting {
    /// A meeting of `world` ranks at a free port. Connections take no ports of this range by themselves.
    pub(super) fn of(world: usize) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let first = process::id() as usize * 97;
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let mut ports = (0..20_000).map(|_| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000);
        let port = ports.find_map(|port| u16::try_from(port).ok().filter(is_free)).expect("no port is free");
        Self { world, port }
    }

    /// The command of a rank.
    pub(super) fn rank(self, workplace: &Workplace, rank: usize, arguments: &[&str]) -> Command {
        let mut command = workplace.command(arguments);
        command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
        command.env("WORLD_SIZE", self.world.to_string()).env("OMP_NUM_THREADS", "1");
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", self.port.to_string());
        command
    }

    /// The commands of all ranks.
    pub(super) fn ranks(self, workplace: &Workplace, arguments: &[&str]) -> Vec<Command> {
        (0..self.world).map(|rank| self.rank(workplace, rank, arguments)).collect()
    }
}

/// Running ranks. Dropping it kills them.
pub(super) struct Team {
    members: Vec<Member>,
}

struct Member {
    running: Running,
    command: String,
    output: [PathBuf; 2],
    end: Option<(ExitStatus, Instant)>,
}

/// A rank that has ended.
pub(super) struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Time of the end.
    pub at: Instant,
}

impl Team {
    /// Starts all ranks with the same arguments.
    pub(super) fn start(workplace: &Workplace, world: usize, arguments: &[&str]) -> Self {
        Self::of(workplace, Meeting::of(world).ranks(workplace, arguments))
    }

    /// Starts these commands, each with its output in files.
    pub(super) fn of(workplace: &Workplace, commands: Vec<Command>) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let start = |mut command: Command| {
            let number = STARTED.fetch_add(1, Ordering::Relaxed);
            let output = ["out", "err"].map(|name| workplace.path().join(format!("process-{number}.{name}")));
            let [stdout, stderr] = output.each_ref().map(|path| File::create(path).unwrap());
            let called = format!("{command:?}");
            let running = Running::start(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr));
            Member { running, command: called, output, end: None }
        };
        Self { members: commands.into_iter().map(start).collect() }
    }

    /// Sends a signal to the process with this index, unless it has ended.
    pub(super) fn signal(&mut self, rank: usize, signal: &str) {
        if !self.has_ended(rank) {
            let id = self.members[rank].running.id().to_string();
            let status = Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap();
            assert!(status.success(), "kill -{signal} {id}");
        }
    }

    /// Whether the process with this index has ended.
    pub(super) fn has_ended(&mut self, rank: usize) -> bool {
        let member = &mut self.members[rank];
        if member.end.is_none() {
            member.end = member.running.try_wait().unwrap().map(|status| (status, Instant::now()));
        }
        member.end.is_some()
    }

    /// The log lines and errors of a process so far.
    pub(super) fn stderr(&self, rank: usize) -> String {
        String::from_utf8_lossy(&fs::read(&self.members[rank].output[1]).unwrap()).into_owned()
    }

    /// Waits until a condition is true; fails with its name and the output of all ranks after the limit, or if they all
    /// have ended.
    pub(super) fn wait_until(&mut self, what: &str, is_so: impl FnMut(&mut Self) -> bool) {
        assert!(self.comes(what, is_so), "all ranks have ended before {what}:\n{}", self.report());
    }

    /// Waits until a condition is true, and returns false if all ranks have ended before; fails after the limit.
    pub(super) fn comes(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = Instant::now() + OF_A_TEAM;
        loop {
            let is_over = (0..self.members.len()).all(|rank| self.has_ended(rank));
            if is_so(self) || is_over {
                return !is_over || is_so(self);
            }
            assert!(Instant::now() < deadline, "waited {OF_A_TEAM:?} for {what}:\n{}", self.report());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until these ranks have ended; fails after the limit.
    pub(super) fn wait_for(&mut self, ranks: &[usize]) {
        self.wait_for_within(ranks, OF_A_TEAM);
    }

    /// The same with another limit.
    pub(super) fn wait_for_within(&mut self, ranks: &[usize], limit: Duration) {
        let deadline = Instant::now() + limit;
        while ranks.iter().any(|rank| !self.has_ended(*rank)) {
            assert!(Instant::now() < deadline, "ranks {ranks:?} have not ended in {limit:?}:\n{}", self.report());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all ranks have ended; fails after the limit.
    pub(super) fn wait(mut self) -> Vec<Ended> {
        let all: Vec<usize> = (0..self.members.len()).collect();
        self.wait_for(&all);
        let ended = |member: &Member| {
            let (status, at) = member.end?;
            let [stdout, stderr] = member.output.each_ref().map(text);
            Some(Ended { code: status.code(), signal: status.signal(), stdout, stderr, at })
        };
        self.members.iter().filter_map(ended).collect()
    }

    /// What is known about each rank, for messages.
    fn report(&self) -> String {
        let of_rank = |(index, member): (usize, &Member)| {
            let state = member.end.map_or_else(|| "running".to_owned(), |(status, _)| status.to_string());
            let output = member.output.each_ref().map(|path| end_of(&text(path))).concat();
            format!("--- {index}: {state}: {}\n{output}", member.command)
        };
        self.members.iter().enumerate().map(of_rank).collect()
    }
}

/// The last lines of a text.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines[lines.len().saturating_sub(20)..].concat()
}

fn text(path: &PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

impl Ended {
    /// Checks the exit code, and returns the error: one line, without anything internal.
    pub(super) fn fails(&self, code: i32) -> &str {
        assert_eq!((self.code, self.signal), (Some(code), None), "{self:?}");
        let errors: Vec<&str> = self.stderr.lines().filter(|line| !is_logged(line)).collect();
        let [error] = errors[..] else { panic!("{} lines of errors: {self:?}", errors.len()) };
        assert!(INTERNALS.iter().all(|text| !self.stderr.contains(text)), "{self:?}");
        error.strip_prefix("gradwatch: ").unwrap_or_else(|| panic!("not an error of the program: {self:?}"))
    }

    /// Checks that the rank has ended without an error, and printed nothing internal.
    pub(super) fn ends(&self, code: i32) {
        assert_eq!((self.code, self.signal), (Some(code), None), "{self:?}");
        assert!(self.stderr.lines().all(is_logged), "{self:?}");
    }
}

/// Whether a line is a line of the log.
fn is_logged(line: &str) -> bool {
    ["TRACE ", "DEBUG ", " INFO ", " WARN ", "ERROR "].iter().any(|level| line.starts_with(level))
}

/// For messages of failed tests: line by line, as on a terminal.
impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, signal, stdout, stderr, .. } = self;
        let [stdout, stderr] = [stdout, stderr].map(|text| end_of(text));
        write!(f, "exit code {code:?}, signal {signal:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Trains into `logs/<name>` on `world` ranks, and checks that all of them succeed and only rank 0 prints anything.
pub(super) fn train(workplace: &Workplace, world: usize, name: &str, more: &[&str]) -> PathBuf {
    let arguments = [&["train", "small.toml", "--run-name", name], more].concat();
    succeed(Team::start(workplace, world, &arguments).wait());
    workplace.run_folder(name)
}

/// Checks that all ranks succeeded and only rank 0 printed anything.
pub(super) fn succeed(ended: Vec<Ended>) {
    assert!(ended.iter().all(|ended| ended.code == Some(0)), "{ended:#?}");
    for (rank, ended) in ended.iter().enumerate() {
        ended.ends(0);
        assert!(rank == 0 || (ended.stdout.is_empty() && ended.stderr.is_empty()), "rank {rank}: {ended:?}");
    }
}

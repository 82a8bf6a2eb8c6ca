//! Waits that end: a test that hangs says what it waited for, and leaves no process behind.
#![allow(dead_code)] // Each test file uses its own part.

use std::{
    io::{self, Read},
    ops::{Deref, DerefMut},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// For a whole process, on a machine that has much else to do.
const OF_A_PROCESS: Duration = Duration::from_secs(900);
/// For a condition to come true.
const OF_A_CONDITION: Duration = Duration::from_secs(120);

/// Waits until a condition holds, and fails with its name where it does not.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + OF_A_CONDITION;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {OF_A_CONDITION:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process that ends with the test, however that ends.
#[derive(Debug)]
pub struct Running {
    child: Child,
    called: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let called = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{called}: {error}"));
        Self { child, called }
    }

    /// As that of [`Child`], and fails where the process does not end.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + OF_A_PROCESS;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            assert!(Instant::now() < deadline, "still running after {OF_A_PROCESS:?}: {}", self.called);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As [`Command::output`], and fails where the process does not end.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command);
    let (stdout, stderr) = (read(running.stdout.take()), read(running.stderr.take()));
    let status = running.wait().unwrap_or_else(|error| panic!("{}: {error}", running.called));
    // Who inherited its output may hold it open.
    let all = |bytes: Receiver<Vec<u8>>| {
        bytes.recv_timeout(OF_A_CONDITION).unwrap_or_else(|_| panic!("the output has no end: {}", running.called))
    };
    Output { status, stdout: all(stdout), stderr: all(stderr) }
}

/// Reads to the end, so that the process never waits for room.
fn read(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (done, bytes) = channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        // What was read so far says more than why there is no more.
        let _ = stream.map(|mut stream| stream.read_to_end(&mut all));
        let _ = done.send(all);
    });
    bytes
}

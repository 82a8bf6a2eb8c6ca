//! Processes with a time limit: a hanging test reports its command, and leaves no process behind.

use std::{
    io::{self, Read},
    ops::{Deref, DerefMut},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// Limit for a whole process, on a busy machine.
const OF_A_PROCESS: Duration = Duration::from_secs(900);
/// Limit for the end of the output of an ended process.
const OF_THE_OUTPUT: Duration = Duration::from_secs(120);

/// A process that ends when the test ends, even on a failure.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    called: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let called = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{called}: {error}"));
        Self { child, called }
    }

    /// Like [`Child`]'s `wait`, but fails if the process does not end.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
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
        // Both fail if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Like [`Command::output`], but fails if the process does not end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command);
    let (stdout, stderr) = (read(running.stdout.take()), read(running.stderr.take()));
    let status = running.wait().unwrap_or_else(|error| panic!("{}: {error}", running.called));
    // A child that inherited its output may keep it open.
    let all = |bytes: Receiver<Vec<u8>>| {
        bytes.recv_timeout(OF_THE_OUTPUT).unwrap_or_else(|_| panic!("the output has no end: {}", running.called))
    };
    Output { status, stdout: all(stdout), stderr: all(stderr) }
}

/// Reads to the end, so that the process never blocks on a full pipe.
fn read(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (done, bytes) = channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        // The text so far is more useful than the read error.
        let _ = stream.map(|mut stream| stream.read_to_end(&mut all));
        let _ = done.send(all);
    });
    bytes
}

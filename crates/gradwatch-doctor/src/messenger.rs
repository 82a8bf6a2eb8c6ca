//! Sends findings to commands and webhooks on a separate thread, so that nothing waits for them.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::config::Action;

/// Maximum number of queued messages. Further ones are logged and dropped.
const WAITING: usize = 64;
/// Number of attempts per webhook. The pause before the second attempt doubles for each further one.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);
/// Timeout of a webhook.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum time to wait for queued messages at the end of a run.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// A finding for one action.
struct Message {
    command: String,
    webhook: String,
    /// The finding as JSON.
    finding: String,
}

/// Receives a warning about a message that was not delivered, in one line.
type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// Sends messages in order.
pub struct Messenger {
    queue: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    done: Receiver<()>,
    /// Working directory of commands.
    folder: PathBuf,
    warn: Warn,
}

impl Messenger {
    /// Creates a messenger whose commands run in `folder`. The first message starts its thread. `warn` gets a line for
    /// each message that is not delivered.
    pub fn new(folder: &Path, warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let (_, done) = sync_channel(0);
        Self { queue: None, thread: None, done, folder: folder.to_owned(), warn: Arc::new(warn) }
    }

    /// Queues the action's command and webhook, and returns at once.
    pub fn send(&mut self, action: &Action, finding: &str) {
        if action.command.is_empty() && action.webhook.is_empty() {
            return;
        }
        let Action { command, webhook, .. } = action.clone();
        let queue = match &self.queue {
            Some(queue) => queue,
            None => {
                let (queue, messages) = sync_channel::<Message>(WAITING);
                let (is_done, done) = sync_channel(1);
                let (folder, warn) = (self.folder.clone(), Arc::clone(&self.warn));
                self.thread = Some(thread::spawn(move || {
                    messages.iter().for_each(|message| deliver(&message, &folder, &*warn));
                    let _ = is_done.send(());
                }));
                self.done = done;
                self.queue.insert(queue)
            }
        };
        let sent = queue.try_send(Message { command, webhook, finding: finding.to_owned() });
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) = sent {
            (self.warn)(&format!("{WAITING} messages about findings are queued; dropped one: {}", message.finding));
        }
    }

    /// Waits for queued messages, but at most 30 seconds.
    pub fn finish(&mut self) {
        self.queue = None;
        let Some(thread) = self.thread.take() else { return };
        match self.done.recv_timeout(LAST_WAIT) {
            Err(RecvTimeoutError::Timeout) => {
                (self.warn)(&format!(
                    "messages about findings are not delivered after {LAST_WAIT:?}; gradwatch drops them"
                ));
            }
            // A thread that panicked has reported it.
            _ => _ = thread.join(),
        }
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        self.finish();
    }
}

fn deliver(message: &Message, folder: &Path, warn: &dyn Fn(&str)) {
    if !message.command.is_empty()
        && let Err(reason) = run(&message.command, &message.finding, folder)
    {
        warn(&format!("command {:?} for a finding failed: {reason}", message.command));
    }
    if !message.webhook.is_empty()
        && let Err(reason) = post(&message.webhook, &message.finding, PAUSE)
    {
        warn(&format!("webhook {} for a finding failed {TRIES} times: {reason}", message.webhook));
    }
}

fn run(command: &str, finding: &str, folder: &Path) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = shell.spawn().map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read its input.
        let _ = stdin.write_all(finding.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", output.status, said.lines().last().unwrap_or_default()))
}

fn post(address: &str, finding: &str, pause: Duration) -> Result<(), String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build();
    let agent = ureq::Agent::new_with_config(config);
    let mut failure = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            thread::sleep(pause * 2u32.pow(attempt - 1));
        }
        let started = Instant::now();
        match agent.post(address).header("content-type", "application/json").send(finding) {
            Ok(_) => return Ok(()),
            Err(error) => failure = format!("{error} after {:.1} s", started.elapsed().as_secs_f64()),
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::config::Severity;

    fn action(command: &str, webhook: &str) -> Action {
        Action {
            rules: vec!["*".into()],
            severity: Severity::Info,
            stop: false,
            checkpoint: false,
            dump: false,
            command: command.into(),
            webhook: webhook.into(),
        }
    }

    #[test]
    fn a_command_gets_the_finding_on_its_input_in_the_runs_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut messenger = Messenger::new(folder.path(), |warning| panic!("{warning}"));
        messenger.send(&action("cat >> said", ""), "{\"rule\":1}");
        messenger.send(&action("cat >> said", ""), "{\"rule\":2}");
        messenger.finish();
        assert_eq!(fs::read_to_string(folder.path().join("said")).unwrap(), "{\"rule\":1}{\"rule\":2}");
    }

    #[test]
    fn sending_does_not_wait_for_a_command_that_takes_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut messenger = Messenger::new(folder.path(), |warning| panic!("{warning}"));
        // Waits for the file `go`, at most two minutes. If `send` waited for the command, `done` would exist.
        let waits =
            "tries=0; until [ -e go ] || [ $tries -gt 1200 ]; do sleep 0.1; tries=$((tries + 1)); done; touch done";
        messenger.send(&action(waits, ""), "{}");
        assert!(!folder.path().join("done").exists());
        fs::write(folder.path().join("go"), "").unwrap();
        messenger.finish();
        assert!(folder.path().join("done").exists());
    }

    #[test]
    fn a_command_that_fails_says_why() {
        let failure = run("echo no such thing >&2; exit 3", "{}", Path::new(".")).unwrap_err();
        assert!(failure.contains('3') && failure.contains("no such thing"), "{failure}");
    }

    /// Accepts the next connection within two minutes.
    fn accept(listener: &TcpListener) -> TcpStream {
        listener.set_nonblocking(true).unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
                    return stream;
                }
                Err(error) => assert!(Instant::now() < deadline, "nobody connects: {error}"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_webhook_that_fails_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut bodies = Vec::new();
            for answer in ["503 Service Unavailable", "200 OK"] {
                let mut stream = accept(&listener);
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.ends_with(b"{\"rule\":1}") {
                    let count = stream.read(&mut buffer).unwrap();
                    assert!(count > 0, "the connection ended after {:?}", String::from_utf8_lossy(&request));
                    request.extend_from_slice(&buffer[..count]);
                }
                bodies.push(String::from_utf8(request).unwrap());
                write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            }
            bodies
        });
        post(&address, "{\"rule\":1}", Duration::from_millis(1)).unwrap();
        let bodies = server.join().unwrap();
        assert_eq!(bodies.len(), 2);
        assert!(bodies[1].starts_with("POST /hook ") && bodies[1].contains("application/json"), "{}", bodies[1]);
    }

    #[test]
    fn an_address_that_never_answers_is_given_up() {
        // A port that was bound and released.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(post(&format!("http://127.0.0.1:{port}/"), "{}", Duration::from_millis(1)).is_err());
    }
}

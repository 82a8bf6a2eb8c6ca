//! `diagnose --follow` on files that change.

mod demo;

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use demo::{EventWriter, Kind, START, record};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest time to wait for anything. The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
const NAME: &str = "1767366245.host.1.0";

/// A program that follows runs.
struct Following {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

fn collect(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            shared.lock().unwrap().push_str(&(line + "\n"));
        }
    });
    text
}

impl Following {
    fn start(path: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradwatch-doctor"));
        command.arg("diagnose").arg(path).args(["--follow", "--every", "0.1"]).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        Self { child, stdout, stderr }
    }

    fn out(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    fn err(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            let ended = self.child.try_wait().unwrap();
            let said = format!("stdout:\n{}\nstderr:\n{}", self.out(), self.err());
            // What it said before its end may still be in the pipe.
            let is_late = Instant::now() >= until || ended.is_some() && is_closed(&self.stdout, &self.stderr);
            assert!(!is_late || is_so(self), "no {what:?} within {PATIENCE:?}, end: {ended:?}\n{said}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |following| following.out().contains(text));
    }

    fn wait_for_note(&mut self, text: &str) {
        self.wait_until(text, |following| following.err().contains(text));
    }

    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                while !is_closed(&self.stdout, &self.stderr) {
                    assert!(Instant::now() < until, "the output does not end");
                    thread::sleep(Duration::from_millis(10));
                }
                return status.code();
            }
            assert!(Instant::now() < until, "no end within {PATIENCE:?}\n{}\n{}", self.out(), self.err());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.end()
    }
}

/// Whether the threads that read the output have ended.
fn is_closed(stdout: &Arc<Mutex<String>>, stderr: &Arc<Mutex<String>>) -> bool {
    Arc::strong_count(stdout) == 1 && Arc::strong_count(stderr) == 1
}

impl Drop for Following {
    fn drop(&mut self) {
        // A test that failed leaves no process behind.
        let _ = self.child.kill();
    }
}

/// Appends steps of a run whose gradient explodes at step 30 and which learns from step 40 on.
fn add(writer: &mut EventWriter, steps: std::ops::Range<u64>) {
    for step in steps {
        let (loss, norm) = match step {
            0..30 => (2.3, 1.0),
            30..40 => (3.0, 1e6),
            _ => (0.5, 1.0),
        };
        let values = [("loss".to_owned(), loss), ("grad_norm/total".to_owned(), norm)];
        writer.add(START + step as f64, step, &values).unwrap();
    }
}

#[test]
fn a_finding_is_told_when_it_is_new_worse_and_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let mut following = Following::start(folder.path(), &[]);
    following.wait_for_note("no event files yet (events.out.tfevents.*); waits for them");
    let mut writer = EventWriter::create(folder.path(), NAME).unwrap();
    add(&mut writer, 0..30);
    following.wait_for(": 30 steps so far, no open findings\n");
    // The last step may lack values, so it does not count yet.
    add(&mut writer, 30..32);
    following.wait_for("step 30  new info exploding: the gradient explodes, since step 30\ncause       ");
    assert!(!following.out().contains("worse"), "{}", following.out());
    add(&mut writer, 32..40);
    following.wait_for("worse critical exploding: the gradient explodes, since step 30\n");
    add(&mut writer, 40..140);
    following.wait_for("resolved: exploding, found at step 30, is withdrawn at step ");
    assert_eq!(following.err().lines().count(), 1, "{}", following.err());
    assert_eq!(following.signal(Signal::TERM), Some(143));
}

#[test]
fn files_that_are_cut_damaged_removed_and_written_again_are_named_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut writer = EventWriter::create(&run, NAME).unwrap();
    let path = writer.path.clone();
    add(&mut writer, 0..30);
    let healthy = fs::metadata(&path).unwrap().len();
    add(&mut writer, 30..40);
    let mut following = Following::start(&run, &["--format", "json"]);
    following.wait_for("\"event\":\"new\"");
    // A resumption cuts the explosion off.
    OpenOptions::new().write(true).open(&path).unwrap().set_len(healthy).unwrap();
    following.wait_for_note("files were cut back or replaced: they are read again");
    following.wait_for("the files no longer show it");
    // A record with a wrong byte.
    let mut bytes = record(START + 30.0, 30, &[("loss".to_owned(), 2.0)]);
    bytes[14] ^= 0x55;
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&bytes).unwrap();
    following.wait_for_note("tfevents.1767366245.host.1.0");
    fs::remove_dir_all(&run).unwrap();
    following.wait_for_note("so gradwatch waits");
    // The same name, another run.
    let mut writer = EventWriter::create(&run, NAME).unwrap();
    add(&mut writer, 0..40);
    following
        .wait_until("finding of the new files", |following| following.out().matches("\"event\":\"new\"").count() == 2);
    assert_eq!(following.signal(Signal::INT), Some(130));
    let lines: Vec<Value> = following.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["start", "new", "resolved", "new"]);
    assert_eq!(
        (&lines[1]["finding"]["rule"], &lines[1]["finding"]["severity"]),
        (&"exploding".into(), &"critical".into())
    );
}

#[test]
fn runs_of_a_folder_have_names_and_old_ones_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let writer = |name: &str| EventWriter::create(&folder.path().join(name), NAME).unwrap();
    let (mut first, mut second, mut old) = (writer("first"), writer("second"), writer("old"));
    add(&mut first, 0..30);
    add(&mut second, 0..30);
    add(&mut old, 0..40);
    let hour = std::time::SystemTime::now() - Duration::from_secs(3600);
    OpenOptions::new().append(true).open(&old.path).unwrap().set_modified(hour).unwrap();
    let mut following = Following::start(folder.path(), &[]);
    following.wait_for("Z  first  following ");
    following.wait_for("Z  second  following ");
    following.wait_for_note("1 run does not grow and is followed only when new steps come");
    add(&mut second, 30..40);
    following.wait_for("Z  second  step 38  new critical exploding");
    assert!(!following.out().contains("first  step") && !following.out().contains("old"), "{}", following.out());
    // A new run, and an old one that goes on.
    let mut third = writer("third");
    add(&mut third, 0..30);
    add(&mut old, 40..60);
    following.wait_for("Z  third  following ");
    following.wait_for("Z  old  following ");
    fs::remove_dir_all(folder.path().join("first")).unwrap();
    following.wait_for_note("first: was removed");
    assert_eq!(following.signal(Signal::TERM), Some(143));
}

#[test]
fn the_end_of_a_run_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    // 12 epochs of 50 steps.
    let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
    demo::write(Kind::Healthy, &good, 600);
    demo::write(Kind::Vanishing, &bad, 600);
    let mut following = Following::start(&good, &["--fail-at", "critical"]);
    assert_eq!(following.end(), Some(0), "{}", following.err());
    assert!(following.out().contains("the run finished after 600 steps, no open findings\n"), "{}", following.out());
    for (more, code) in [(&[][..], 0), (&["--fail-at", "critical"], 11)] {
        let mut following = Following::start(&bad, more);
        assert_eq!(following.end(), Some(code), "{}", following.err());
        let out = following.out();
        assert!(out.contains("new critical vanishing") && out.contains("finished after 600 steps, 1 open"), "{out}");
    }
}

#[test]
fn files_that_no_longer_change_end_the_program_if_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    add(&mut EventWriter::create(folder.path(), NAME).unwrap(), 0..40);
    for (more, code) in [(&[][..], 0), (&["--fail-at", "critical"], 11)] {
        let mut following = Following::start(folder.path(), &[&["--until-idle", "0.02"], more].concat());
        assert_eq!(following.end(), Some(code), "{}", following.err());
        assert!(following.out().contains("new critical exploding"), "{}", following.out());
        assert!(following.err().contains("no file has changed for 0.02 minutes"), "{}", following.err());
    }
}

#[test]
fn a_command_runs_once_at_the_finding_that_stops_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path(), NAME).unwrap();
    add(&mut writer, 0..30);
    let command =
        "echo $GRADWATCH_RULE $GRADWATCH_SEVERITY $GRADWATCH_STEP:$GRADWATCH_LAYER:\"$GRADWATCH_RUN\"; exit 3";
    let more = ["--stop-at", "critical", "--command", command, "--format", "json"];
    let mut following = Following::start(folder.path(), &more);
    following.wait_for("\"event\":\"start\"");
    add(&mut writer, 30..32);
    // A finding that is less severe does not stop it.
    following.wait_for("\"severity\":\"info\"");
    assert_eq!(following.child.try_wait().unwrap(), None);
    add(&mut writer, 32..40);
    assert_eq!(following.end(), Some(11));
    // stdout has only JSON.
    following.out().lines().for_each(|line| _ = serde_json::from_str::<Value>(line).unwrap());
    let want = format!("exploding critical 38::{}\n", folder.path().display());
    assert_eq!(following.err().matches(&want).count(), 1, "{}", following.err());
    assert!(following.err().contains("for a finding failed: exit status: 3"), "{}", following.err());
}

#[test]
fn a_finding_from_before_the_first_step_stops_the_program_once_training_has_not_refuted_it() {
    let (folder, longer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    demo::write(Kind::Vanishing, folder.path(), 40);
    demo::write(Kind::Vanishing, longer.path(), 60);
    let mut following = Following::start(folder.path(), &["--stop-at", "critical"]);
    following.wait_for("new critical vanishing");
    // diagnosis.confirm_steps is 50.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(following.child.try_wait().unwrap(), None);
    let name = format!("events.out.tfevents.{NAME}.session-001");
    let (path, whole) = (folder.path().join(&name), fs::read(longer.path().join(&name)).unwrap());
    let bytes = fs::metadata(&path).unwrap().len() as usize;
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&whole[bytes..]).unwrap();
    assert_eq!(following.end(), Some(11));
    assert!(following.err().contains("stops at vanishing (critical), as --stop-at says"), "{}", following.err());
}

/// The body of the next request, which gets this answer.
fn body(listener: &TcpListener, answer: &str) -> Value {
    listener.set_nonblocking(true).unwrap();
    let until = Instant::now() + PATIENCE;
    let mut stream: TcpStream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) => assert!(Instant::now() < until, "nobody connects within {PATIENCE:?}: {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection ended after {:?}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if let Some(body) = body {
            write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            return body;
        }
    }
}

#[test]
fn a_webhook_gets_findings_and_one_that_fails_delays_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path(), NAME).unwrap();
    add(&mut writer, 0..32);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let mut following = Following::start(folder.path(), &["--webhook", &address]);
    // Nobody answers yet, and the program goes on.
    following.wait_for("new info exploding");
    add(&mut writer, 32..40);
    following.wait_for("worse critical exploding");
    // The first try fails.
    let told = [body(&listener, "503 Busy"), body(&listener, "200 OK"), body(&listener, "200 OK")];
    let facts = told.each_ref().map(|told| (&told["event"], &told["finding"]["severity"], &told["finding"]["rule"]));
    assert_eq!(facts[0], (&"new".into(), &"info".into(), &"exploding".into()));
    assert_eq!((facts[0], facts[2].0), (facts[1], &"worse".into()));
    assert_eq!(told[2]["run"], folder.path().display().to_string());
    assert_eq!(following.signal(Signal::TERM), Some(143));
    assert_eq!(following.err(), "");
}

#[test]
fn a_webhook_that_fails_is_told_once() {
    // A port that was bound and released.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("http://127.0.0.1:{port}/");
    // Two runs with a finding each.
    let runs = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        add(&mut EventWriter::create(&runs.path().join(name), NAME).unwrap(), 0..40);
    }
    let mut following = Following::start(runs.path(), &["--webhook", &address]);
    following.wait_for("two  step 38  new critical");
    following.wait_for_note("for a finding failed 4 times");
    // The end waits for the second one.
    assert_eq!(following.signal(Signal::TERM), Some(143));
    assert_eq!(following.err().matches("failed 4 times").count(), 1, "{}", following.err());
}

#[test]
fn a_command_line_that_makes_no_sense_gets_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let run = |path: &Path, more: &[&str]| {
        let mut following = Following::start(path, more);
        (following.end(), following.err())
    };
    let (code, said) = run(&folder.path().join("no"), &[]);
    assert_eq!((code, said.lines().count()), (Some(12), 1), "{said}");
    assert!(said.contains("want a run folder, a folder of runs"), "{said}");
    let (code, said) = run(folder.path(), &["--format", "html"]);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    for more in [&["--every", "0"][..], &["--command", "true"], &["--webhook", "localhost"], &["--stop-at", "bad"]] {
        let (code, said) = run(folder.path(), more);
        assert_eq!(code, Some(2), "{more:?}: {said}");
    }
}

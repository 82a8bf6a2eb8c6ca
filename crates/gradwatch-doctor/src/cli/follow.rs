//! `diagnose --follow`: tells about findings while a run trains.

use std::{
    io,
    path::Path,
    process::Child,
    sync::{
        Mutex,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use signal_hook::{
    consts::{SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};
use time::OffsetDateTime;

use super::{
    diagnose::{DiagnoseError, DiagnoseOutcome, FailAt},
    output::{StdoutError, print_open, tell_error},
};
use crate::{
    config::{Action, Severity, WEBHOOK, is_webhook},
    diagnosis::Finding,
    follow::{Change, Event, Follower, Once, What, run_command},
    messenger::Messenger,
};

/// Time to read before looking for signals.
const SLICE: Duration = Duration::from_millis(200);
/// Time between two looks at a command that runs.
const TICK: Duration = Duration::from_millis(50);

/// Arguments of `diagnose --follow`.
#[derive(Debug, Args)]
pub(super) struct FollowArguments {
    /// Keep reading while the run trains, and print each finding when it is new, gets worse, or is resolved. Ends with
    /// the run; a folder of several runs, and the files of other programs, are followed until a signal.
    #[arg(long, conflicts_with = "output")]
    pub(super) follow: bool,
    /// Seconds between two looks at the files.
    #[arg(long, value_name = "SECONDS", default_value = "1", requires = "follow", value_parser = every)]
    every: f64,
    /// End if no file has changed for so many minutes.
    #[arg(long, value_name = "MINUTES", requires = "follow", value_parser = minutes)]
    until_idle: Option<f64>,
    /// End with code 11 at the first finding with this severity or a worse one.
    #[arg(long, value_name = "SEVERITY", requires = "follow")]
    stop_at: Option<FailAt>,
    /// Shell command to run at that finding, which is in the variables GRADWATCH_RUN, GRADWATCH_RULE,
    /// GRADWATCH_SEVERITY, GRADWATCH_STEP, and GRADWATCH_LAYER.
    #[arg(long, value_name = "CMD", requires = "stop_at")]
    command: Option<String>,
    /// POST each finding that is new or gets worse to this address, as JSON.
    #[arg(long, value_name = "URL", requires = "follow", value_parser = webhook)]
    webhook: Option<String>,
}

fn every(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.1..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "want seconds from 0.1 to 86400".into())
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes: &f64| (0.01..=1e6).contains(minutes));
    minutes.ok_or_else(|| "want minutes from 0.01 to 1000000".into())
}

fn webhook(text: &str) -> Result<String, String> {
    if is_webhook(text) { Ok(text.to_owned()) } else { Err(format!("want {WEBHOOK}")) }
}

/// Reason why nothing can be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The path cannot be read.
    #[error("{path}: {cause}; want a run folder, a folder of runs, such as logs, or an event file")]
    Path {
        /// The path, without control characters.
        path: String,
        /// The system's error.
        cause: io::Error,
    },
    /// Findings have no such format.
    #[error("got --format {0}, want text or json with --follow: findings are printed one by one")]
    Format(&'static str),
    /// Signals cannot be received.
    #[error("internal error, please report it: no thread for signals: {0}")]
    Signals(io::Error),
}

impl FollowArguments {
    /// Follows the files at a path until a signal, the end of the run, or a finding that reaches `--stop-at`.
    ///
    /// # Errors
    /// If the path cannot be read at the start, or stdout cannot be written.
    pub(super) fn run(
        &self,
        path: &Path,
        (tags, is_json, fail_at): (&[String], bool, Option<FailAt>),
        program: &str,
    ) -> Result<DiagnoseOutcome, DiagnoseError> {
        std::fs::metadata(path).map_err(|cause| FollowError::Path { path: crate::printable::path(path), cause })?;
        let signals = signals().map_err(FollowError::Signals)?;
        let mut follower = Follower::new(path, tags);
        let mut outlets = Outlets::new(self, is_json, program);
        let stop_at = self.stop_at.map(Severity::from);
        loop {
            let (mut events, started) = (Vec::new(), Instant::now());
            let is_read = follower.poll(started + SLICE, |event| events.push(event));
            for event in &events {
                if !outlets.tell(event)? {
                    return Ok(DiagnoseOutcome::Done);
                }
            }
            if let Some((run, finding)) = stop_at.and_then(|least| follower.confirmed(least)) {
                return Ok(self.stop(run, finding, &signals, program));
            }
            if let Some(worst) = follower.end().or_else(|| if is_read { self.idle(&follower, program) } else { None }) {
                let is_bad = fail_at.is_some_and(|least| worst >= Some(Severity::from(least)));
                return Ok(if is_bad { DiagnoseOutcome::Finding } else { DiagnoseOutcome::Done });
            }
            let pause = if is_read { Duration::from_secs_f64(self.every) } else { Duration::ZERO };
            match signals.recv_timeout(pause) {
                Ok(signal) => return Ok(DiagnoseOutcome::Signal(signal)),
                Err(RecvTimeoutError::Timeout) => {}
                // The thread of the signals never ends.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(pause),
            }
        }
    }

    /// Worst severity of the findings, if the files have not changed for as long as `--until-idle` says.
    fn idle(&self, follower: &Follower, program: &str) -> Option<Option<Severity>> {
        let minutes = self.until_idle?;
        let worst = follower.idle(Duration::from_secs_f64(60.0 * minutes))?;
        let unit = if minutes == 1.0 { "minute" } else { "minutes" };
        tell_error(program, &format!("ends because no file has changed for {minutes} {unit} (--until-idle)"));
        Some(worst)
    }

    /// Runs the command for a finding, and waits for its end.
    fn stop(&self, run: &Path, finding: &Finding, signals: &Receiver<i32>, program: &str) -> DiagnoseOutcome {
        // The finding may have been told long before training confirmed it.
        tell_error(
            program,
            &format!("{}: stops at {} ({}), as --stop-at says", run.display(), finding.rule, finding.severity),
        );
        let Some(command) = &self.command else { return DiagnoseOutcome::Finding };
        let failure = match run_command(command, run, finding).and_then(|child| wait(child, signals)) {
            Ok(Ended::Signal(signal)) => return DiagnoseOutcome::Signal(signal),
            Ok(Ended::Failed(status)) => status,
            Ok(Ended::Success) => return DiagnoseOutcome::Finding,
            Err(error) => error.to_string(),
        };
        tell_error(program, &format!("command {command:?} for a finding failed: {failure}"));
        DiagnoseOutcome::Finding
    }
}

/// How the wait for a command has ended.
enum Ended {
    Success,
    Failed(String),
    /// A signal to this process came first. The command goes on.
    Signal(i32),
}

fn wait(mut child: Child, signals: &Receiver<i32>) -> io::Result<Ended> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Ended::Success } else { Ended::Failed(status.to_string()) });
        }
        match signals.recv_timeout(TICK) {
            Ok(signal) => return Ok(Ended::Signal(signal)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
        }
    }
}

/// Receives the first signal that ends the process. The second one ends it at once. SIGHUP keeps its effect, which
/// nohup turns off.
fn signals() -> io::Result<Receiver<i32>> {
    let (sender, received): (Sender<i32>, _) = channel();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT])?;
    let forward = move || {
        for (index, signal) in signals.forever().enumerate() {
            if index > 0 || sender.send(signal).is_err() {
                // Ends the process, so there is nobody to tell about an error.
                let _ = emulate_default_handler(signal);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(forward)?;
    Ok(received)
}

/// stdout, stderr, and the webhook.
struct Outlets<'a> {
    is_json: bool,
    program: &'a str,
    /// The webhook as an action, if there is one.
    webhook: Option<(Action, Messenger)>,
    /// Whether findings matter without stdout.
    has_others: bool,
    is_open: bool,
}

impl<'a> Outlets<'a> {
    fn new(arguments: &FollowArguments, is_json: bool, program: &'a str) -> Self {
        let webhook = arguments.webhook.as_ref().map(|address| {
            let (name, once) = (program.to_owned(), Mutex::new(Once::default()));
            let warn = move |warning: &str| {
                if once.lock().is_ok_and(|mut once| once.is_new(warning)) {
                    tell_error(&name, warning);
                }
            };
            let action = Action { webhook: address.clone(), ..Action::default() };
            (action, Messenger::new(Path::new("."), warn))
        });
        let has_others = webhook.is_some() || arguments.stop_at.is_some();
        Self { is_json, program, webhook, has_others, is_open: true }
    }

    /// Tells about an event. Returns whether anybody listens.
    fn tell(&mut self, event: &Event) -> Result<bool, StdoutError> {
        let now = OffsetDateTime::now_utc();
        if let What::Note(_) = event.what {
            tell_error(self.program, &event.text(now));
            return Ok(true);
        }
        let json = event.json(now).map(|json| json.to_string()).unwrap_or_default();
        let is_news = matches!(event.what, What::Finding { change: Change::New | Change::Worse, .. });
        if let Some((action, messenger)) = self.webhook.as_mut().filter(|_| is_news) {
            messenger.send(action, &json);
        }
        if self.is_open {
            let line = if self.is_json { json } else { event.text(now) };
            self.is_open = match print_open(&format!("{line}\n")) {
                Err(error) if self.has_others => {
                    tell_error(self.program, &error.to_string());
                    false
                }
                is_open => is_open?,
            };
        }
        Ok(self.is_open || self.has_others)
    }
}

//! `watch` in a real pseudo-terminal.

mod demo;

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    num::NonZero,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use demo::Kind;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};

/// Longest time to wait for anything. The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
const PROGRAM: &str = env!("CARGO_BIN_EXE_gradwatch-doctor");

/// A program in a terminal of its own.
struct Session {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    before: String,
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

fn length(characters: u16) -> NonZero<u16> {
    NonZero::new(characters).unwrap()
}

impl Session {
    fn start(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let pair = native_pty_system().openpty(size(100, 30)).unwrap();
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        for name in ["NO_COLOR", "COLORTERM", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(name);
        }
        variables.iter().for_each(|(name, value)| command.env(name, value));
        let before = modes(&*pair.master);
        let child = pair.slave.spawn_command(command).unwrap();
        let (mut output, keys) = (pair.master.try_clone_reader().unwrap(), pair.master.take_writer().unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(length(30), length(100), 0)));
        let shared = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shared.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self { master: pair.master, child, keys, screen, before }
    }

    fn watch(path: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start(PROGRAM, &["watch", path.to_str().unwrap()], variables)
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn is_alternate(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < until, "no {what} within {PATIENCE:?}\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for(&self, text: &str) {
        self.wait_until(text, |session| session.text().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(length(rows), length(columns));
        self.master.resize(size(columns, rows)).unwrap();
    }

    /// Waits for the end, and checks that the terminal is as it was before. Returns the exit code and the signal.
    fn end(&mut self) -> (u32, Option<String>) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "the program does not end within {PATIENCE:?}\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        };
        self.wait_until("normal screen", |session| !session.is_alternate());
        assert!(!self.screen.lock().unwrap().screen().hide_cursor());
        assert_eq!(modes(&*self.master), self.before);
        (status.exit_code(), status.signal().map(str::to_owned))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A test that failed leaves no process behind.
        let _ = self.child.kill();
    }
}

/// Modes of the terminal line, such as echo.
fn modes(master: &dyn MasterPty) -> String {
    let modes = master.get_termios().unwrap();
    format!("{:?} {:?} {:?}", modes.input_flags, modes.output_flags, modes.local_flags)
}

#[test]
fn keys_and_sizes_change_the_screen_and_quitting_restores_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    demo::write(Kind::Vanishing, folder.path(), 100);
    let mut session = Session::watch(folder.path(), &[]);
    session.wait_for("CRITICAL");
    assert!(session.is_alternate() && modes(&*session.master) != session.before);
    session.resize(80, 24);
    session.wait_until("frame of 80 columns", |session| {
        session.text().lines().count() == 24 && session.text().contains("q quit")
    });
    session.resize(60, 10);
    session.wait_for("want 80 x 24");
    session.resize(120, 40);
    session.wait_for("Accuracy");
    session.press("4");
    session.wait_for("> model.initialization");
    session.press("y");
    session.wait_for("copied (if the terminal supports OSC 52): model.initialization = \"centered_logistic\"");
    session.press("?");
    session.wait_for("suspend; fg returns");
    session.press("xq");
    assert_eq!(session.end(), (0, None));
}

#[test]
fn a_signal_ends_the_program_as_a_signal_and_restores_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    demo::write(Kind::Healthy, folder.path(), 100);
    for (signal, name) in [(Signal::TERM, "Terminated"), (Signal::HUP, "Hangup")] {
        let mut session = Session::watch(folder.path(), &[]);
        session.wait_for("Healthy");
        let process = Pid::from_raw(session.child.process_id().unwrap() as i32).unwrap();
        kill_process(process, signal).unwrap();
        assert_eq!(session.end().1.as_deref(), Some(name));
    }
}

#[test]
fn without_colors_the_screen_has_none() {
    let folder = tempfile::tempdir().unwrap();
    demo::write(Kind::Vanishing, folder.path(), 100);
    let has_color = |session: &Session| {
        let parser = session.screen.lock().unwrap();
        let cells = (0..30).flat_map(|row| (0..100).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| parser.screen().cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    };
    for (variables, want) in [(&[("NO_COLOR", "1")][..], false), (&[], true)] {
        let mut session = Session::watch(folder.path(), variables);
        session.wait_for("layers.0.linear");
        assert_eq!(has_color(&session), want);
        session.press("q");
        assert_eq!(session.end(), (0, None));
    }
    // A terminal without cursor control gets one frame.
    let mut session = Session::watch(folder.path(), &[("TERM", "dumb")]);
    session.wait_for("layers.0.linear");
    assert!(!session.is_alternate());
    assert_eq!(session.end(), (0, None));
}

#[test]
fn a_shell_suspends_and_continues_it() {
    let folder = tempfile::tempdir().unwrap();
    demo::write(Kind::Healthy, folder.path(), 100);
    let mut session = Session::start("bash", &["--norc", "--noprofile", "-i"], &[("PS1", "prompt> ")]);
    session.wait_for("prompt>");
    session.press(&format!("{PROGRAM} watch {}\n", folder.path().display()));
    session.wait_for("Healthy");
    session.press("\u{1a}");
    session.wait_until("stopped job", |session| !session.is_alternate() && session.text().contains("Stopped"));
    session.press("fg\n");
    session.wait_until("screen after fg", |session| session.is_alternate() && session.text().contains("Healthy"));
    session.press("q");
    session.wait_until("prompt after the end", |session| !session.is_alternate());
    session.press("exit\n");
    session.wait_until("end of the shell", |session| session.text().contains("exit"));
}

#[test]
fn a_run_that_grows_and_is_cut_back_by_a_resumption_is_followed() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    demo::write(Kind::Healthy, folder.path(), 100);
    demo::write(Kind::Healthy, other.path(), 160);
    let name = "events.out.tfevents.1767366245.host.1.0.session-001";
    let (path, whole) = (folder.path().join(name), fs::read(other.path().join(name)).unwrap());
    let bytes = fs::metadata(&path).unwrap().len() as usize;
    let mut session = Session::watch(folder.path(), &[]);
    session.wait_for("step 100 of 600");
    // The rest comes in two parts, the first of which ends inside a record.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole[bytes..bytes + 1000]).unwrap();
    thread::sleep(Duration::from_millis(1500));
    file.write_all(&whole[bytes + 1000..]).unwrap();
    session.wait_for("step 160 of 600");
    // Steps 100 to 160 are lost, and a second session starts at step 100.
    file.set_len(bytes as u64).unwrap();
    session.wait_for("step 100 of 600");
    let second = folder.path().join(name.replace("245.", "300.").replace("001", "002"));
    fs::write(second, &whole[bytes..bytes + (whole.len() - bytes) / 2]).unwrap();
    session.wait_until("steps of the second session", |session| session.text().contains("step 13"));
    assert!(!session.text().contains("damaged"), "{}", session.text());
    // Another run takes the place of the files.
    fs::remove_dir_all(folder.path()).unwrap();
    demo::write(Kind::Vanishing, folder.path(), 50);
    session.wait_for("CRITICAL");
    session.press("q");
    assert_eq!(session.end(), (0, None));
}

#[test]
fn a_run_whose_process_is_killed_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    demo::write(Kind::Healthy, folder.path(), 100);
    let lock = folder.path().join("run.lock");
    fs::write(&lock, "").unwrap();
    let holder =
        Command::new("flock").args(["--no-fork", lock.to_str().unwrap(), "sleep", "600"]).stdin(Stdio::null()).spawn();
    let mut holder = holder.expect("flock of util-linux is needed");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    fs::write(&lock, format!("process {} on {host}", holder.id())).unwrap();
    let mut session = Session::watch(folder.path(), &[]);
    session.wait_for("training");
    holder.kill().unwrap();
    holder.wait().unwrap();
    session.wait_for("stopped");
    session.press("q");
    assert_eq!(session.end(), (0, None));
}

#[test]
fn a_run_is_opened_from_the_table_and_left_again() {
    let folder = tempfile::tempdir().unwrap();
    demo::write(Kind::Healthy, &folder.path().join("good"), 100);
    demo::write(Kind::Vanishing, &folder.path().join("sick"), 100);
    let mut session = Session::watch(folder.path(), &[]);
    session.wait_for("2 of 2 runs");
    session.wait_for("CRITICAL the gradient vanishes");
    session.press("/sick\r");
    session.wait_for("1 of 2 runs");
    session.press("\r");
    session.wait_for("Esc back");
    session.wait_for("cause");
    session.press("\u{7f}");
    session.wait_for("2 of 2 runs");
    session.press("  ");
    session.wait_for("Loss of the marked runs");
    session.press("q");
    assert_eq!(session.end(), (0, None));
}

//! The terminal: entered, left, and restored however the program ends.

use std::{
    io::{self, BufWriter, Stdout, Write, stdout},
    panic,
    sync::Once,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    buffer::Buffer,
    crossterm::{
        cursor::Show,
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
    layout::Rect,
};
use rustix::process::{Signal, kill_current_process_group};

use crate::panics;

/// A terminal that shows frames. Dropping it restores the terminal.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Enters the alternate screen and the raw mode. A panic from here on restores the terminal before its message.
    ///
    /// # Errors
    /// If stdin and stdout are no terminal.
    pub(super) fn enter() -> io::Result<Self> {
        restore_at_panic();
        begin()?;
        let entered = Terminal::new(CrosstermBackend::new(BufWriter::new(stdout())));
        entered.map(|terminal| Self { terminal }).inspect_err(|_| end())
    }

    /// Shows a frame.
    ///
    /// # Errors
    /// If the terminal cannot be written, for example because it was closed.
    pub(super) fn show(&mut self, draw: impl FnOnce(&mut Buffer, Rect)) -> io::Result<()> {
        self.terminal.draw(|frame| {
            let area = frame.area();
            draw(frame.buffer_mut(), area);
        })?;
        Ok(())
    }

    /// Draws everything anew with the next frame.
    ///
    /// # Errors
    /// If the terminal cannot be written.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // `clear` would ask the terminal for its cursor, and compete for the answer with the thread that reads keys.
        let area = self.terminal.size()?.into();
        self.terminal.resize(area)
    }

    /// Restores the terminal and stops the process group, as a shell expects from Ctrl-Z. The kernel ignores it if no
    /// shell could continue the group. Call [`return_to`](Self::return_to) when the process goes on.
    pub(super) fn suspend() {
        end();
        // If it fails, the screen comes back at once.
        let _ = kill_current_process_group(Signal::TSTP);
    }

    /// Enters the screen again after it was left.
    ///
    /// # Errors
    /// If the terminal cannot be changed or written.
    pub(super) fn return_to(&mut self) -> io::Result<()> {
        begin()?;
        self.clear()
    }

    /// Puts a text on the clipboard of the terminal (OSC 52, xterm's control sequences).
    ///
    /// # Errors
    /// If the terminal cannot be written.
    pub(super) fn copy(text: &str) -> io::Result<()> {
        let mut out = stdout();
        write!(out, "\x1b]52;c;{}\x07", STANDARD.encode(text))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        end();
    }
}

fn begin() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen).inspect_err(|_| end())
}

/// Restores the terminal. If it is gone, there is nothing to restore.
fn end() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Makes a panic restore the terminal before the hook of the program reports it.
fn restore_at_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !panics::is_expected() {
                end();
            }
            report(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::{env, io::Read, sync::mpsc::channel, thread, time::Duration};

    use portable_pty::{CommandBuilder, PtySize, native_pty_system};

    use super::*;

    #[test]
    #[ignore = "a_panic_restores_the_terminal_before_its_message runs it in a terminal of its own"]
    fn a_screen_that_panics() {
        let _screen = Screen::enter().unwrap();
        panic!("on purpose");
    }

    #[test]
    fn a_panic_restores_the_terminal_before_its_message() {
        const PATIENCE: Duration = Duration::from_secs(120);
        let pair = native_pty_system().openpty(PtySize::default()).unwrap();
        let mut command = CommandBuilder::new(env::current_exe().unwrap());
        let test = "watch::terminal::tests::a_screen_that_panics";
        command.args([test, "--exact", "--ignored", "--nocapture"]);
        let mut child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let (mut reader, (sender, received)) = (pair.master.try_clone_reader().unwrap(), channel());
        thread::spawn(move || {
            let mut output = Vec::new();
            // The end of a pseudo-terminal is an error.
            let _ = reader.read_to_end(&mut output);
            sender.send(String::from_utf8_lossy(&output).into_owned())
        });
        let output = received.recv_timeout(PATIENCE);
        let _ = child.kill();
        let output = output.expect("the process does not end within 120 s");
        let at = |text: &str| output.find(text).unwrap_or_else(|| panic!("{text:?} is missing in {output:?}"));
        assert!(at("\x1b[?1049h") < at("\x1b[?1049l") && at("\x1b[?1049l") < at("on purpose"), "{output:?}");
        // The cursor is visible again.
        assert!(at("\x1b[?25h") < at("on purpose"), "{output:?}");
    }
}

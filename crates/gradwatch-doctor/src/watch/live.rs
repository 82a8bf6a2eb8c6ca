//! The live screen: keys, new models, and signals, one after another.

use std::{
    env, io,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ratatui::crossterm::event::{self, Event, KeyEvent};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use super::{
    Model, ViewState, WatchError,
    gpu::{self, Gpus},
    input::{Action, press},
    source::{self, Request},
    terminal::Screen,
    view::{self, Scene, Theme},
};

/// Something to react to.
enum News {
    Key(KeyEvent),
    Resize,
    Model(Result<Model, String>),
    Gpus(Gpus),
    Signal(i32),
    /// The terminal cannot be read any more.
    InputClosed,
}

/// Time between two frames without news, because ages grow.
const TICK: Duration = Duration::from_secs(1);
/// Time to wait for the process to be stopped. If no shell can continue it, the kernel does not stop it.
const SUSPEND: Duration = Duration::from_millis(500);

/// Shows the files at `path` until a key or a signal ends it.
///
/// # Errors
/// If the terminal cannot be used, or the files cannot be followed.
pub(super) fn show(path: &Path, tags: &[String], state: ViewState, theme: Theme) -> Result<(), WatchError> {
    let (sender, news) = channel();
    // Before the screen, so that no signal can leave it behind.
    follow_signals(sender.clone()).map_err(WatchError::Terminal)?;
    let models = sender.clone();
    let requests = source::start(path, tags, move |model| models.send(News::Model(model)).is_ok())
        .map_err(WatchError::Terminal)?;
    let gpus = sender.clone();
    gpu::start(move |answer| gpus.send(News::Gpus(answer)).is_ok()).map_err(WatchError::Terminal)?;
    let screen = Screen::enter().map_err(WatchError::Terminal)?;
    follow_keys(sender).map_err(WatchError::Terminal)?;
    let live = Live { screen, news, requests, state, model: None, gpus: Gpus::default(), theme };
    match live.run()? {
        // The screen is restored by now. The parent sees the signal as the reason of the end.
        Some(signal) => emulate_default_handler(signal).map_err(WatchError::Terminal),
        None => Ok(()),
    }
}

fn follow_signals(sender: Sender<News>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGCONT])?;
    let forward = move || {
        for signal in signals.forever() {
            if sender.send(News::Signal(signal)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(forward).map(|_| ())
}

fn follow_keys(sender: Sender<News>) -> io::Result<()> {
    let read = move || {
        loop {
            let news = match event::read() {
                Ok(Event::Key(key)) => News::Key(key),
                Ok(Event::Resize(..)) => News::Resize,
                Ok(_) => continue,
                Err(_) => News::InputClosed,
            };
            let is_over = matches!(news, News::InputClosed);
            if sender.send(news).is_err() || is_over {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".into()).spawn(read).map(|_| ())
}

struct Live {
    screen: Screen,
    news: Receiver<News>,
    requests: Sender<Request>,
    state: ViewState,
    model: Option<Model>,
    gpus: Gpus,
    theme: Theme,
}

/// What follows from news.
enum Next {
    Draw,
    Quit,
    /// End as this signal does.
    Die(i32),
}

impl Live {
    /// Runs until the end. Returns the signal that ended it.
    fn run(mut self) -> Result<Option<i32>, WatchError> {
        loop {
            self.draw().map_err(WatchError::Terminal)?;
            let first = match self.news.recv_timeout(TICK) {
                Ok(news) => Some(news),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            };
            // Everything that has come by now is in the next frame.
            let mut waiting = first;
            while let Some(news) = waiting {
                match self.take(news)? {
                    Next::Draw => waiting = self.news.try_recv().ok(),
                    Next::Quit => return Ok(None),
                    Next::Die(signal) => return Ok(Some(signal)),
                }
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let scene = Scene { model: self.model.as_ref(), gpus: &self.gpus, now, theme: self.theme };
        let state = &self.state;
        self.screen.show(|buffer, area| view::draw(buffer, area, &scene, state))
    }

    fn take(&mut self, news: News) -> Result<Next, WatchError> {
        match news {
            News::Resize => {}
            News::Gpus(gpus) => self.gpus = gpus,
            // A table that was sent before the run was opened comes too late.
            News::Model(Ok(Model::Table(_))) if self.state.has_table => {}
            News::Model(Ok(model)) => self.model = Some(model),
            News::Model(Err(panic)) => return Err(WatchError::Panic(panic)),
            News::InputClosed => return Ok(Next::Quit),
            News::Signal(SIGCONT) => self.screen.return_to().map_err(WatchError::Terminal)?,
            News::Signal(signal) => return Ok(Next::Die(signal)),
            News::Key(key) => {
                if let Some(action) = press(&mut self.state, self.model.as_ref(), key) {
                    return self.act(action);
                }
            }
        }
        Ok(Next::Draw)
    }

    fn act(&mut self, action: Action) -> Result<Next, WatchError> {
        match action {
            Action::Quit => return Ok(Next::Quit),
            Action::Redraw => self.screen.clear().map_err(WatchError::Terminal)?,
            Action::Suspend => return self.suspend(),
            Action::Copy(text) => Screen::copy(&text).map_err(WatchError::Terminal)?,
            Action::Open(path) => self.follow(Request::Open(path)),
            Action::Back => self.follow(Request::Table),
            Action::Browse(page) => browse(&page),
        }
        Ok(Next::Draw)
    }

    fn follow(&mut self, request: Request) {
        self.model = None;
        // The thread has ended only if it panicked, and its message is on the way.
        let _ = self.requests.send(request);
    }

    fn suspend(&mut self) -> Result<Next, WatchError> {
        Screen::suspend();
        // The stop may come a moment later, in which the screen must not come back.
        let news = self.news.recv_timeout(SUSPEND);
        self.screen.return_to().map_err(WatchError::Terminal)?;
        news.map_or(Ok(Next::Draw), |news| self.take(news))
    }
}

/// Opens a page in the browser of a desktop. Without one, for example over ssh, the message with the path is enough.
fn browse(page: &Path) {
    let has_desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some());
    if has_desktop {
        let quiet = Stdio::null;
        let _ = Command::new("xdg-open").arg(page).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    }
}

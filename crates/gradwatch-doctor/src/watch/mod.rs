//! A terminal that watches runs. Reads files only, so it can be opened and closed at any time.
//!
//! ```text
//! files -> source: follows them in a thread -> Model -> view: draws a frame -> terminal
//!                                                        ^ ViewState <- input: keys
//! ```
//!
//! ```
//! use gradwatch_doctor::watch::{self, ViewState};
//! use gradwatch_events::SummaryWriter;
//!
//! let logdir = tempfile::tempdir()?;
//! let writer = SummaryWriter::create(logdir.path())?;
//! (0..20).try_for_each(|step| writer.scalar("loss", step, 2.0))?;
//! writer.close()?;
//! let model = watch::read(logdir.path(), &[]);
//! let frame = watch::frame(&model, &ViewState::default(), [80, 24], 0.0);
//! assert!(frame.contains("No problems found in 20 steps"), "{frame}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod gpu;
mod input;
mod live;
mod model;
mod plain;
mod run_state;
mod source;
mod terminal;
mod view;
mod view_state;

use std::{
    env,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use ratatui::{buffer::Buffer, crossterm::terminal::size, layout::Rect};

pub use gpu::Gpus;
pub use model::{Model, RunModel, RunSummary, TableModel};
pub use plain::text;
pub use run_state::RunState;
pub use run_state::is_held;
pub(crate) use source::RunSource;
pub use view::{Colors, LEAST, Scene, Theme, draw};
pub use view_state::{HeatKind, Page, ViewState};

/// Size of a frame without a terminal, in columns and rows.
const SIZE: [u16; 2] = [120, 40];

/// What to watch, and how.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    /// Run folder, log folder, or event file.
    pub path: PathBuf,
    /// Patterns of the form `role=pattern` for unknown tags.
    pub tags: Vec<String>,
    /// Whether to print one frame and end.
    pub is_once: bool,
    /// Size of that frame, in columns and rows, instead of that of the terminal.
    pub size: [Option<u16>; 2],
    /// First page of a run.
    pub page: Page,
    /// Whether to draw with ASCII characters only. They are also used if the locale has no UTF-8.
    pub is_ascii: bool,
}

/// Reason why a run cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The path cannot be read.
    #[error("{}: {cause}; want a run folder, a folder of runs, such as logs, or an event file", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The terminal cannot be used.
    #[error("the terminal cannot be used: {0}; print one frame with --once")]
    Terminal(io::Error),
    /// Internal error.
    #[error("internal error, please report it: {0}")]
    Panic(String),
}

/// Result of [`watch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// The live screen ended.
    Ended,
    /// A frame to print: its text, and whether it has escape sequences.
    Frame {
        /// The text.
        text: String,
        /// Whether it has escape sequences.
        is_colored: bool,
        /// Whether there was something to show.
        has_data: bool,
    },
}

/// Shows runs until the user quits. Without a terminal, with TERM=dumb, or with `is_once`, returns one frame instead.
///
/// # Errors
/// See [`WatchError`].
pub fn watch(options: &WatchOptions) -> Result<Watched, WatchError> {
    let WatchOptions { path, tags, is_once, size: [width, height], page, is_ascii } = options;
    std::fs::metadata(path).map_err(|cause| WatchError::Path { path: path.clone(), cause })?;
    let is_terminal = io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb");
    let theme = if is_terminal { Theme::of_environment() } else { Theme::default().with_locale() };
    let theme = theme.with_ascii(*is_ascii || theme.is_ascii());
    let state = ViewState { page: *page, ..ViewState::default() };
    if is_terminal && !is_once {
        return live::show(path, tags, state, theme).map(|()| Watched::Ended);
    }
    let model = read(path, tags);
    let of_terminal = || size().map_or(SIZE, |(columns, rows)| [columns, rows]);
    let [columns, rows] = if io::stdout().is_terminal() { of_terminal() } else { SIZE };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let scene = Scene { model: Some(&model), gpus: &Gpus::default(), now, theme };
    let buffer = rendered(&scene, &state, [width.unwrap_or(columns), height.unwrap_or(rows)]);
    let has_data = match &model {
        Model::Run(run) => run.problem.is_none(),
        Model::Table(table) => table.problem.is_none(),
    };
    let is_colored = theme.has_colors();
    let text = if is_colored { plain::ansi(&buffer) } else { text(&buffer) };
    Ok(Watched::Frame { text, is_colored, has_data })
}

/// Reads everything that is written now at a path.
pub fn read(path: &Path, tags: &[String]) -> Model {
    source::read_once(path, tags)
}

/// Draws a frame of this size, in columns and rows, as text without colors. `now` is in seconds since 1970.
pub fn frame(model: &Model, state: &ViewState, size: [u16; 2], now: f64) -> String {
    let scene = Scene { model: Some(model), gpus: &Gpus::default(), now, theme: Theme::default() };
    text(&rendered(&scene, state, size))
}

/// Draws a frame of this size.
pub fn rendered(scene: &Scene<'_>, state: &ViewState, [columns, rows]: [u16; 2]) -> Buffer {
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    draw(&mut buffer, area, scene, state);
    buffer
}

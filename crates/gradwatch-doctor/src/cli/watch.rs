//! `watch`: shows runs in the terminal while they train.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;

use super::output::{StdoutError, print};
use crate::watch::{self, Page, WatchError, WatchOptions, Watched};

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArguments {
    /// Run folder such as logs/NAME, folder with runs, or event file.
    #[arg(default_value = "logs")]
    path: PathBuf,
    /// Map a tag to a role; * stands for the parameter name: --tag loss=objective --tag grad_norm=norms/*. May be
    /// repeated.
    #[arg(long = "tag", value_name = "ROLE=PATTERN", value_parser = super::diagnose::tag_pattern)]
    tags: Vec<String>,
    /// Print one frame and end. Also without a terminal, and with TERM=dumb.
    #[arg(long)]
    once: bool,
    /// Columns of that frame.
    #[arg(long, value_name = "COLUMNS", requires = "once", value_parser = clap::value_parser!(u16).range(1..=1000))]
    width: Option<u16>,
    /// Rows of that frame.
    #[arg(long, value_name = "ROWS", requires = "once", value_parser = clap::value_parser!(u16).range(1..=1000))]
    height: Option<u16>,
    /// First page of a run.
    #[arg(long, value_name = "PAGE", default_value = "overview")]
    page: FirstPage,
    /// Draw with ASCII characters only. Also if LC_ALL, LC_CTYPE, or LANG name a locale without UTF-8.
    #[arg(long)]
    ascii: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FirstPage {
    Overview,
    Curves,
    Layers,
    Findings,
    System,
}

impl From<FirstPage> for Page {
    fn from(page: FirstPage) -> Self {
        match page {
            FirstPage::Overview => Self::Overview,
            FirstPage::Curves => Self::Curves,
            FirstPage::Layers => Self::Layers,
            FirstPage::Findings => Self::Findings,
            FirstPage::System => Self::System,
        }
    }
}

/// Result of `watch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchOutcome {
    /// The screen was closed, or a frame was printed.
    Done,
    /// There was nothing to print.
    Unreadable,
}

/// Reason why `watch` failed.
#[derive(Debug, thiserror::Error)]
pub enum WatchCommandError {
    /// The runs cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// stdout cannot be written.
    #[error(transparent)]
    Stdout(#[from] StdoutError),
}

impl WatchArguments {
    /// Shows the runs until the user quits, or prints one frame.
    ///
    /// # Errors
    /// See [`WatchCommandError`].
    pub fn run(&self) -> Result<WatchOutcome, WatchCommandError> {
        let Self { path, tags, once, width, height, page, ascii } = self;
        let options = WatchOptions {
            path: path.clone(),
            tags: tags.clone(),
            is_once: *once,
            size: [*width, *height],
            page: (*page).into(),
            is_ascii: *ascii,
        };
        let Watched::Frame { text, is_colored, has_data } = watch::watch(&options)? else {
            return Ok(WatchOutcome::Done);
        };
        match is_colored {
            // All text of the frame is escaped already; what remains are its colors.
            true => write_colored(&text)?,
            false => print(&text)?,
        }
        Ok(if has_data { WatchOutcome::Done } else { WatchOutcome::Unreadable })
    }
}

fn write_colored(text: &str) -> Result<(), StdoutError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(StdoutError)
}

//! Follows runs while they train, and tells about each finding that is new, gets worse, or is resolved.
//!
//! ```text
//! files -> RunSource (of watch) -> Report -> Known: compares the findings with the last report -> Event
//! ```

mod command;
mod event;
mod known;
mod once;
mod run;
mod runs;

pub(crate) use command::run_command;
pub(crate) use event::{Change, Event, What};
pub(crate) use once::Once;
pub(crate) use runs::Follower;

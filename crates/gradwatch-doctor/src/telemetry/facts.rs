//! Facts about a run before its first step, as the first line of its metrics.jsonl.

use gradwatch_events::{EventsError, JsonLines};
use serde::Serialize;

use crate::diagnosis::Facts;

/// Writes facts about the data and weights of a run before its first step, as the first line of `metrics.jsonl`.
/// [`Replay`](crate::replay::Replay) finds this file next to event files, so `diagnose` can also use these facts for a
/// custom training loop.
///
/// ```
/// use gradwatch_doctor::{diagnosis::Facts, replay::Replay, telemetry::write_facts};
/// use gradwatch_events::{JsonLines, SummaryWriter};
///
/// let logdir = tempfile::tempdir()?;
/// let writer = SummaryWriter::create(logdir.path())?;
/// let facts = Facts { classes: 2, batch_size: 64, ..Facts::default() };
/// write_facts(&mut JsonLines::open(logdir.path().join("metrics.jsonl"))?, &facts)?;
/// assert_eq!(Replay::open(logdir.path(), &[])?.facts, facts);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the write fails.
pub fn write_facts(metrics: &mut JsonLines, facts: &Facts) -> Result<(), EventsError> {
    #[derive(Serialize)]
    struct Line<'a> {
        kind: &'static str,
        #[serde(flatten)]
        facts: &'a Facts,
    }
    metrics.write(&Line { kind: "start", facts })
}

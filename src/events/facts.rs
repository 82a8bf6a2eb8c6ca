//! What is known of a run before its first step, as the first line of its metrics.jsonl.

use serde::Serialize;

use super::{EventsError, JsonLines};
use crate::diagnosis::Facts;

/// Writes the data and the weights of a run before its first step, where [`Replay`](crate::replay::Replay) looks for them beside
/// event files: as the first line of `metrics.jsonl`. A loop of one's own is then judged by them too.
///
/// ```
/// use gradwatch::{diagnosis::{Facts, ParameterFacts}, events::{JsonLines, SummaryWriter, write_facts}};
/// use gradwatch::{gradient::{GradientMonitor, named_variables}, replay::Replay};
/// use tch::{Device, nn};
///
/// let logdir = tempfile::tempdir()?;
/// let writer = SummaryWriter::create(logdir.path())?;
/// let vs = nn::VarStore::new(Device::Cpu);
/// nn::linear(vs.root() / "fc", 4, 2, Default::default());
/// let monitor = GradientMonitor::attach(named_variables(&vs))?;
///
/// let facts = Facts { classes: 2, batch_size: 64, parameters: ParameterFacts::of(&monitor)?, ..Facts::default() };
/// write_facts(&mut JsonLines::open(logdir.path().join("metrics.jsonl"))?, &facts)?;
/// assert_eq!(Replay::open(logdir.path(), &[])?.facts, facts);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where the system refuses.
pub fn write_facts(metrics: &mut JsonLines, facts: &Facts) -> Result<(), EventsError> {
    #[derive(Serialize)]
    struct Line<'a> {
        kind: &'static str,
        #[serde(flatten)]
        facts: &'a Facts,
    }
    metrics.write(&Line { kind: "start", facts })
}

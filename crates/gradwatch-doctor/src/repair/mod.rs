//! What a run that repairs itself has tried: the records in `repairs.jsonl`, and what follows from them.
//!
//! A repair returns to the last healthy checkpoint, changes a config key, and trains on. The change is on trial until the
//! finding stayed away for long enough. Each decision is on disk before it takes effect, so a run that is killed at any
//! time resumes in the same way.

mod candidates;
mod escalation;
mod history;
mod proposal;
mod record;
mod returns;

pub use candidates::Candidate;
pub use history::{ReadRepairsError, RepairHistory};
pub use proposal::Proposal;
pub use record::{Found, Outcome, RepairRecord, Setting, Trial};
pub use returns::{Return, Stored};

/// File of the records in a run folder.
pub const REPAIRS: &str = "repairs.jsonl";
/// The config before the first repair, in a run folder.
pub const ORIGINAL_CONFIG: &str = "config.original.toml";
/// Folder of the abandoned parts of a run, in its run folder: `abandoned/1` has the logs of the first one, and its last
/// healthy checkpoint if the run started again.
pub const ABANDONED: &str = "abandoned";

//! The parts of `tests/harness` that these tests use.

#[path = "../harness/background.rs"]
pub(crate) mod background;
#[path = "../harness/calls.rs"]
mod calls;
#[path = "../harness/checkpoints.rs"]
pub(crate) mod checkpoints;
#[path = "../harness/compare.rs"]
mod compare;
#[path = "../harness/dice.rs"]
pub(crate) mod dice;
#[path = "../harness/hostile.rs"]
pub(crate) mod hostile;
#[path = "../harness/images.rs"]
mod images;
#[path = "../harness/limit.rs"]
pub(crate) mod limit;
#[path = "../harness/lock.rs"]
mod lock;
#[path = "../harness/members.rs"]
mod members;
#[path = "../harness/parquet.rs"]
mod parquet;
#[path = "../harness/recorded.rs"]
mod recorded;
#[path = "../harness/runs.rs"]
mod runs;
#[path = "../harness/workplace.rs"]
mod workplace;

pub(crate) use calls::SMALL;
pub(crate) use compare::error;
pub(crate) use images::{
    shapes, write_images, write_parquet, write_photos, write_row_groups, write_shapes, write_shards,
};
pub(crate) use lock::exclusive;
pub(crate) use members::MEMBERS;
pub(crate) use recorded::{event_files, scalars};
pub(crate) use runs::{event_file, last_weights, scalars_without_times};
pub(crate) use workplace::{Outcome, Workplace};

//! The parts of `tests/harness` that these tests use.

#[path = "../harness/compare.rs"]
mod compare;
#[path = "../harness/golden_model.rs"]
pub(crate) mod golden_model;
#[path = "../harness/limit.rs"]
pub(crate) mod limit;
#[path = "../harness/lock.rs"]
mod lock;
#[path = "../harness/members.rs"]
mod members;
#[path = "../harness/networks.rs"]
pub(crate) mod networks;
#[path = "../harness/recorded.rs"]
mod recorded;

pub(crate) use compare::error;
pub(crate) use lock::exclusive;
pub(crate) use members::MEMBERS;
pub(crate) use recorded::scalars;

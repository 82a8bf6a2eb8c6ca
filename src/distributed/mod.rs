//! Data-parallel training: several processes ("ranks", as in torch.distributed) that train one model.
//!
//! A launcher, such as torchrun, starts the processes and sets environment variables that [`Topology`] reads.
//! [`Ranks::join`] connects them. From then on, all ranks call the same functions of [`Ranks`] in the same order.
//!
//! The work is dealt by micro-batch: micro-batch k of a step goes to rank k mod W, so that order, schedule, and random
//! numbers do not depend on the number of ranks W. A process that was not started by a launcher is alone: its functions
//! return at once.

mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod health;
mod join;
mod layout;
mod ranks;
mod reducer;
mod topology;

pub use error::DistributedError;
pub use join::Limits;
pub use layout::Layout;
pub use ranks::Ranks;
pub use reducer::{LocalGradients, Reducer};
pub use topology::Topology;

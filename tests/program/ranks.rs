//! Data-parallel training: several processes ("ranks") train one model, and end together.
//!
//! - `equality`, `data_equality`, `optimizer_equality`: any number of ranks ends bit-identical to one process
//! - `fast`: fast sums stay near those of one process
//! - `images`: every image comes once per epoch, on one of the ranks
//! - `resumption`: a run resumes on another number of ranks
//! - `crash`: runs whose ranks are killed, stopped, and signaled at random end bit-identical to one process
//! - `losses`: a rank that fails, is killed, or hangs ends all others, with one line each
//! - `traps`: ranks that do not fit together do not start
//!
//! `team` starts the ranks, `comparison` compares their runs.
#![cfg(unix)]

mod comparison;
mod crash;
mod data_equality;
mod equality;
mod fast;
mod images;
mod losses;
mod optimizer_equality;
mod resumption;
mod team;
mod traps;

//! Diagnoses training runs from their TensorBoard event files: which layer is wrong, since which step, why, and what to
//! change.
//!
//! Reads runs of gradwatch, and event files of PyTorch, Lightning, Keras, and others. Needs neither libtorch nor Python.
//!
//! ```text
//! event files -> replay -> diagnosis: rules -> Finding -> report (text, HTML, Markdown, JSON)
//! ```
//!
//! The modules depend on each other in this order: [`printable`], [`config`], [`statistics`], [`diagnosis`],
//! [`repair`], [`picture`], [`telemetry`], [`replay`], [`report`], [`watch`].

pub mod json;
pub mod number;
pub mod panics;
pub mod printable;

pub mod config;
pub mod messenger;
pub mod statistics;

pub mod diagnosis;
pub mod repair;

pub mod picture;

pub mod telemetry;

pub mod replay;
pub mod report;

mod assessment;
mod assessor;
pub mod watch;

mod follow;

pub mod cli;

pub use assessment::{AssessOptions, Assessment, EXPLANATIONS, WriteReportError, assess, assess_with, write_report};

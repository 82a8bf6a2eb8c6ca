//! One run to train, and what is known about it.

use std::path::PathBuf;

use gradwatch::config::RuleName;
use serde::Serialize;

use crate::{
    images::{Form, Variant},
    own_loops::Twist,
};

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub architecture: &'static str,
    pub optimizer: &'static str,
    pub name: String,
    pub seed: u64,
    pub images: Variant,
    pub form: Form,
    pub recipe: Recipe,
    /// `small`, `families`, or `remedies`.
    pub grid: &'static str,
    pub effect: Effect,
    /// Whether the run belongs to a search over learning rates.
    pub is_search: bool,
    /// The change that the run tries, if it repeats a faulty run.
    pub trial: Option<Trial>,
}

/// A change to the config of a faulty run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Trial {
    /// Folder of the faulty run.
    pub of: PathBuf,
    /// The changed config line.
    pub change: String,
    /// Place among the remedies of the finding, from 0; `None` for a random change.
    pub place: Option<usize>,
}

/// What the settings and images of a run do to it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    /// Nothing. In the grid of families, only if the run reaches nearly the best accuracy of its family.
    Healthy,
    /// A fault that these rules identify, if the run stays far below the best accuracy of its family.
    Harmful(&'static [RuleName]),
    /// A fault that these rules identify, if the training accuracy ends far above the validation accuracy.
    Gap(&'static [RuleName]),
    /// A fault that these rules identify, whatever the run reaches.
    Fault(&'static [RuleName]),
}

/// The origin of a run.
#[derive(Debug, Clone)]
pub(crate) enum Recipe {
    /// The program, with `key=value` settings on top of the common ones.
    Program(Vec<String>),
    /// A custom training loop.
    OwnLoop(Twist),
}

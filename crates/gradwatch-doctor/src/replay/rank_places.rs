//! What metrics.jsonl says about the ranks of single steps: where a non-finite gradient began, and weights that differ.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ReplayEvent;
use crate::statistics::{RankPlace, WeightMismatch};

/// Places by step.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct RankPlaces {
    non_finite: BTreeMap<u64, RankPlace>,
    mismatches: BTreeMap<u64, WeightMismatch>,
}

impl RankPlaces {
    /// Most places of each kind to remember. The first ones tell where a problem began.
    const MOST: usize = 1000;

    /// Adds a line of metrics.jsonl, if it is one about ranks.
    pub(super) fn add_line(&mut self, line: &[u8]) {
        if line.starts_with(b"{\"kind\":\"rank_non_finite\"") {
            add(&mut self.non_finite, line);
        } else if line.starts_with(b"{\"kind\":\"weight_mismatch\"") {
            add(&mut self.mismatches, line);
        }
    }

    /// Adds the places of a step to it.
    pub(super) fn add_to(&self, event: &mut ReplayEvent) {
        let ReplayEvent::Step(sample) = event else { return };
        let (non_finite, mismatch) = (self.non_finite.get(&sample.step), self.mismatches.get(&sample.step));
        if non_finite.is_some() || mismatch.is_some() {
            let ranks = sample.ranks.get_or_insert_default();
            (ranks.non_finite, ranks.mismatch) = (non_finite.cloned(), mismatch.cloned());
        }
    }
}

/// Reads the step and the place of a line. Lines that are not complete are skipped.
fn add<'a, P: Deserialize<'a>>(places: &mut BTreeMap<u64, P>, line: &'a [u8]) {
    #[derive(Deserialize)]
    struct Step {
        step: u64,
    }
    if places.len() < RankPlaces::MOST
        && let (Ok(Step { step }), Ok(place)) = (serde_json::from_slice(line), serde_json::from_slice(line))
    {
        places.insert(step, place);
    }
}

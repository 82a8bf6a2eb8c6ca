//! The lines of metrics.jsonl, except for the facts in the first one.

use serde::Serialize;

use crate::{
    diagnosis::LostImages,
    evaluation::Abridged,
    gradient::{Origin, RankPlace, RankStatistics, WeightMismatch},
};

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Step {
        step: u64,
        epoch: u64,
        loss: f64,
        learning_rate: f64,
        grad_norm: f64,
        clip_coef: f64,
        skipped_steps: u64,
    },
    NonFinite {
        step: u64,
        origin: &'a Origin,
    },
    LostImages {
        step: u64,
        classes: &'a [LostImages],
    },
    RankNonFinite {
        step: u64,
        #[serde(flatten)]
        place: &'a RankPlace,
    },
    WeightMismatch {
        step: u64,
        #[serde(flatten)]
        mismatch: &'a WeightMismatch,
    },
    Evaluation {
        step: u64,
        epoch: u64,
        elapsed_secs: f64,
        train: Abridged<'a>,
        validation: Abridged<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ema: Option<Abridged<'a>>,
    },
}

impl<'a> Line<'a> {
    /// The lines about the ranks of a step: where a non-finite gradient began, and weights that differ.
    pub(super) fn of_ranks(step: u64, ranks: &'a RankStatistics) -> impl Iterator<Item = Self> {
        let non_finite = ranks.non_finite.as_ref().map(|place| Self::RankNonFinite { step, place });
        let mismatch = ranks.mismatch.as_ref().map(|mismatch| Self::WeightMismatch { step, mismatch });
        non_finite.into_iter().chain(mismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_about_ranks_starts_with_its_kind_by_which_it_is_found_again() {
        let place = RankPlace { rank: 1, parameter: "fc.weight".into(), micro_batches: vec![0], images: vec![17, 4] };
        let mismatch = WeightMismatch { parameter: "fc.bias".into(), ranks: vec![2], is_certain: true, parameters: 3 };
        let ranks = RankStatistics { non_finite: Some(place), mismatch: Some(mismatch), ..RankStatistics::default() };
        let lines: Vec<String> = Line::of_ranks(7, &ranks).map(|line| serde_json::to_string(&line).unwrap()).collect();
        assert_eq!(
            lines,
            [
                r#"{"kind":"rank_non_finite","step":7,"rank":1,"parameter":"fc.weight","micro_batches":[0],"images":[17,4]}"#,
                r#"{"kind":"weight_mismatch","step":7,"parameter":"fc.bias","ranks":[2],"is_certain":true,"parameters":3}"#,
            ]
        );
        assert_eq!(Line::of_ranks(7, &RankStatistics::default()).count(), 0);
    }
}

//! Weights that differ between ranks.
//!
//! All ranks start with the same weights and apply the same update with the same operations, so that their weights stay
//! equal to the last bit. The check compares them exactly and needs no threshold. A difference does not go away: the
//! ranks train different models from then on, and average their gradients.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Facts, Figure, Observation, Remedy, Severity, Symptom},
    number::count,
    statistics::WeightMismatch as Mismatch,
};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct WeightMismatch {}

impl Rule for WeightMismatch {
    fn name(&self) -> RuleName {
        RuleName::WeightMismatch
    }

    fn needs(&self) -> Ways {
        &[&[Need::Ranks]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let statistics = seen.ranks?;
        let mismatch = statistics.mismatch.as_ref()?;
        let Mismatch { parameter, ranks, is_certain, parameters } = mismatch;
        let figures = vec![
            Figure {
                name: "parameters that differ between ranks".into(),
                seen: *parameters as f64,
                expected: "0".into(),
            },
            Figure { name: "ranks with other weights".into(), seen: ranks.len() as f64, expected: "0".into() },
        ];
        let what = what(mismatch, statistics.ranks.len(), context.facts);
        let more = match parameters.saturating_sub(1) {
            0 => String::new(),
            others => format!(" and {}", count(others, "more parameter")),
        };
        let cause = format!(
            "{what} at step {} in {parameter}{more}, although all ranks apply the same update: memory is damaged, or a \
             device does not compute the same each time",
            seen.step
        );
        let remedies = vec![
            Remedy::advice("stop the run", "from here on, it averages the gradients of different models"),
            Remedy::advice(
                &take_out(ranks, *is_certain, context.facts),
                "memory and devices with such an error repeat it",
            ),
            Remedy::advice(
                "resume from a checkpoint before the last check that agreed",
                "later ones may contain the damage",
            ),
        ];
        Some(Symptom {
            severity: Severity::Critical,
            layers: vec![parameter.clone()],
            ranks: ranks.clone(),
            figures,
            cause,
            remedies,
        })
    }
}

/// Says which ranks differ, or why that is not known.
fn what(mismatch: &Mismatch, world: usize, facts: &Facts) -> String {
    let Mismatch { ranks, is_certain, .. } = mismatch;
    let names = facts.rank_names(ranks);
    let verb = if ranks.len() == 1 { "differ" } else { "each differ" };
    match (is_certain, world) {
        (true, _) => format!("the weights of {names} {verb} from those of the majority of the ranks"),
        (false, 2) => "the weights of the two ranks differ (two ranks cannot tell which one is wrong)".into(),
        (false, _) => {
            "the weights of the ranks differ (without a majority, it is not known which ones are wrong)".into()
        }
    }
}

fn take_out(ranks: &[usize], is_certain: bool, facts: &Facts) -> String {
    let names = facts.rank_names(ranks);
    match is_certain {
        true => format!("take the host of {names} out of service, and test its memory and device"),
        false => "test the memory and devices of all hosts".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{RankFacts, fixture::Case},
        statistics::{RankStatistics, RankStep},
    };

    fn judge(world: usize, mismatch: Option<Mismatch>) -> Option<Symptom> {
        let mut case = Case::new("");
        let place = |rank: usize| RankFacts { host: format!("node-{rank}"), device: "cuda:0".into() };
        case.facts.ranks = (0..world).map(place).collect();
        let ranks = RankStatistics { ranks: vec![RankStep::default(); world], mismatch, ..RankStatistics::default() };
        let seen = Observation { step: 40, ranks: Some(&ranks), ..Observation::default() };
        WeightMismatch::default().judge(&seen, &case.context())
    }

    fn mismatch(ranks: &[usize], is_certain: bool, parameters: usize) -> Option<Mismatch> {
        Some(Mismatch { parameter: "fc.weight".into(), ranks: ranks.to_vec(), is_certain, parameters })
    }

    #[test]
    fn weights_that_agree_are_healthy_and_a_single_difference_is_critical() {
        assert_eq!(judge(4, None), None);
        let symptom = judge(4, mismatch(&[2], true, 1)).unwrap();
        assert_eq!((symptom.severity, &symptom.ranks[..]), (Severity::Critical, &[2][..]));
        assert_eq!(
            symptom.cause,
            "the weights of rank 2 (host node-2, cuda:0) differ from those of the majority of the ranks at step 40 in \
             fc.weight, although all ranks apply the same update: memory is damaged, or a device does not compute the \
             same each time"
        );
        let advice: Vec<String> = symptom.remedies.iter().map(|remedy| remedy.change.to_string()).collect();
        assert_eq!(
            advice[1],
            "take the host of rank 2 (host node-2, cuda:0) out of service, and test its memory and device"
        );
    }

    #[test]
    fn without_a_majority_no_rank_is_blamed() {
        let two = judge(2, mismatch(&[0, 1], false, 12)).unwrap();
        assert!(
            two.cause
                .contains("two ranks cannot tell which one is wrong) at step 40 in fc.weight and 11 more parameters")
        );
        let four = judge(4, mismatch(&[0, 1, 2, 3], false, 1)).unwrap();
        assert!(four.cause.contains("without a majority"), "{}", four.cause);
        assert!(four.remedies.iter().all(|remedy| !remedy.change.to_string().contains("node")));
    }
}

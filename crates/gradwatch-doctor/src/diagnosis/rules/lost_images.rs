//! Images that do not decode and are skipped, so that a class has fewer images than its folder contains, or none.
//!
//! Precision, recall, and F1 are means over the remaining classes, so a missing class improves them.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Figure, LostImages as Lost, Remedy, Severity, Symptom},
};

/// Fraction of the images of a class in a split. If the damage has a cause, the remaining images are not a fair sample.
const WARNING: f64 = 0.1;
/// Most classes to name.
const NAMED: usize = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LostImages {}

impl Rule for LostImages {
    fn name(&self) -> RuleName {
        RuleName::LostImages
    }

    /// The rule is checked at evaluations, when all validation images have been requested.
    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts, Need::Evaluations]]
    }

    /// At an evaluation, all validation images have been requested, and the training images used so far.
    fn judge_evaluation(&mut self, _seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
        let mut losses: Vec<&Lost> = context.facts.lost_images.iter().filter(|lost| lost.share() > WARNING).collect();
        losses.sort_by(|one, other| other.share().total_cmp(&one.share()));
        let worst = losses.first()?;
        let severity = if worst.is_all() { Severity::Critical } else { Severity::Warning };
        let figures = vec![Figure {
            name: format!("share of the {} images of class {} that do not decode", worst.split, worst.class),
            seen: worst.share(),
            expected: "0".into(),
        }];
        let named: Vec<String> = losses.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match losses.len().saturating_sub(NAMED) {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        let outcome = if worst.is_all() {
            "a class without images cannot be learned or evaluated, and the metrics leave it out"
        } else {
            "the metrics cover only the other images"
        };
        let cause = format!("{}{more}; {outcome}", named.join(", "));
        let remedies = vec![Remedy::config(
            "data.on_bad_image",
            "stop",
            "ends a run at the first such file; train.log names all of them",
        )];
        Some(Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    fn judge(losses: &[(&str, &str, u64, u64)]) -> Option<Symptom> {
        let mut case = Case::new("");
        let lost = |&(split, class, images, lost): &(&str, &str, u64, u64)| Lost {
            split: split.into(),
            class: class.into(),
            images,
            lost,
        };
        case.facts.lost_images = losses.iter().map(lost).collect();
        LostImages::default().judge_evaluation(&evaluation(10), &case.context())
    }

    #[test]
    fn a_class_that_is_gone_is_critical_and_one_that_shrinks_by_more_than_a_tenth_a_warning() {
        let severity = |losses| judge(losses).map(|symptom| symptom.severity);
        assert_eq!(severity(&[]), None);
        assert_eq!(severity(&[("training", "cat", 100, 10), ("training", "dog", 5000, 499)]), None);
        assert_eq!(severity(&[("training", "cat", 100, 11)]), Some(Severity::Warning));
        assert_eq!(severity(&[("training", "cat", 8, 5), ("validation", "dog", 2, 1)]), Some(Severity::Warning));
        assert_eq!(severity(&[("training", "cat", 100, 11), ("validation", "dog", 1, 1)]), Some(Severity::Critical));
    }

    #[test]
    fn the_worst_classes_are_named_with_their_counts() {
        let symptom = judge(&[
            ("training", "cat", 8, 5),
            ("training", "dog", 6, 6),
            ("training", "eel", 10, 2),
            ("validation", "dog", 2, 1),
            ("validation", "fox", 10, 2),
        ]);
        let Symptom { cause, figures, .. } = symptom.unwrap();
        let want = "class dog has lost all of its 6 training images, class cat has lost 5 of its 8 training images, \
                    class dog has lost 1 of its 2 validation images, and 2 more; ";
        assert!(cause.starts_with(want), "{cause}");
        assert_eq!((figures[0].seen, figures[0].name.contains("training images of class dog")), (1.0, true));
    }
}

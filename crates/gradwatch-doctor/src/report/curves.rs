//! Curves of a run.

use maud::{Markup, html};

use super::{
    Report,
    chart::{Chart, Line, Mark},
    scale::Scale,
};

/// Charts of loss, accuracy, learning rate, and gradient norm, with the first steps of the findings marked.
pub(super) fn curves(report: &Report) -> Markup {
    let course = &report.course;
    let Some((first_step, last_step)) = course.steps() else { return html! {} };
    let steps = (first_step, last_step.max(report.repairs.last_step().unwrap_or(0)));
    let marks = marks(report);
    let chart = |title, lines, scale| Chart { title, lines, scale, steps, marks: &marks, class: "" }.draw();
    let abandoned: Vec<String> =
        (1..=report.repairs.abandoned.len()).map(|number| format!("abandoned {number}")).collect();
    let abandoned = abandoned.iter().zip(&report.repairs.abandoned);
    let mut loss: Vec<Line<'_>> = abandoned.map(|(name, losses)| Line::of(name, "abandoned", losses)).collect();
    loss.extend([
        Line::of("training", "train", &course.loss),
        Line::of("training, per evaluation", "mean", &course.train_loss),
        Line::of("validation", "validation", &course.validation_loss),
    ]);
    let accuracy = vec![
        Line::of("training", "mean", &course.train_accuracy),
        Line::of("validation", "validation", &course.validation_accuracy),
    ];
    html! {
        section aria-labelledby="curves" {
            h2 id="curves" { "Curves" }
            p class="caption" {
                "The shaded area spans the minimum and maximum of the steps that share a point."
                @if !marks.is_empty() { " Numbers mark the first step of each finding." }
            }
            div class="charts" {
                (chart("Loss", loss, Scale::fitting))
                (chart("Accuracy", accuracy, Scale::linear))
                (chart("Total gradient norm", vec![Line::of("norm", "train", &course.total_norm)], Scale::log))
                (chart("Learning rate", vec![Line::of("rate", "train", &course.learning_rate)], Scale::linear))
            }
        }
    }
}

/// Marks at the first steps of the findings.
pub(super) fn marks(report: &Report) -> Vec<Mark> {
    let numbered = report.ranked().into_iter().zip(1..);
    numbered.map(|(finding, number)| Mark { step: finding.first_step, number, severity: finding.severity }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{Observation, RuleName, Severity},
        report::fixture::{finding, observe, report},
    };

    #[test]
    fn each_series_that_was_seen_has_its_chart_and_findings_are_marked_in_all() {
        let page = curves(&report(50, vec![finding(RuleName::Vanishing, Severity::Critical, 25)])).into_string();
        for title in ["Loss", "Accuracy", "Learning rate", "Total gradient norm"] {
            assert!(page.contains(&format!("<h3>{title}")), "{title}");
        }
        assert_eq!(page.matches(r#"<path class="mark critical""#).count(), 4);
        assert_eq!(curves(&report(0, vec![])).into_string(), "");
    }

    #[test]
    fn a_run_that_is_nan_throughout_says_so() {
        let mut broken = report(0, vec![]);
        let nan = f64::NAN;
        for step in 0..2000 {
            broken.course.add(&Observation { total_norm: nan, learning_rate: nan, ..observe(step, nan) });
        }
        let page = curves(&broken).into_string();
        assert_eq!(page.matches("No value is finite.").count(), 2);
        assert!(!page.contains("NaN "), "{page}");
    }
}

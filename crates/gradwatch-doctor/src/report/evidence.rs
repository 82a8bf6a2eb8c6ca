//! Chart with the evidence of a finding.

use maud::Markup;

use super::{
    chart::{Chart, Line, Point},
    scale::Scale,
};
use crate::diagnosis::{Evidence, Finding};

/// Draws the finding's first figure over its steps; empty for fewer than two steps.
pub(super) fn evidence(finding: &Finding) -> Markup {
    let all = &finding.evidence;
    let steps = match &all[..] {
        [first, .., last] => (first.step, last.step),
        _ => return maud::html! {},
    };
    let name = finding.figures.first().map_or("", |figure| &figure.name);
    let (begin, end) = all.split_at(all.len() - after_gap(all));
    let at_first = format!("{name}, first steps");
    let lines = match (begin.last(), end.first()) {
        (Some(last), Some(first)) => {
            vec![line(&at_first, "train", begin), line("", "link", &[*last, *first]), line("last steps", "train", end)]
        }
        _ => vec![line(name, "train", begin)],
    };
    Chart { title: "Evidence", lines, scale: fitting, steps, marks: &[], class: "small" }.draw()
}

fn line<'a>(name: &'a str, class: &'static str, evidence: &[Evidence]) -> Line<'a> {
    let point = |&Evidence { step, value }: &Evidence| {
        let is_broken = !value.is_finite();
        let mean = if is_broken { f64::NAN } else { value };
        Point { step: step as f64, low: mean, mean, high: mean, is_broken }
    };
    Line { name, class, points: evidence.iter().map(point).collect() }
}

/// Number of entries after the gap between the first and last steps; 0 without a gap.
fn after_gap(evidence: &[Evidence]) -> usize {
    let gaps = || evidence.windows(2).map(|pair| pair[1].step.saturating_sub(pair[0].step));
    let mut sorted: Vec<u64> = gaps().collect();
    sorted.sort_unstable();
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    let widest = gaps().enumerate().max_by_key(|(_, gap)| *gap).filter(|(_, gap)| *gap > 4 * usual);
    widest.map_or(0, |(before, _)| evidence.len() - before - 1)
}

/// Logarithmic axis if the values span more than two decades.
fn fitting(values: &[f64]) -> Option<Scale> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (least, most) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
    if least > 0.0 && most > 100.0 * least { Scale::log(values) } else { Scale::linear(values) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{RuleName, Severity},
        report::fixture::finding,
    };

    fn drawn(steps: &[u64], value: fn(u64) -> f64) -> String {
        let mut finding = finding(RuleName::Vanishing, Severity::Warning, 0);
        finding.evidence = steps.iter().map(|&step| Evidence { step, value: value(step) }).collect();
        evidence(&finding).into_string()
    }

    #[test]
    fn steps_that_were_left_out_are_bridged_by_a_line_of_its_own() {
        let svg = drawn(&[0, 1, 2, 98, 99, 100], |step| step as f64);
        assert!(svg.contains(r#"<g class="link"><path class="line" d="M20 392L980 8">"#), "{svg}");
        for ends in [", first steps <b>2</b>", "last steps <b>100</b>"] {
            assert!(svg.contains(ends), "{svg}");
        }
        assert!(!drawn(&[0, 10, 20, 30], |step| step as f64).contains("link"));
    }

    #[test]
    fn evidence_of_one_step_has_no_curve_and_of_none_finite_says_so() {
        assert_eq!(drawn(&[4], |_| 1.0), "");
        assert!(drawn(&[4, 5], |_| f64::NAN).contains("No value is finite."));
        assert!(drawn(&[4, 5, 6], |step| 10f64.powi(step as i32 * 3)).contains("log axis"));
    }
}

//! Renders findings on the page of a run.

use maud::{Markup, html};

use super::{
    Report,
    evidence::evidence,
    verdict::{phrase, phrase_of},
};
use crate::config::Config;
use crate::diagnosis::{Finding, rank_list};
use crate::number::{count, number};

/// Most layers to list before folding the others.
const LAYERS: usize = 6;

/// Renders all findings, with the one to fix first at the top.
pub(super) fn findings(report: &Report) -> Markup {
    let (findings, config) = (report.ranked(), report.parsed_config());
    html! {
        @if !findings.is_empty() {
            section aria-labelledby="findings" {
                h2 id="findings" { "Findings" }
                @for (finding, number) in findings.iter().zip(1..) {
                    (card(config.as_ref(), finding, number, report.is_root_cause(finding) && findings.len() > 1))
                }
            }
        }
    }
}

fn card(config: Option<&Config>, finding: &Finding, index: usize, is_root_cause: bool) -> Markup {
    let Finding { rule, severity, first_step, last_step, cause, .. } = finding;
    html! {
        article class={ "card " (severity) } id={ "finding-" (index) } {
            header {
                p class="tags" {
                    span class="number" { (index) }
                    span class="tag" { (severity) }
                    @if is_root_cause { span class="tag plain" { "root cause" } }
                    code { (rule) }
                }
                h3 { (capitalized(phrase_of(finding))) }
                p class="where" {
                    @if first_step == last_step { "Step " (first_step) } @else {
                        "Since step " (first_step) ", last seen at step " (last_step)
                    }
                    (layers(finding))
                    @if !finding.ranks.is_empty() { " · " (rank_list(&finding.ranks)) }
                }
            }
            p class="cause" { (capitalized(cause)) "." }
            div class="proof" {
                (figures(finding))
                (evidence(finding))
            }
            (remedies(config, finding))
            (symptoms(finding))
        }
    }
}

fn layers(finding: &Finding) -> Markup {
    let (told, folded) = finding.layers.split_at(finding.layers.len().min(LAYERS));
    html! {
        @if !told.is_empty() {
            " · in "
            @for (index, layer) in told.iter().enumerate() {
                @if index > 0 { ", " }
                code { (layer) }
            }
        }
        @if !folded.is_empty() {
            details class="more" {
                summary { "and " (count(folded.len(), "more layer")) }
                @for layer in folded { code { (layer) } " " }
            }
        }
    }
}

fn figures(finding: &Finding) -> Markup {
    html! {
        @if !finding.figures.is_empty() {
            div class="scroll" {
                table class="figures" {
                    thead {
                        tr { @for name in ["Value", "Measured", "Expected"] { th scope="col" { (name) } } }
                    }
                    tbody {
                        @for figure in &finding.figures {
                            tr {
                                th scope="row" { (figure.name) }
                                td class="seen" { (number(figure.seen)) }
                                td { (figure.expected) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn remedies(config: Option<&Config>, finding: &Finding) -> Markup {
    html! {
        @if !finding.remedies.is_empty() {
            h4 { "Recommended changes" }
            ol class="remedies" {
                @for remedy in &finding.remedies {
                    li {
                        pre class="copy" { code { (remedy.change) } }
                        p {
                            (capitalized(&remedy.why)) "."
                            @if let Some(weights) = config.and_then(|config| remedy.change.weight_transfer(config)) { " It " (weights) "." }
                        }
                    }
                }
            }
        }
    }
}

fn symptoms(finding: &Finding) -> Markup {
    html! {
        @if !finding.symptoms.is_empty() {
            details {
                summary { "Causes " (count(finding.symptoms.len(), "more symptom")) }
                ul {
                    @for (rule, step) in &finding.symptoms {
                        li { (capitalized(phrase(*rule))) ", since step " (step) " " code { (rule) } }
                    }
                }
            }
        }
    }
}

/// Capitalizes the first letter and removes a final period.
fn capitalized(text: &str) -> String {
    let mut characters = text.trim_end_matches('.').chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{RuleName, Severity},
        report::fixture::{finding, report},
    };

    #[test]
    fn a_finding_says_what_where_since_when_why_and_what_to_change() {
        let page = findings(&report(50, vec![finding(RuleName::Vanishing, Severity::Critical, 5)])).into_string();
        for want in [
            "<h3>The gradient vanishes on its way to the input</h3>",
            "Since step 5, last seen at step 25 · in <code>conv1</code>, <code>fc</code>",
            "The gradient shrinks at every layer.",
            "<td class=\"seen\">1e-6</td><td>0.01 or more</td>",
            "<code>model.activation = &quot;relu&quot;</code>",
            "The loss stays at that of a random guess, since step 14",
            "<h3>Evidence",
        ] {
            assert!(page.contains(want), "{want}\n{page}");
        }
        // A single finding is not marked.
        assert!(!page.contains("root cause"));
    }

    #[test]
    fn a_change_of_a_known_config_says_what_it_does_to_the_weights() {
        let findings_of = |config: Option<&str>| {
            let report = report(50, vec![finding(RuleName::Vanishing, Severity::Critical, 5)]);
            findings(&Report { config: config.map(str::to_owned), ..report }).into_string()
        };
        let config = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"cnn\"";
        assert!(findings_of(Some(config)).contains("Its slope is 1. It keeps the weights."));
        assert!(!findings_of(None).contains("weights."));
    }

    #[test]
    fn the_root_cause_is_named_among_several_and_many_layers_are_folded() {
        let mut deep = finding(RuleName::DeadRelu, Severity::Warning, 5);
        deep.layers = (0..9).map(|layer| format!("layer{layer}").into()).collect();
        let two = vec![finding(RuleName::Vanishing, Severity::Critical, 5), deep];
        let page = findings(&Report { root_cause: Some(1), ..report(50, two) }).into_string();
        assert_eq!(page.matches("root cause").count(), 1);
        assert!(page.find("ReLUs output 0") < page.find("The gradient vanishes"));
        assert!(page.contains("and 3 more layers"), "{page}");
        assert_eq!(findings(&report(1, vec![])).into_string(), "");
    }
}

//! The report of a run as a standalone HTML page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Report,
    classes::classes,
    curves::curves,
    depth::depth_chart,
    finding::findings,
    heat_map::heat_map,
    layer_table::{Row, rows},
    ranks::ranks,
    repairs::repairs,
};
use crate::number::{count, number, number_or_dash, percent};

/// Style sheet of the page, for any screen width and for light and dark mode.
pub const STYLE: &str = include_str!("style.css");
const COPY: &str = include_str!("copy.js");
/// Most rows in the parameter table. The JSON report has all of them.
const MOST_ROWS: usize = 400;
/// Content security policy: forbids all requests, and allows inline styles, scripts, and images.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Renders the report as one standalone HTML file, for any screen width and for light and dark mode.
pub fn html(report: &Report) -> String {
    let rows = rows(&report.course);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (report.title) " · " (report.run) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (head(report))
                    (findings(report))
                    (repairs(report))
                    (curves(report))
                    (ranks(report))
                    (classes(report))
                    (layers(report))
                    (table(&rows))
                    (list("withdrawn", "Withdrawn findings", &report.withdrawn_lines()))
                    (list("alarms", "Alarms of other rule sets", &report.alarm_lines()))
                    (list("not-judged", "Not checked", &report.not_judged))
                    (list("notes", "Notes", &report.notes))
                    @if let Some(config) = &report.config {
                        section {
                            details class="config" {
                                summary { h2 { "Config" } }
                                pre class="copy" { code { (config) } }
                            }
                        }
                    }
                }
                script { (PreEscaped(COPY)) }
            }
        }
    };
    page.into_string()
}

fn head(report: &Report) -> Markup {
    let verdict = report.verdict();
    let (class, tag) = match verdict.severity {
        Some(severity) => (severity.name(), severity.name()),
        None if report.steps == 0 || !report.not_judged.is_empty() => ("unknown", "no findings"),
        None => ("healthy", "healthy"),
    };
    html! {
        header class="head" {
            p class="run" { "Run " code { (report.run) } }
            h1 { (report.title) }
            div class={ "verdict card " (class) } role="status" {
                span class="tag" { (tag) }
                p { (verdict.sentence) }
            }
            dl class="facts" {
                @for (name, value) in glance(report) { div { dt { (name) } dd { (value) } } }
            }
        }
    }
}

/// Key facts at the top of the page.
fn glance(report: &Report) -> Vec<(String, String)> {
    let course = &report.course;
    let mut facts = vec![("steps".to_owned(), report.steps.to_string())];
    let mut add = |name: &str, value: f64, text: fn(f64) -> String| {
        if value.is_finite() {
            facts.push((name.to_owned(), text(value)));
        }
    };
    add("training loss", course.loss.last(), number);
    add("validation loss", course.validation_loss.last(), number);
    add("validation accuracy", course.validation_accuracy.last(), percent);
    add("best accuracy", course.validation_accuracy.max(), percent);
    add("gradient norm", course.total_norm.last(), number);
    if course.total_norm.not_finite() > 0 {
        facts.push(("not finite".into(), count(course.total_norm.not_finite(), "tracked step")));
    }
    facts.extend(report.facts.iter().cloned());
    facts
}

fn layers(report: &Report) -> Markup {
    let course = &report.course;
    let parts = [
        depth_chart(&course.profiles.three()),
        heat_map("Gradient of each layer", "RMS", &course.gradients.table()),
        heat_map("Update ratio of each parameter", "ratio", &course.updates.table()),
    ];
    html! {
        @if parts.iter().any(|part| !part.0.is_empty()) {
            section aria-labelledby="layers" {
                h2 id="layers" { "Layers" }
                div class="maps" { @for part in &parts { (part) } }
            }
        }
    }
}

fn table(rows: &[Row<'_>]) -> Markup {
    let means = || rows.iter().map(|row| row.gradient_mean.log10()).filter(|log10| log10.is_finite());
    let (low, high) = (means().fold(f64::NAN, f64::min), means().fold(f64::NAN, f64::max));
    // Even the smallest value gets a visible bar.
    let share = |row: &Row<'_>| {
        let share = 0.05 + 0.95 * (row.gradient_mean.log10() - low) / (high - low);
        if share.is_finite() { format!("--share:{:.0}%", 100.0 * share) } else { "--share:0%".into() }
    };
    html! {
        @if !rows.is_empty() {
            section aria-labelledby="parameters" {
                h2 id="parameters" { "Parameters" }
                p class="caption" {
                    "Gradient norms cover the whole run (geometric mean, minimum, maximum). All other values are the "
                    "last ones. Off: share of the layer's outputs at or below 0. Flat: share of its inputs where the "
                    "activation is flat."
                }
                div class="scroll" tabindex="0" role="region" aria-labelledby="parameters" {
                    table class="parameters" {
                        (table_head())
                        tbody { @for row in rows.iter().take(MOST_ROWS) { (table_row(row, &share(row))) } }
                    }
                }
                @if rows.len() > MOST_ROWS {
                    p class="caption" { "Showing the first " (MOST_ROWS) " of " (rows.len()) "." }
                }
            }
        }
    }
}

fn table_head() -> Markup {
    html! {
        thead {
            tr {
                th scope="col" { "Name" }
                @for name in ["Gradient norm", "Min", "Max", "Update ratio", "Weight norm", "Zeros", "Off", "Flat"] {
                    th scope="col" { (name) }
                }
            }
        }
    }
}

fn table_row(row: &Row<'_>, share: &str) -> Markup {
    html! {
        tr {
            th scope="row" {
                (row.name)
                @if let Some(step) = row.first_non_finite { " " span class="broken" { "not finite, step " (step) } }
            }
            td class="bar" style=(share) { (number_or_dash(row.gradient_mean)) }
            @for value in [row.gradient_min, row.gradient_max, row.update_ratio, row.weight_norm] {
                td { (number_or_dash(value)) }
            }
            @for value in [row.zeros, row.nonpositive, row.saturated] { td { (percent(value)) } }
        }
    }
}

/// A section of a page with a heading and a list; nothing without items.
pub fn list(id: &str, title: &str, items: &[String]) -> Markup {
    html! {
        @if !items.is_empty() {
            section aria-labelledby=(id) {
                h2 id=(id) { (title) }
                ul class="notes" { @for item in items { li { (item) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{Observation, RuleName, Severity},
        report::fixture::{finding, gradient, gradients, observe, report},
        statistics::ParameterUpdate,
    };

    #[test]
    fn names_and_configs_are_text_wherever_they_stand() {
        let script = "<script>alert(1)</script>";
        let mut hostile = report(3, vec![finding(RuleName::Vanishing, Severity::Critical, 1)]);
        let statistics = gradients(vec![gradient(script, 1.0, 1)]);
        let updates = [ParameterUpdate { name: script.into(), norm: 1.0, update_ratio: 1.0 }];
        hostile.course.add(&Observation { gradients: Some(&statistics), updates: &updates, ..observe(3, 1.0) });
        hostile.findings[0].layers = vec![script.into()];
        hostile.findings[0].cause = script.into();
        let text = || Some(script.to_owned());
        let page = html(&Report {
            title: script.into(),
            run: script.into(),
            config: text(),
            facts: vec![(script.into(), script.into())],
            notes: text().into_iter().collect(),
            not_judged: text().into_iter().collect(),
            ..hostile
        });
        assert!(page.contains("&lt;script&gt;alert(1)"));
        // The page's own script.
        assert_eq!(page.matches("<script").count(), 1);
    }

    #[test]
    fn a_page_fetches_nothing() {
        let page = html(&report(50, vec![finding(RuleName::Vanishing, Severity::Critical, 25)]));
        for outside in ["http://", "https://", "src=", "@import", "url(", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn a_run_without_steps_has_a_page_without_charts() {
        let page = html(&report(0, vec![]));
        assert!(page.contains("No steps were taken") && !page.contains("<svg") && !page.contains("<table"));
        assert!(page.contains("card unknown"));
    }

    #[test]
    fn the_page_of_a_long_run_of_a_deep_net_is_small() {
        let mut long = report(0, vec![]);
        let names: Vec<String> = (0..600).map(|index| format!("stages.{}.conv{}.weight", index / 8, index)).collect();
        for step in 0..3000u64 {
            let norm = |index: usize| 10f64.powi(-((index as u64 * 7 + step / 40 * 13) as i32 % 9));
            let parameters = names.iter().enumerate().map(|(index, name)| gradient(name, norm(index), 4)).collect();
            let update = |(index, name): (usize, &String)| ParameterUpdate {
                name: name.as_str().into(),
                norm: norm(index),
                update_ratio: norm(index),
            };
            let updates: Vec<_> = names.iter().enumerate().map(update).collect();
            let statistics = gradients(parameters);
            long.course.add(&Observation {
                gradients: Some(&statistics),
                updates: &updates,
                total_norm: 1.0 + (step % 17) as f64,
                ..observe(step, (step % 23) as f64)
            });
        }
        let page = html(&long);
        assert!(page.len() < 500_000, "{}", page.len());
        assert!(page.contains("Showing the first 400 of 600."));
    }
}

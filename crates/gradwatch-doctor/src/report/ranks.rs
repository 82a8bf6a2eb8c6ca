//! Ranks of a data-parallel run: a row per rank, and their times over the steps.

use maud::{Markup, html};
use serde::Serialize;

use super::{
    Report,
    chart::{Chart, Line},
    curves::marks,
    heat_map::heat_map,
    rank_course::{RankCourse, RankSums},
    scale::Scale,
};
use crate::diagnosis::{Finding, RankFacts};
use crate::number::{number_or_dash, percent};

/// Columns of the table.
pub(super) const COLUMNS: [&str; 8] = [
    "rank",
    "host",
    "device",
    "images per step",
    "busy, s (median)",
    "waiting, s (median)",
    "share of waiting",
    "gradient norm (median)",
];
/// Colors of lines, one per rank.
const TONES: [&str; RankCourse::LINES] = ["tone0", "tone1", "tone2", "tone3", "tone4", "tone5", "tone6", "tone7"];

/// A rank, or a place in the spread of many ranks. NaN means unknown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RankRow<'a> {
    /// Number of the rank, or `lowest`, `median`, or `highest`.
    pub name: String,
    pub host: &'a str,
    pub device: &'a str,
    pub images_per_step: f64,
    /// Medians over the tracked steps.
    pub busy_secs: f64,
    pub wait_secs: f64,
    /// Fraction of its time that the rank waited for others.
    pub wait_share: f64,
    pub grad_norm: f64,
    /// Indices into the findings of the report that are about this rank.
    pub findings: Vec<usize>,
}

/// The rows. With more than 64 ranks, the spread of all ranks, and the ranks that findings are about.
pub(super) fn rank_rows(report: &Report) -> Vec<RankRow<'_>> {
    let RankCourse { world, sums, .. } = &report.course.ranks;
    if report.course.ranks.is_listed() {
        return sums.iter().enumerate().map(|(rank, sums)| of_rank(report, rank, Some(sums))).collect();
    }
    let spread = RankCourse::PLACES.iter().zip(sums).map(|(place, sums)| RankRow {
        // The lowest busy time and the lowest waiting time are those of different ranks.
        wait_share: if *place == "median" { sums.wait_share() } else { f64::NAN },
        ..RankRow::new((*place).to_owned(), None, Some(sums))
    });
    let mut told: Vec<usize> = report.findings.iter().flat_map(|finding| &finding.ranks).copied().collect();
    told.sort_unstable();
    told.dedup();
    let told = told.into_iter().filter(|rank| rank < world).map(|rank| of_rank(report, rank, None));
    spread.chain(told).collect()
}

fn of_rank<'a>(report: &'a Report, rank: usize, sums: Option<&RankSums>) -> RankRow<'a> {
    let is_about = |(_, finding): &(usize, &Finding)| finding.ranks.contains(&rank);
    let findings = report.findings.iter().enumerate().filter(is_about).map(|(index, _)| index).collect();
    RankRow { findings, ..RankRow::new(rank.to_string(), report.ranks.get(rank), sums) }
}

impl<'a> RankRow<'a> {
    fn new(name: String, place: Option<&'a RankFacts>, sums: Option<&RankSums>) -> Self {
        let value = |value: fn(&RankSums) -> f64| sums.map_or(f64::NAN, value);
        Self {
            name,
            host: place.map_or("", |place| &place.host),
            device: place.map_or("", |place| &place.device),
            images_per_step: value(RankSums::images_per_step),
            busy_secs: value(|sums| sums.busy.value()),
            wait_secs: value(|sums| sums.wait.value()),
            wait_share: value(RankSums::wait_share),
            grad_norm: value(|sums| sums.norm.value()),
            findings: Vec::new(),
        }
    }

    /// The cells of the columns after the name.
    pub(super) fn cells(&self) -> [String; 7] {
        let text = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
        [
            text(self.host),
            text(self.device),
            number_or_dash(self.images_per_step),
            three_digits(self.busy_secs),
            three_digits(self.wait_secs),
            percent(three(self.wait_share)),
            three_digits(self.grad_norm),
        ]
    }
}

/// A value with three significant digits, which is what a median of buckets has.
fn three(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

fn three_digits(value: f64) -> String {
    number_or_dash(three(value))
}

/// Renders the section; empty for a run with one process.
pub(super) fn ranks(report: &Report) -> Markup {
    let rows = rank_rows(report);
    html! {
        @if !rows.is_empty() {
            section aria-labelledby="ranks" {
                h2 id="ranks" { "Ranks" }
                p class="caption" {
                    "Busy: loading, forward, and backward, until the rank is done. Waiting: for the other ranks. The "
                    "gradient is that of the rank's own images."
                    @if !report.course.ranks.is_listed() {
                        " Of " (report.course.ranks.world) " ranks, only the spread is recorded."
                    }
                }
                (table(report, &rows))
                div class="maps" {
                    (chart(report))
                    (heat_map("Busy time of each rank", "seconds", &report.course.ranks.grid.table()))
                }
            }
        }
    }
}

fn table(report: &Report, rows: &[RankRow<'_>]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-labelledby="ranks" {
            table class="parameters ranks" {
                thead {
                    tr { @for name in COLUMNS.into_iter().chain(["findings"]) { th scope="col" { (name) } } }
                }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { (row.name) }
                            @for cell in row.cells() { td { (cell) } }
                            td {
                                @for index in &row.findings { (link(report, *index)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Link to a finding on the page.
fn link(report: &Report, index: usize) -> Markup {
    html! {
        @if let (Some(finding), Some(number)) = (report.findings.get(index), report.number_of(index)) {
            a class={ "number " (finding.severity) } href={ "#finding-" (number) } aria-label={ "to finding " (number) } {
                (number)
            }
        }
    }
}

/// Busy time of each rank over the steps, or its spread if there are many ranks.
fn chart(report: &Report) -> Markup {
    let RankCourse { world, busy, .. } = &report.course.ranks;
    let Some(steps) = report.course.steps() else { return html! {} };
    let is_spread = *world > RankCourse::LINES;
    let name = |index: usize| match is_spread {
        true => ["fastest rank", "median", "slowest rank"][index].to_owned(),
        false => format!("rank {index}"),
    };
    let names: Vec<String> = (0..busy.len()).map(name).collect();
    let classes = if is_spread { &["first", "middle", "last"][..] } else { &TONES[..] };
    let lines = names.iter().zip(classes).zip(busy).map(|((name, class), series)| Line::of(name, class, series));
    let title = if is_spread { "Busy time of the ranks, s" } else { "Busy time of each rank, s" };
    let (lines, marks) = (lines.collect(), marks(report));
    Chart { title, lines, scale: Scale::fitting, steps, marks: &marks, class: "" }.draw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{Observation, RuleName, Severity},
        report::{
            fixture::{finding, observe, report},
            html, json, markdown,
        },
        statistics::{RankStatistics, RankStep},
    };

    /// A run with this many ranks, of which the last one is slow and has a finding.
    fn run(world: usize) -> Report {
        let about = |finding: Finding| Finding { ranks: vec![world - 1], ..finding };
        let findings = vec![
            finding(RuleName::Vanishing, Severity::Critical, 1),
            about(finding(RuleName::Straggler, Severity::Warning, 4)),
        ];
        let mut report = report(20, findings);
        let rank = |rank: usize| RankStep {
            images: 16,
            norm: 0.5,
            busy_secs: if rank == world - 1 { 0.5 } else { 0.25 },
            wait_secs: if rank == world - 1 { 0.0 } else { 0.25 },
            ..RankStep::default()
        };
        let ranks = RankStatistics { ranks: (0..world).map(rank).collect(), ..RankStatistics::default() };
        (0..20).for_each(|step| report.course.add(&Observation { ranks: Some(&ranks), ..observe(step, 1.0) }));
        let place = |rank: usize| RankFacts { host: format!("node-<{rank}>"), device: "cuda:0".into() };
        report.ranks = (0..world).map(place).collect();
        report
    }

    #[test]
    fn a_run_with_one_process_has_no_section() {
        let report = report(20, vec![]);
        assert_eq!(ranks(&report).into_string(), "");
        assert!(!html(&report).contains("Ranks") && !markdown(&report).contains("Ranks"));
        assert!(json(&report).contains("\"ranks\":[]"));
    }

    #[test]
    fn each_rank_has_a_row_a_line_and_links_to_its_findings() {
        let page = ranks(&run(3)).into_string();
        let first = "<tr><th scope=\"row\">0</th><td>node-&lt;0&gt;</td><td>cuda:0</td><td>16</td><td>0.25</td>\
                     <td>0.25</td><td>50%</td><td>0.5</td><td></td></tr>";
        assert!(page.contains(first), "{page}");
        let last = "<td>0.5</td><td>0</td><td>0%</td><td>0.5</td><td><a class=\"number warning\" href=\"#finding-2\"";
        assert!(page.contains(last), "{page}");
        for line in ["<li class=\"tone0\">rank 0 <b>0.25", "<li class=\"tone2\">rank 2 <b>0.5"] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(!page.contains("class=\"heat\""));
        assert!(html(&run(3)).contains(&page));
    }

    #[test]
    fn more_ranks_than_lines_have_a_heat_map_and_still_more_only_their_spread() {
        let page = ranks(&run(9)).into_string();
        assert!(page.contains("class=\"heat\"") && page.contains("<li class=\"last\">slowest rank <b>0.5"), "{page}");
        assert_eq!(page.matches("<th scope=\"row\">").count(), 9);
        let page = ranks(&run(100)).into_string();
        assert!(page.contains("Of 100 ranks, only the spread is recorded.") && !page.contains("class=\"heat\""));
        for row in ["<th scope=\"row\">lowest</th><td>–</td>", "<th scope=\"row\">99</th><td>node-&lt;99&gt;</td>"] {
            assert!(page.contains(row), "{row}\n{page}");
        }
        assert_eq!(page.matches("<th scope=\"row\">").count(), 4);
    }

    #[test]
    fn markdown_and_json_have_the_rows_too() {
        let text = markdown(&run(2));
        assert!(text.contains("\n## Ranks\n\n| rank | host | device | images per step |"), "{text}");
        assert!(text.contains("| 1 | node-&lt;1> | cuda:0 | 16 | 0.5 | 0 | 0% | 0.5 | 2 |"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&json(&run(2))).unwrap();
        let row = &value["ranks"][1];
        assert_eq!((&row["name"], &row["images_per_step"]), (&"1".into(), &16.0.into()));
        assert_eq!(row["findings"], serde_json::json!([1]));
        assert_eq!(row["busy_secs"], serde_json::json!(0.5));
    }
}

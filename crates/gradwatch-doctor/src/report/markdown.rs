//! The report of a run as Markdown.

use std::fmt::{Error, Write};

use super::{
    ClassRow, Report,
    classes::has_average_precisions,
    layer_table::rows,
    ranks::{COLUMNS, rank_rows},
    verdict::phrase_of,
};
use crate::config::Config;
use crate::diagnosis::Finding;
use crate::number::{count, number, number_or_dash, percent};

/// Renders the verdict, the findings, lists, classes, and a table of the layers as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, report);
    text
}

fn write(text: &mut String, report: &Report) -> Result<(), Error> {
    writeln!(text, "# {}\n\nRun {}, {}.\n", plain(&report.title), code(&report.run), count(report.steps, "step"))?;
    writeln!(text, "**{}**", plain(&report.verdict().sentence))?;
    let (findings, config) = (report.ranked(), report.parsed_config());
    if !findings.is_empty() {
        writeln!(text, "\n## Findings")?;
    }
    for (index, finding) in findings.iter().enumerate() {
        write_finding(text, config.as_ref(), index + 1, finding)?;
    }
    let (withdrawn, alarms) = (report.withdrawn_lines(), report.alarm_lines());
    let repairs: Vec<String> = report.repairs.history.lines().collect();
    let lists = [
        ("Repairs", &repairs),
        ("Withdrawn findings", &withdrawn),
        ("Alarms of other rule sets", &alarms),
        ("Not checked", &report.not_judged),
        ("Notes", &report.notes),
    ];
    for (title, items) in lists {
        if !items.is_empty() {
            writeln!(text, "\n## {title}\n")?;
        }
        items.iter().try_for_each(|item| writeln!(text, "- {}", plain(item)))?;
    }
    write_ranks(text, report)?;
    write_classes(text, report)?;
    write_layers(text, report)
}

fn write_ranks(text: &mut String, report: &Report) -> Result<(), Error> {
    let rows = rank_rows(report);
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Ranks\n\n| {} | findings |", COLUMNS.join(" | "))?;
    writeln!(text, "|---|---|---|---:|---:|---:|---:|---:|---|")?;
    rows.iter().try_for_each(|row| {
        let cells = row.cells().map(|cell| plain(&cell)).join(" | ");
        let findings = row.findings.iter().filter_map(|index| report.number_of(*index));
        let findings = findings.map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
        writeln!(text, "| {} | {cells} | {findings} |", row.name)
    })
}

fn write_classes(text: &mut String, report: &Report) -> Result<(), Error> {
    let has_areas = has_average_precisions(&report.classes);
    if !report.classes.is_empty() {
        let (name, line) = if has_areas { (" average precision |", "---:|") } else { ("", "") };
        writeln!(
            text,
            "\n## Classes\n\n| class | images | precision | recall | F1 |{name}\n|---|---:|---:|---:|---:|{line}"
        )?;
    }
    report.classes.iter().try_for_each(|ClassRow { class, images, precision, recall, f1, average_precision }| {
        let shares = [precision, recall, f1].map(|share| percent(*share)).join(" | ");
        write!(text, "| {} | {images} | {shares} |", plain(class))?;
        match average_precision {
            _ if !has_areas => writeln!(text),
            area => writeln!(text, " {} |", area.map(percent).unwrap_or_default()),
        }
    })
}

fn write_finding(text: &mut String, config: Option<&Config>, index: usize, finding: &Finding) -> Result<(), Error> {
    let Finding { rule, severity, first_step, last_step, .. } = finding;
    writeln!(text, "\n### {index}. {} ({severity}, {})\n", plain(phrase_of(finding)), code(rule.name()))?;
    writeln!(text, "{}.", plain(&finding.cause))?;
    writeln!(text, "Seen{} from step {first_step} to step {last_step}.", plain(&finding.place()))?;
    if !finding.figures.is_empty() {
        writeln!(text, "\n| value | measured | expected |\n|---|---:|---|")?;
    }
    for figure in &finding.figures {
        writeln!(text, "| {} | {} | {} |", plain(&figure.name), number(figure.seen), plain(&figure.expected))?;
    }
    if !finding.remedies.is_empty() {
        writeln!(text)?;
    }
    for (place, remedy) in finding.remedies.iter().enumerate() {
        let weights = config.and_then(|config| remedy.change.weight_transfer(config));
        let weights = weights.map_or(String::new(), |weights| format!(" (it {weights})"));
        writeln!(text, "{}. {}: {}{weights}", place + 1, code(&remedy.change.to_string()), plain(&remedy.why))?;
    }
    if !finding.symptoms.is_empty() {
        let symptoms: Vec<String> =
            finding.symptoms.iter().map(|(rule, step)| format!("{} since step {step}", code(rule.name()))).collect();
        writeln!(text, "\nCauses {}.", symptoms.join(", "))?;
    }
    Ok(())
}

fn write_layers(text: &mut String, report: &Report) -> Result<(), Error> {
    let rows = rows(&report.course);
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Layers\n")?;
    writeln!(text, "| name | gradient norm | min | max | update ratio | weight norm | zeros | off | flat |")?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for row in rows {
        let numbers = [row.gradient_mean, row.gradient_min, row.gradient_max, row.update_ratio, row.weight_norm];
        let shares = [row.zeros, row.nonpositive, row.saturated];
        let cells = numbers.map(number_or_dash).into_iter().chain(shares.map(percent));
        writeln!(text, "| {} | {} |", code(row.name), cells.collect::<Vec<_>>().join(" | "))?;
    }
    Ok(())
}

/// Escapes HTML, table cell ends, and emphasis.
fn plain(text: &str) -> String {
    let escaped = text.chars().map(|character| match character {
        '<' => "&lt;".into(),
        '&' => "&amp;".into(),
        '|' | '*' | '_' | '`' | '[' | '\\' => format!("\\{character}"),
        character if character.is_control() => " ".into(),
        character => character.to_string(),
    });
    escaped.collect()
}

/// Formats a text as code, even if it contains a backtick or a cell end.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let text = text.replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{Observation, RuleName, Severity},
        report::fixture::{finding, gradient, gradients, observe, report},
    };

    #[test]
    fn verdict_findings_and_layers_are_told() {
        let text = markdown(&report(20, vec![finding(RuleName::Vanishing, Severity::Critical, 5)]));
        for want in [
            "# MLP on digits\n\nRun `run-1`, 20 steps.\n",
            "**The run cannot succeed with these settings: the gradient vanishes",
            "### 1. the gradient vanishes on its way to the input (critical, `vanishing`)",
            "Seen in conv1 to fc from step 5 to step 25.",
            "| ratio | 1e-6 | 0.01 or more |",
            "1. `model.activation = \"relu\"`: its slope is 1\n2. ",
            "Causes `loss_plateau` since step 14.",
            "| `conv1.weight` | 0.1 | 0.1 | 0.1 | – | – | – | – | – |",
        ] {
            assert!(text.contains(want), "{want}\n{text}");
        }
    }

    #[test]
    fn names_are_not_markup() {
        let mut wrong = report(1, vec![]);
        let statistics = gradients(vec![gradient("a|`<b>`\n", 1.0, 1)]);
        wrong.course.add(&Observation { gradients: Some(&statistics), ..observe(2, 1.0) });
        wrong.title = "<script>a_b*".into();
        let text = markdown(&wrong);
        assert!(text.starts_with("# &lt;script>a\\_b\\*\n"), "{text}");
        assert!(text.contains("| `` a\\|`<b>`  `` | 1 |"), "{text}");
    }
}

//! `gradwatch inspect`: measures activations and gradients of the untrained model.

use std::fmt::Write;

use anyhow::{Context, Result};
use gradwatch::{
    gradient::ProfileSource,
    inspect::{Inspection, LayerReport, Reach, Trial, inspect, try_remedies},
    number::count,
    printable,
};
use serde::Serialize;

use super::{
    InspectArguments, TextOrJson,
    exit::Code,
    layout::{size, wrap},
    log, print,
};

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    inspection: Inspection,
    #[serde(skip_serializing_if = "Option::is_none")]
    trials: Option<Vec<Trial>>,
}

pub(super) fn run(arguments: &InspectArguments) -> Result<Code> {
    let _log = log::start(None, 0);
    let config = arguments.config.load(None)?;
    let inspection = inspect(config.clone(), arguments.batches)?;
    let tries = arguments.try_changes.then(|| try_remedies(&config, &inspection.remedies, arguments.batches));
    let report = Report { inspection, trials: tries };
    let text = match arguments.format {
        TextOrJson::Text => report.text(),
        TextOrJson::Json => serde_json::to_string_pretty(&report).context("cannot serialize the report as JSON")?,
    };
    print(&format!("{}\n", text.trim_end()))?;
    Ok(Code::Success)
}

impl Report {
    fn text(&self) -> String {
        let Self { inspection, trials } = self;
        let parts = [
            wrap(&headline(inspection), 0),
            table(inspection),
            totals(inspection),
            advice(inspection),
            trials.as_ref().map(|trials| side_by_side(inspection, trials)).unwrap_or_default(),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// The verdict in one sentence.
fn headline(Inspection { layers, ratio, findings, .. }: &Inspection) -> String {
    if let Some(worst) = findings.first() {
        return format!("{} ({}): {}", worst.rule, worst.severity, worst.cause);
    }
    match ratio {
        Some(ratio) => {
            format!(
                "ok: the gradient at the first of {} layers is {} of that at the last one",
                layers.len(),
                size(Some(*ratio))
            )
        }
        None => "ok: no findings".into(),
    }
}

/// The table with one line per layer.
fn table(Inspection { layers, source, .. }: &Inspection) -> String {
    let tapped = |figure: String| if *source == ProfileSource::PreActivations { figure } else { "-".into() };
    let width = layers
        .iter()
        .map(|layer| printable::line(&layer.seen.layer).chars().count())
        .max()
        .unwrap_or(0)
        .max("layer".len());
    let mut lines = format!(
        "{:width$} {:>8} {:>8} {:>5} {:>5} {:>8} {:>8} {:>8} {:>8}  verdict\n",
        "layer", "act rms", "act mean", "<= 0", "flat", "grad rms", "factor", "theory", "var x in"
    );
    for LayerReport { seen, factor, expected_factor, weight_scale, verdict } in layers {
        // Writing to a String cannot fail.
        let _ = writeln!(
            lines,
            "{:width$} {:>8} {:>8} {:>5} {:>5} {:>8} {:>8} {:>8} {:>8}  {verdict}",
            printable::line(&seen.layer),
            tapped(size(Some(seen.rms))),
            tapped(size(Some(seen.mean))),
            tapped(percent(seen.nonpositive_fraction)),
            tapped(percent(seen.saturated_fraction)),
            size(seen.gradient_rms),
            size(*factor),
            size(*expected_factor),
            size(*weight_scale),
        );
    }
    lines
}

fn totals(Inspection { images, loss, guess, source, slope, expected_slope, depth, .. }: &Inspection) -> String {
    let factor = |log2: f64| format!("{} (log2 {log2:+.2}", size(Some(log2.exp2())));
    let measured = slope.map_or("unknown".into(), |slope| {
        let (factor, error) = (factor(slope.log2_per_layer), slope.standard_error);
        format!("the gradient changes by {factor} +- {error:.2}) per layer in the backward pass")
    });
    let expected =
        expected_slope.map_or("theory does not apply here".into(), |log2| format!("theory expects {})", factor(log2)));
    let mut depths = count(depth.layers as u64, "layer");
    match depth.theory {
        Reach::Unknown => {}
        Reach::Any => depths += "; in theory, such networks train at any depth",
        Reach::Layers(layers) => {
            depths += &format!("; in theory, such networks train well up to {layers:.0} layers (six depth scales)");
        }
    }
    if let (Reach::Layers(layers), Some(slope)) = (depth.bound, slope) {
        let rule = if slope.log2_per_layer < 0.0 { "vanishing" } else { "exploding" };
        depths += &format!("; the measured slope reaches the {rule} threshold at {layers:.0} layers");
    }
    let loss = format!("{loss:.3} over {images} images; a random guess has {guess:.3}");
    let line = |name: &str, text: &str| wrap(&format!("{name:<10}{text}"), 10);
    let proxy = match source {
        ProfileSource::PreActivations => String::new(),
        proxy => line("grad rms", &format!("{}, as a proxy: this model exposes no activations", proxy.label())),
    };
    proxy + &line("slope", &format!("{measured}; {expected}")) + &line("depth", &depths) + &line("loss", &loss)
}

fn reach(reach: Reach) -> String {
    match reach {
        Reach::Unknown => "-".into(),
        Reach::Any => "any".into(),
        Reach::Layers(layers) => format!("{layers:.0}"),
    }
}

/// All findings after the first, which is in the headline, and the recommended changes.
fn advice(Inspection { findings, remedies, .. }: &Inspection) -> String {
    let more = findings
        .iter()
        .skip(1)
        .map(|finding| wrap(&format!("{:<10}{} ({}): {}", "also", finding.rule, finding.severity, finding.cause), 10));
    let changes = remedies.iter().map(|remedy| wrap(&format!("{:<10}{}: {}", "try", remedy.change, remedy.why), 10));
    more.chain(changes).collect()
}

/// Compares the unchanged model with each recommended change.
fn side_by_side(inspection: &Inspection, trials: &[Trial]) -> String {
    if trials.is_empty() {
        return format!("{:<10}nothing: no config change has a measurable effect before training\n", "tried");
    }
    let width = trials.iter().map(|trial| trial.change.len()).max().unwrap_or(0).max("unchanged".len());
    let row = |name: &str, inspection: &Inspection| {
        let findings: Vec<String> = inspection.findings.iter().map(|finding| finding.rule.to_string()).collect();
        format!(
            "{name:width$} {:>10} {:>7} {:>9} {:>9}  {}\n",
            size(inspection.ratio),
            inspection.slope.map_or("-".into(), |slope| format!("{:+.2}", slope.log2_per_layer)),
            reach(inspection.depth.theory),
            reach(inspection.depth.bound),
            if findings.is_empty() { "none".into() } else { findings.join(", ") }
        )
    };
    let mut lines = format!(
        "{:width$} {:>10} {:>7} {:>9} {:>9}  findings\n",
        "change", "first/last", "slope", "by theory", "by bound"
    );
    lines += &row("unchanged", inspection);
    for trial in trials {
        match (&trial.inspection, &trial.error) {
            (Some(inspection), _) => lines += &row(&trial.change, inspection),
            (None, error) => {
                let error = error.as_deref().unwrap_or_default();
                lines += &wrap(&format!("{:width$} {error}", trial.change), width + 1);
            }
        }
    }
    lines
}

fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share)
}

//! `gradwatch find-lr`: suggests a learning rate after a range test.

use std::{
    fmt::Write,
    io::{IsTerminal, stderr},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::Args;
use gradwatch::{
    disk::Output,
    number::{short, two_digits},
    range_test::{RangeEnding, RangeStep, RangeTest, Rates, Suggestion, range_test},
};
use indicatif::{MultiProgress, ProgressBar};
use serde::Serialize;

use super::{
    ConfigArguments, TextOrJson, counted,
    exit::Code,
    layout::{size, wrap},
    log, print, tell_written,
};

/// Most rows of the table.
const ROWS: usize = 25;
/// Columns of the bar for the loss of the first step.
const BAR: f64 = 30.0;
/// Longest bar, relative to that of the first step.
const MOST: f64 = 1.4;

#[derive(Debug, Args)]
pub(super) struct FindLrArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Lowest learning rate.
    #[arg(long, value_name = "RATE", default_value = "1e-7", allow_hyphen_values = true)]
    from: f64,
    /// Highest learning rate.
    #[arg(long, value_name = "RATE", default_value = "10", allow_hyphen_values = true)]
    to: f64,
    /// Number of optimizer steps. More steps reduce the noise of single batches.
    #[arg(long, value_name = "N", default_value = "100", value_parser = counted(100_000))]
    steps: usize,
    /// Draw loss and gradient norm over the learning rate.
    #[arg(long, value_name = "FILE.png", value_parser = clap::value_parser!(PathBuf))]
    output: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long, requires = "output")]
    force: bool,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

#[derive(Serialize)]
struct Report<'a> {
    suggestion: Option<&'a Suggestion>,
    reason: String,
    /// Reason to doubt the suggestion.
    doubt: Option<String>,
    ending: RangeEnding,
    steps: &'a [RangeStep],
}

pub(super) fn run(arguments: &FindLrArguments) -> Result<Code> {
    let bars = stderr().is_terminal().then(MultiProgress::new);
    let _log = log::start(bars.clone(), 0);
    let rates = Rates::new(arguments.from, arguments.to, arguments.steps)?;
    let output = arguments.output.as_ref().map(|path| Output::choose(path, arguments.force)).transpose()?;
    let config = arguments.config.load(None)?;
    let bar = bars.map(|bars| bars.add(ProgressBar::new(rates.steps() as u64)));
    let test = range_test(config, rates, |_| bar.iter().for_each(|bar| bar.inc(1)))?;
    bar.iter().for_each(ProgressBar::finish_and_clear);
    let report = match arguments.format {
        TextOrJson::Text => text(&test),
        TextOrJson::Json => json(&test)?,
    };
    match output {
        None => print(&report)?,
        Some(mut output) => {
            // Before the report: a full stdout costs only that.
            output.write(&test.draw()?.png)?;
            let is_stdout_free = !output.is_stdout();
            if is_stdout_free {
                print(&report)?;
            }
            if arguments.format == TextOrJson::Text || !is_stdout_free {
                tell_written(&output, &verdict(&test));
            }
        }
    }
    Ok(if test.suggestion.is_ok() { Code::Success } else { Code::Finding })
}

fn json(test: &RangeTest) -> Result<String> {
    let RangeTest { steps, ending, suggestion, .. } = test;
    let (suggestion, reason, doubt) = (suggestion.as_ref().ok(), reason(test), doubt(test));
    let report = Report { suggestion, reason, doubt, ending: *ending, steps };
    Ok(serde_json::to_string_pretty(&report).context("cannot serialize the report as JSON")? + "\n")
}

fn text(test: &RangeTest) -> String {
    let line = |name: &str, text: &str| wrap(&format!("{name:<12}{text}"), 12);
    let mut text = table(test) + &line("ended", &ending(test)) + &line("suggestion", &reason(test));
    if let Ok(suggestion) = &test.suggestion {
        let rate = two_digits(suggestion.learning_rate);
        text += &line(
            "use",
            &format!(
                "--set optimizer.learning_rate={rate}; it is the peak of the schedule, and parameter groups scale it. \
                 The test ignored schedule and warm-up"
            ),
        );
    }
    if let Some(doubt) = doubt(test) {
        text += &line("but", &doubt);
    }
    text
}

/// Reason to doubt the suggestion.
fn doubt(test: &RangeTest) -> Option<String> {
    let suggestion = test.suggestion.as_ref().ok().filter(|_| test.is_like_guessing())?;
    Some(format!(
        "the loss only falls to {}, about that of a guess ({}): the network may learn nothing but the frequencies of the \
         classes; look for vanishing gradients with `gradwatch inspect`, or take more --steps",
        short(suggestion.lowest_loss),
        short(test.guess)
    ))
}

fn reason(test: &RangeTest) -> String {
    match &test.suggestion {
        Ok(suggestion) => suggestion.to_string(),
        Err(none) => none.to_string(),
    }
}

/// The suggestion in a few words.
fn verdict(test: &RangeTest) -> String {
    let rate = test.suggestion.as_ref().ok().map(|suggestion| two_digits(suggestion.learning_rate));
    rate.map_or("no suggestion".into(), |rate| format!("suggested learning rate {rate}"))
}

/// The losses and norms at evenly spaced learning rates, with a bar for the smoothed loss.
fn table(RangeTest { steps, suggestion, .. }: &RangeTest) -> String {
    let mut lines =
        format!("{:>13} {:>9} {:>9} {:>9}  smoothed loss\n", "learning rate", "loss", "smoothed", "grad norm");
    let nth = steps.len().div_ceil(ROWS).max(1);
    let last = steps.len().saturating_sub(1);
    let shown: Vec<&RangeStep> = steps
        .iter()
        .enumerate()
        .filter(|(index, _)| index % nth == 0 || *index == last)
        .map(|(_, step)| step)
        .collect();
    let suggested = suggestion.as_ref().ok().map(|suggestion| suggestion.learning_rate.log10());
    let distance = |step: &RangeStep| suggested.map_or(f64::INFINITY, |rate| (step.learning_rate.log10() - rate).abs());
    let nearest = shown.iter().map(|step| distance(step)).fold(f64::INFINITY, f64::min);
    let unit = steps.first().map_or(1.0, |first| first.smoothed_loss) / BAR;
    for step in shown {
        let RangeStep { learning_rate, loss, smoothed_loss, total_norm } = *step;
        let is_nearest = suggested.is_some() && distance(step) == nearest;
        let bar = "#".repeat((smoothed_loss / unit).round().clamp(0.0, MOST * BAR) as usize);
        let row = format!(
            "{:>13} {:>9} {:>9} {:>9}  {bar}{}",
            two_digits(learning_rate),
            size(Some(loss)),
            size(Some(smoothed_loss)),
            size(Some(total_norm)),
            if is_nearest { " <- suggestion" } else { "" }
        );
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{}", row.trim_end());
    }
    lines
}

fn ending(RangeTest { steps, ending, rates, .. }: &RangeTest) -> String {
    let last = steps.last().map_or("-".into(), |step| two_digits(step.learning_rate));
    match ending {
        RangeEnding::Finished => format!("at the highest learning rate, {}", two_digits(rates.ends()[1])),
        RangeEnding::Diverged => format!("at {last}: the smoothed loss exceeded four times its minimum"),
        RangeEnding::NotFinite => format!("at {last}: the loss or the gradient was no longer finite"),
    }
}

//! Charts of a run.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    Theme,
    chart::{Axis, Chart, Drawn, Mark},
    curve::Curve,
    text,
};
use crate::{
    report::Series,
    watch::{RunModel, ViewState},
};

/// A chart of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Panel {
    Loss,
    Accuracy,
    GradientNorm,
    LearningRate,
    Speed,
    Waiting,
}

impl Panel {
    /// All charts.
    pub(super) const ALL: [Self; 6] =
        [Self::Loss, Self::Accuracy, Self::GradientNorm, Self::LearningRate, Self::Speed, Self::Waiting];

    /// Whether the run has values for the chart.
    pub(super) fn has_values(self, model: &RunModel) -> bool {
        let course = &model.report.course;
        let all: &[&Series] = match self {
            Self::Loss => &[&course.loss, &course.train_loss, &course.validation_loss],
            Self::Accuracy => &[&course.train_accuracy, &course.validation_accuracy],
            Self::GradientNorm => &[&course.total_norm],
            Self::LearningRate => &[&course.learning_rate],
            Self::Speed => &[&model.speed],
            Self::Waiting => &[&model.waiting],
        };
        all.iter().any(|series| !series.buckets().is_empty())
    }

    fn title(self, model: &RunModel) -> &'static str {
        match self {
            Self::Loss => "Loss",
            Self::Accuracy => "Accuracy",
            Self::GradientNorm => "Gradient norm (log)",
            Self::LearningRate => "Learning rate",
            Self::Speed if model.images_per_step.is_some() => "Images/s",
            Self::Speed => "Steps/s",
            Self::Waiting => "Waiting for data",
        }
    }

    fn without(self) -> &'static str {
        match self {
            Self::Loss => "the files have no loss",
            Self::Accuracy => "the files have no accuracy",
            Self::GradientNorm => "the files have no gradient norm",
            Self::LearningRate => "the files have no learning rate",
            Self::Speed => "no speed before two steps",
            Self::Waiting => "only runs of several ranks record it",
        }
    }

    fn axis(self, state: &ViewState) -> Axis {
        match self {
            Self::GradientNorm => Axis::Log,
            Self::Accuracy | Self::Waiting => Axis::Linear,
            _ if state.is_log => Axis::Log,
            Self::Loss => Axis::Fitting,
            _ => Axis::Linear,
        }
    }

    fn curves(self, model: &RunModel, state: &ViewState, theme: Theme) -> Vec<Drawn> {
        let course = &model.report.course;
        let (train, validation) = (theme.train(), theme.validation());
        match self {
            Self::Loss => vec![
                line(&course.loss, state, "train", text::figure, train),
                symbols(&course.validation_loss, state, 'o', "validation", text::figure, validation),
                symbols(&course.train_loss, state, 'x', "train mean", text::figure, train),
            ],
            Self::Accuracy => vec![
                symbols(&course.validation_accuracy, state, 'o', "validation", text::share, validation),
                symbols(&course.train_accuracy, state, 'x', "train", text::share, train),
            ],
            Self::GradientNorm => vec![line(&course.total_norm, state, "", text::figure, train)],
            Self::LearningRate => vec![line(&course.learning_rate, state, "", text::figure, train)],
            Self::Speed => {
                let images = model.images_per_step.unwrap_or(1) as f64;
                let mut drawn = line(&model.speed, state, "", text::figure, train);
                drawn.curve = drawn.curve.scaled(images);
                drawn.labels = model.steps_per_sec.map(|rate| text::figure(rate * images)).into_iter().collect();
                vec![drawn]
            }
            Self::Waiting => vec![line(&model.waiting, state, "", text::share, train)],
        }
    }

    /// Draws the chart into an area.
    pub(super) fn draw(self, buffer: &mut Buffer, area: Rect, model: &RunModel, state: &ViewState, theme: Theme) {
        let marks: Vec<(u64, usize)> =
            model.report.ranked().iter().zip(1..).map(|(finding, number)| (finding.first_step, number)).collect();
        let all = model.report.course.steps().map_or([0, 1], |(first, last)| [first, last]);
        let mut title = self.title(model).to_owned();
        let is_marked_log = state.is_log && matches!(self, Self::Loss | Self::LearningRate | Self::Speed);
        title.push_str(if is_marked_log { " (log)" } else { "" });
        if state.weight() > 0.0 {
            title.push_str(&format!(" ~{}", state.weight()));
        }
        let mut chart = Chart {
            title: &title,
            curves: self.curves(model, state, theme),
            axis: self.axis(state),
            steps: state.range.unwrap_or(all),
            marks: &marks,
            without: self.without(),
        };
        if self == Self::Loss && !model.report.course.loss.buckets().is_empty() && !chart.names_all(area.width) {
            // Marks without a name would be a riddle, and the line shows the same as the mean of its values.
            chart.curves.pop();
        }
        chart.draw(buffer, area, theme);
    }
}

fn line(series: &Series, state: &ViewState, name: &str, figure: fn(f64) -> String, style: Style) -> Drawn {
    Drawn { curve: Curve::of(series, state), mark: Mark::Line, style, labels: labels(series, name, figure) }
}

fn symbols(
    series: &Series,
    state: &ViewState,
    symbol: char,
    name: &str,
    figure: fn(f64) -> String,
    style: Style,
) -> Drawn {
    Drawn { mark: Mark::Symbol(symbol), ..line(series, state, name, figure, style) }
}

/// Name and last value, and the same with a shorter name; nothing without values.
fn labels(series: &Series, name: &str, figure: fn(f64) -> String) -> Vec<String> {
    if series.buckets().is_empty() {
        return Vec::new();
    }
    let latest = text::latest(series, figure);
    if name.is_empty() {
        return vec![latest];
    }
    let short = if name == "validation" { "val" } else { name };
    vec![format!("{name} {latest}"), format!("{short} {latest}")]
}

//! Shows training progress: a bar per epoch, or plain log lines without a terminal.

use std::{
    fmt,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::Reading;
use crate::{evaluation::Metrics, number::short};

/// Time between two log lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of the current epoch.
pub struct Progress {
    style: Style,
    images_per_epoch: u64,
    max_epochs: Option<u64>,
    /// Name of [`Reading::accuracy`].
    accuracy: &'static str,
    epoch: u64,
    images: u64,
    /// Number of these images that an earlier session used.
    images_before: u64,
    epoch_started: Instant,
    last_line: Instant,
}

enum Style {
    Bar(MultiProgress, ProgressBar),
    Lines,
    Silent,
}

impl Progress {
    /// Shows a bar below the log lines of `terminal`, or plain log lines without one.
    pub fn new(
        terminal: Option<MultiProgress>,
        images_per_epoch: u64,
        max_epochs: Option<u64>,
        is_multi_label: bool,
    ) -> Self {
        let style = match terminal {
            Some(terminal) => Style::Bar(terminal, ProgressBar::hidden()),
            None => Style::Lines,
        };
        Self::with(style, images_per_epoch, max_epochs, is_multi_label)
    }

    /// Shows nothing, on a rank other than 0.
    pub(crate) fn silent() -> Self {
        Self::with(Style::Silent, 0, None, false)
    }

    fn with(style: Style, images_per_epoch: u64, max_epochs: Option<u64>, is_multi_label: bool) -> Self {
        let now = Instant::now();
        Self {
            style,
            images_per_epoch,
            max_epochs,
            accuracy: if is_multi_label { "exact match" } else { "accuracy" },
            epoch: 0,
            images: 0,
            images_before: 0,
            epoch_started: now,
            last_line: now,
        }
    }

    /// Starts an epoch of which an earlier session used `images` images.
    pub(crate) fn start_epoch(&mut self, epoch: u64, images: u64) {
        (self.epoch, self.images, self.epoch_started) = (epoch, images, Instant::now());
        self.images_before = images;
        let name = self.epoch_name();
        if let Style::Bar(terminal, bar) = &mut self.style {
            *bar = terminal.add(ProgressBar::new(self.images_per_epoch).with_style(bar_style()).with_prefix(name));
            bar.set_position(images);
            bar.reset_eta();
        }
    }

    pub(crate) fn add_images(&mut self, images: u64) {
        self.images += images;
        if let Style::Bar(_, bar) = &self.style {
            bar.inc(images);
        }
    }

    pub(crate) fn show(&mut self, learning_rate: f64, reading: &Reading) {
        let figures = format!(
            "loss {:.4}  {} {:.1}%  lr {}  grad norm {}{}",
            reading.loss,
            self.accuracy,
            100.0 * reading.accuracy,
            short(learning_rate),
            short(reading.total_norm),
            if reading.clip_coef < 1.0 { format!("  clip {:.2}", reading.clip_coef) } else { String::new() },
        );
        match &self.style {
            Style::Bar(_, bar) => bar.set_message(figures),
            Style::Lines if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                let per_second = (self.images - self.images_before) as f64 / self.epoch_started.elapsed().as_secs_f64();
                let left = self.images_per_epoch.saturating_sub(self.images) as f64 / per_second;
                tracing::info!(
                    "{}  {}/{} images  {per_second:.0}/s  {left:.0} s left  {figures}",
                    self.epoch_name(),
                    self.images,
                    self.images_per_epoch
                );
            }
            Style::Lines | Style::Silent => {}
        }
    }

    pub(crate) fn evaluation(
        &self,
        step: u64,
        training: &Metrics,
        validation: &Metrics,
        of_ema: Option<&Metrics>,
        is_best: bool,
    ) {
        let of_ema = of_ema.map(|ema| format!(", EMA {}", ema.headline())).unwrap_or_default();
        tracing::info!(
            "{} step {step}: train loss {:.4} {}, validation loss {:.4} {} F1 {:.4}{of_ema}{}",
            self.epoch_name(),
            training.loss,
            training.headline(),
            validation.loss,
            validation.headline(),
            validation.f1,
            if is_best { " (best so far)" } else { "" },
        );
    }

    pub(crate) fn finish_epoch(&mut self) {
        if let Style::Bar(_, bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    fn epoch_name(&self) -> String {
        let of = self.max_epochs.map(|epochs| format!("/{epochs}")).unwrap_or_default();
        format!("epoch {}{of}", self.epoch + 1)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish_epoch();
    }
}

fn bar_style() -> ProgressStyle {
    let template = "{prefix} {bar:20.cyan} {percent:>3}%  {rate} images/s  ETA {eta:>4}  {wide_msg}";
    // The template is constant. The fallback is the default bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Ignores errors of a terminal that cannot be written.
        let _ = write!(out, "{:.0}", state.per_sec());
    };
    style.with_key("rate", rate)
}

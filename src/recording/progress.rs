//! Shows training progress: a bar per epoch, or plain log lines without a terminal.

use std::{
    fmt,
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::Reading;
use crate::{evaluation::Metrics, number::short};

/// Time between two log lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The part of a run that is left at the start of an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Left {
    /// Training images up to the last step; infinity without a limit.
    pub images: f64,
    /// Time up to `run.max_minutes`.
    pub time: Option<Duration>,
}

/// Progress of the current epoch, with the time to the end of the run.
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
    /// At the start of the epoch.
    left: Left,
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
            left: Left { images: f64::INFINITY, time: None },
            epoch_started: now,
            last_line: now,
        }
    }

    /// Starts an epoch of which an earlier session used `images` images.
    pub(crate) fn start_epoch(&mut self, epoch: u64, images: u64, left: Left) {
        (self.epoch, self.images, self.epoch_started) = (epoch, images, Instant::now());
        (self.images_before, self.left) = (images, left);
        let name = self.epoch_name();
        let length = self.length();
        if let Style::Bar(terminal, bar) = &mut self.style {
            *bar = terminal.add(ProgressBar::new(length).with_style(bar_style()).with_prefix(name));
            bar.set_position(images);
        }
    }

    /// Images of the epoch, as far as the run gets.
    fn length(&self) -> u64 {
        // Beyond 2^53 images, the cast does not matter.
        self.images_per_epoch.min(self.images_before.saturating_add(self.left.images as u64))
    }

    /// Images per second in this epoch, and the time to the end of the run; `None` if nothing limits it.
    fn rate(&self) -> (f64, Option<Duration>) {
        let (images, elapsed) = (self.images - self.images_before, self.epoch_started.elapsed());
        let per_second = images as f64 / elapsed.as_secs_f64();
        let by_images = Duration::try_from_secs_f64((self.left.images - images as f64).max(0.0) / per_second).ok();
        let by_time = self.left.time.map(|time| time.saturating_sub(elapsed));
        (per_second, by_images.into_iter().chain(by_time).min())
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
        let (per_second, left) = self.rate();
        let left = left.map_or("no limit".to_owned(), |left| format!("{:#} left", HumanDuration(left)));
        match &self.style {
            Style::Bar(_, bar) => bar.set_message(format!("{left}  {figures}")),
            Style::Lines if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                tracing::info!(
                    "{}  {}/{} images  {per_second:.0}/s  {left}  {figures}",
                    self.epoch_name(),
                    self.images,
                    self.length()
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
    let template = "{prefix} {bar:20.cyan} {percent:>3}%  {rate} images/s  {wide_msg}";
    // The template is constant. The fallback is the default bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Ignores errors of a terminal that cannot be written.
        let _ = write!(out, "{:.0}", state.per_sec());
    };
    style.with_key("rate", rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After 1000 of 6000 images in 10 s.
    fn progress(images: f64, minutes: Option<u64>) -> Progress {
        let mut progress = Progress::new(None, 6000, Some(3), false);
        let time = minutes.map(|minutes| Duration::from_secs(60 * minutes));
        progress.start_epoch(0, 0, Left { images, time });
        progress.add_images(1000);
        progress.epoch_started -= Duration::from_secs(10);
        progress
    }

    #[test]
    fn the_time_left_is_that_of_the_run_and_not_of_the_epoch() {
        let left = |images, minutes| progress(images, minutes).rate().1.map(|left| left.as_secs_f64().round());
        // 17,000 images at 100 a second.
        assert_eq!(left(18_000.0, None), Some(170.0));
        // 60 steps of 50 images.
        assert_eq!(left(3000.0, None), Some(20.0));
        assert_eq!(left(18_000.0, Some(2)), Some(110.0));
        assert_eq!((left(f64::INFINITY, Some(2)), left(f64::INFINITY, None)), (Some(110.0), None));
        assert_eq!((progress(3000.0, None).length(), progress(18_000.0, None).length()), (3000, 6000));
    }
}

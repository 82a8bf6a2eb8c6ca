//! What the user has chosen to see.

use std::{collections::BTreeSet, path::PathBuf};

/// A page of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Page {
    /// The most important panels that fit.
    #[default]
    Overview,
    /// All curves.
    Curves,
    /// Heat map and depth profile.
    Layers,
    /// Findings with their evidence and changes.
    Findings,
    /// Ranks, GPUs, and waiting times.
    System,
}

impl Page {
    /// All pages, in the order of their keys.
    pub const ALL: [Self; 5] = [Self::Overview, Self::Curves, Self::Layers, Self::Findings, Self::System];

    /// Title of the page.
    pub fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Curves => "Curves",
            Self::Layers => "Layers",
            Self::Findings => "Findings",
            Self::System => "System",
        }
    }

    /// The page after this one, or before it with -1.
    pub fn next(self, by: isize) -> Self {
        let count = Self::ALL.len() as isize;
        let index = Self::ALL.iter().position(|page| *page == self).unwrap_or_default() as isize;
        Self::ALL[(index + by).rem_euclid(count) as usize]
    }
}

/// Statistic of the heat map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeatKind {
    /// Root mean square of the gradient.
    #[default]
    Gradient,
    /// Update norm over parameter norm.
    UpdateRatio,
    /// Share of activations that are 0 or less.
    Activations,
}

impl HeatKind {
    /// The next statistic.
    pub fn next(self) -> Self {
        match self {
            Self::Gradient => Self::UpdateRatio,
            Self::UpdateRatio => Self::Activations,
            Self::Activations => Self::Gradient,
        }
    }
}

/// What the user has chosen to see.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ViewState {
    /// Page of a run.
    pub page: Page,
    /// Whether the help covers the screen.
    pub has_help: bool,
    /// Whether losses, rates, and speeds are on a logarithmic axis. Gradient norms always are.
    pub is_log: bool,
    /// Index in [`ViewState::SMOOTHING`].
    pub smoothing: usize,
    /// First and last step to show; `None` is all.
    pub range: Option<[u64; 2]>,
    /// Statistic of the heat map.
    pub heat: HeatKind,
    /// Part of the names of the layers, or of the runs in a table, to show.
    pub search: String,
    /// Whether keys extend the search.
    pub is_searching: bool,
    /// Selected finding, and its selected change.
    pub finding: usize,
    /// Selected change of the finding.
    pub remedy: usize,
    /// First row of a long list.
    pub scroll: usize,
    /// Selected run of the table.
    pub selected: usize,
    /// Runs whose loss curves are drawn over each other.
    pub marks: BTreeSet<PathBuf>,
    /// Answer to the last key.
    pub message: Option<String>,
    /// Whether the run was opened from a table.
    pub has_table: bool,
}

impl ViewState {
    /// Weights of the past in the exponential moving average of curves, as in TensorBoard.
    pub const SMOOTHING: [f64; 4] = [0.0, 0.6, 0.9, 0.97];

    /// Weight of the past in the moving average.
    pub fn weight(&self) -> f64 {
        Self::SMOOTHING.get(self.smoothing).copied().unwrap_or_default()
    }

    /// Halves the range of steps (`by` 0.5), or doubles it (`by` 2). A range that ends at the last step keeps its end,
    /// any other its middle.
    pub fn zoom(&mut self, [first, last]: [u64; 2], by: f64) {
        let [from, to] = self.range.unwrap_or([first, last]);
        let width = (((to - from) as f64) * by).round().max(1.0);
        if width >= (last - first) as f64 {
            self.range = None;
            return;
        }
        let from = if to >= last { last as f64 - width } else { 0.5 * (from as f64 + to as f64 - width) };
        let from = (from.max(first as f64) as u64).min(last - width as u64);
        self.range = Some([from, from + width as u64]);
    }

    /// Moves the range by a share of its width.
    pub fn pan(&mut self, [first, last]: [u64; 2], by: f64) {
        let Some([from, to]) = self.range else { return };
        let width = to - from;
        let moved = from as f64 + (by * width as f64).round();
        let from = moved.clamp(first as f64, last.saturating_sub(width).max(first) as f64) as u64;
        self.range = Some([from, from + width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zoom_keeps_the_end_of_a_growing_run_and_the_middle_of_the_past() {
        let mut state = ViewState::default();
        state.zoom([0, 1000], 0.5);
        assert_eq!(state.range, Some([500, 1000]));
        state.pan([0, 1000], -0.5);
        assert_eq!(state.range, Some([250, 750]));
        state.zoom([0, 1000], 0.5);
        assert_eq!(state.range, Some([375, 625]));
        state.pan([0, 1000], -9.0);
        assert_eq!(state.range, Some([0, 250]));
        state.pan([0, 1000], 9.0);
        assert_eq!(state.range, Some([750, 1000]));
        state.zoom([0, 1000], 2.0);
        assert_eq!(state.range, Some([500, 1000]));
        state.zoom([0, 1000], 2.0);
        assert_eq!(state.range, None);
    }

    #[test]
    fn a_run_of_one_step_cannot_be_zoomed() {
        let mut state = ViewState::default();
        state.zoom([7, 7], 0.5);
        state.pan([7, 7], 1.0);
        assert_eq!(state.range, None);
    }

    #[test]
    fn pages_and_statistics_go_round() {
        assert_eq!(Page::System.next(1), Page::Overview);
        assert_eq!(Page::Overview.next(-1), Page::System);
        assert_eq!(HeatKind::default().next().next().next(), HeatKind::Gradient);
    }
}

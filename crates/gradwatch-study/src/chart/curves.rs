//! Series of runs over their steps, read from event files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gradwatch_doctor::config::matches;

use super::Point;
use crate::{
    gather::{absence, read_series},
    groups::Statistics,
    results::Results,
};

/// Most points of a curve to draw. A chart is about as many pixels wide.
const MOST_POINTS: u64 = 400;

/// Values by step.
type Steps = BTreeMap<u64, f64>;

/// The series of the runs of a study.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curves {
    /// By row of the results and tag.
    series: HashMap<(usize, String), Steps>,
    /// Tags of all runs, of any kind of data.
    tags: BTreeSet<String>,
    /// Files that could not be read completely, one line each.
    pub notes: Vec<String>,
}

impl Curves {
    /// Reads the series of all runs. In a tag, `*` stands for any characters; the series of all tags that match are
    /// averaged at each step.
    pub fn read(results: &Results, tags: &[&str]) -> Self {
        let mut curves = Self::default();
        for (row, run) in results.rows.iter().enumerate() {
            if tags.is_empty() || !run.folder.is_dir() {
                continue;
            }
            let found = read_series(&run.folder, tags);
            for pattern in tags {
                let of_pattern = found.series.iter().filter(|(tag, _)| matches(pattern, tag));
                curves.insert(row, pattern, mean(of_pattern.map(|(_, series)| series)));
            }
            let note = |(file, problem): (String, String)| format!("{} {problem}", run.folder.join(file).display());
            curves.notes.extend(found.damaged.into_iter().map(note));
            curves.tags.extend(found.tags);
        }
        curves
    }

    /// Adds the series of a run.
    pub fn insert(&mut self, row: usize, tag: &str, series: Steps) {
        self.tags.extend((!series.is_empty()).then(|| tag.to_owned()));
        self.series.insert((row, tag.to_owned()), series);
    }

    /// Whether a run has values of a tag.
    pub(super) fn has(&self, row: usize, tag: &str) -> bool {
        self.get(row, tag).is_some_and(|series| !series.is_empty())
    }

    /// Says that no run has a tag, with similar ones.
    pub(super) fn absence(&self, tag: &str) -> String {
        absence(tag, &self.tags)
    }

    fn get(&self, row: usize, tag: &str) -> Option<&Steps> {
        self.series.get(&(row, tag.to_owned()))
    }

    /// Number of steps to average in each point, so that the longest series has few enough points: 1, 2, 5, 10, ...
    pub(super) fn steps_per_point<'a>(&self, rows: impl Iterator<Item = &'a usize>, tag: &str) -> u64 {
        let steps = |series: &Steps| Some((series.last_key_value()?.0 - series.first_key_value()?.0, series.len()));
        let long =
            rows.filter_map(|row| steps(self.get(*row, tag)?)).filter(|(_, points)| *points as u64 > MOST_POINTS);
        let needed = long.map(|(steps, _)| steps.div_ceil(MOST_POINTS)).max().unwrap_or(1);
        gradwatch_doctor::picture::axis::each_nth(1.0, needed.try_into().unwrap_or(u32::MAX)) as u64
    }

    /// Statistics of the runs at each step. A run that has no finite value at a step that others have is missing there.
    pub(super) fn points(&self, rows: &[usize], tag: &str, width: u64, group: usize) -> Vec<Point> {
        let series: Vec<Steps> = rows.iter().map(|row| averaged(self.get(*row, tag), width)).collect();
        let first = |series: &Steps| series.iter().find(|(_, value)| !value.is_finite()).map(|(step, _)| *step);
        let firsts: Vec<Option<u64>> = series.iter().map(first).collect();
        let steps: BTreeSet<u64> = series.iter().flat_map(|series| series.keys().copied()).collect();
        let point = |step: u64| {
            let values: Vec<f64> = series.iter().map(|series| series.get(&step).copied().unwrap_or(f64::NAN)).collect();
            let x = step as f64 + (width - 1) as f64 / 2.0;
            Point {
                x,
                label: x.to_string(),
                statistics: Statistics::of(&values),
                diverged: firsts.iter().filter(|first| **first == Some(step)).count(),
                runs: rows.to_vec(),
                group,
            }
        };
        steps.into_iter().map(point).collect()
    }
}

/// Means over `width` steps, by the first of them.
fn averaged(series: Option<&Steps>, width: u64) -> Steps {
    let first = |(step, value): (&u64, &f64)| (step - step % width.max(1), *value);
    means(series.into_iter().flatten().map(first))
}

/// Mean of several series at each step that any of them has.
fn mean<'a>(series: impl Iterator<Item = &'a Steps>) -> Steps {
    means(series.flatten().map(|(step, value)| (*step, *value)))
}

fn means(values: impl Iterator<Item = (u64, f64)>) -> Steps {
    let mut sums: BTreeMap<u64, (f64, u32)> = BTreeMap::new();
    for (step, value) in values {
        let (sum, count) = sums.entry(step).or_default();
        (*sum, *count) = (*sum + value, *count + 1);
    }
    sums.into_iter().map(|(step, (sum, count))| (step, sum / f64::from(count))).collect()
}

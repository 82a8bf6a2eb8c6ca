//! A rank that is slower than the others, which wait for it in every step.
//!
//! A step takes as long as its slowest rank. Each tracked step compares the time of a rank with the median of the others.
//! Over 100 tracked steps, the median of these ratios must be 15% or more, and that of the differences 5 ms or more:
//! less is hardly worth a search, and may be jitter of the clock or the network. As these are medians, slow steps of a
//! checkpoint or an evaluation do not count unless every second step has one. The median of the ratios must also be seven
//! standard errors above 1, so that steps of very different lengths cause no alarm.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Facts, Figure, Observation, Remedy, Severity, Symptom, course::median},
    number::{Rounded, two_digits},
    statistics::RankStep,
};

/// Share by which a rank takes longer than the median of the others.
pub(in super::super) const SHARE: f64 = 0.15;
/// Least difference, in seconds.
const LEAST_SECS: f64 = 0.005;
/// Tracked steps per window, and fewest of them in which a rank must have images.
const READINGS: usize = 100;
const LEAST_READINGS: usize = 50;
/// Standard errors between the median and 0.
const ERRORS: f64 = 7.0;
/// Standard error of the median of n normal values: this times their standard deviation / sqrt(n).
const ERROR_OF_MEDIAN: f64 = 1.2533;
/// Standard deviation of normal values over their median absolute deviation.
const NORMAL: f64 = 1.4826;
/// Part of the difference from which loading is its cause.
const LOADING: f64 = 0.5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Straggler {
    /// Lags of each rank in the current window. As for `starvation`, a checkpoint does not keep what concerns a machine.
    #[serde(skip)]
    lags: Vec<Vec<Lag>>,
    #[serde(skip)]
    readings: usize,
}

/// A rank compared with the median of the others in one step.
#[derive(Debug, Clone, Copy)]
struct Lag {
    /// Logarithm of its time over that of the others.
    ratio: f64,
    /// The same for the time per image.
    per_image: f64,
    /// Difference in seconds.
    secs: f64,
    /// Difference of the seconds spent waiting for images.
    loading_secs: f64,
}

/// Lag of a rank over a window.
struct Slow {
    rank: usize,
    /// Medians; the ratio is not logarithmic.
    ratio: f64,
    secs: f64,
    /// Sum of the seconds by which the rank was later than the others.
    lost_secs: f64,
    reason: Reason,
}

/// Why a rank is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It has more images.
    Images,
    /// It waits for images.
    Loading,
    /// It computes more slowly.
    Compute,
}

impl Rule for Straggler {
    fn name(&self) -> RuleName {
        RuleName::Straggler
    }

    fn needs(&self) -> Ways {
        &[&[Need::Ranks]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        self.add(&seen.ranks?.recorded().ranks);
        if self.readings < READINGS {
            return None;
        }
        let world = self.lags.len();
        let lags = std::mem::take(self).lags;
        let slow =
            lags.into_iter().enumerate().filter_map(|(rank, lags)| slow(rank, &lags, context.thresholds.straggler));
        let mut slow: Vec<Slow> = slow.collect();
        slow.sort_by(|one, other| other.lost_secs.total_cmp(&one.lost_secs));
        symptom(&slow, world, seen.step, context)
    }
}

impl Straggler {
    /// Adds a step with at least two ranks that had images.
    fn add(&mut self, ranks: &[RankStep]) {
        if self.lags.len() != ranks.len() {
            *self = Self { lags: vec![Vec::new(); ranks.len()], readings: 0 };
        }
        let is_timed = |rank: &RankStep| rank.images > 0 && rank.busy_secs.is_finite() && rank.busy_secs > 0.0;
        let timed: Vec<(usize, &RankStep)> = ranks.iter().enumerate().filter(|(_, rank)| is_timed(rank)).collect();
        if timed.len() < 2 {
            return;
        }
        let busy = Others::of(timed.iter().map(|(_, rank)| rank.busy_secs));
        let per_image = Others::of(timed.iter().map(|(_, rank)| rank.busy_secs / rank.images as f64));
        let loading = Others::of(timed.iter().map(|(_, rank)| rank.loading_secs));
        for (rank, step) in timed {
            let others = busy.median_without(step.busy_secs);
            let per_one = step.busy_secs / step.images as f64;
            self.lags[rank].push(Lag {
                ratio: (step.busy_secs / others).ln(),
                per_image: (per_one / per_image.median_without(per_one)).ln(),
                secs: step.busy_secs - others,
                loading_secs: step.loading_secs - loading.median_without(step.loading_secs),
            });
        }
        self.readings += 1;
    }
}

/// Values of all ranks in ascending order.
struct Others(Vec<f64>);

impl Others {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    /// Median of all values but this one, which is among them; the upper one of two middle values.
    fn median_without(&self, value: f64) -> f64 {
        let Self(values) = self;
        let place = values.partition_point(|other| other.total_cmp(&value).is_lt());
        let middle = (values.len() - 1) / 2;
        values[if middle >= place { middle + 1 } else { middle }]
    }
}

/// The lag of a rank over a window, if it is slow.
fn slow(rank: usize, lags: &[Lag], share: f64) -> Option<Slow> {
    let of = |value: fn(&Lag) -> f64| median(lags.iter().map(value).collect());
    let (ratio, secs, least) = (of(|lag| lag.ratio), of(|lag| lag.secs), (1.0 + share).ln());
    let deviation = NORMAL * median(lags.iter().map(|lag| (lag.ratio - ratio).abs()).collect());
    let error = ERROR_OF_MEDIAN * deviation / (lags.len() as f64).sqrt();
    if lags.len() < LEAST_READINGS || ratio < least.max(ERRORS * error) || secs < LEAST_SECS {
        return None;
    }
    let reason = if of(|lag| lag.per_image) < least {
        Reason::Images
    } else if of(|lag| lag.loading_secs) >= LOADING * secs {
        Reason::Loading
    } else {
        Reason::Compute
    };
    let lost_secs = lags.iter().map(|lag| lag.secs.max(0.0)).sum();
    Some(Slow { rank, ratio: ratio.exp(), secs, lost_secs, reason })
}

/// The symptom of the slow ranks, the slowest one first.
fn symptom(slow: &[Slow], world: usize, step: u64, context: &RuleContext<'_>) -> Option<Symptom> {
    let worst = slow.first()?;
    let &Slow { rank, ratio, secs, lost_secs, reason } = worst;
    let facts = context.facts;
    let figures = vec![
        Figure {
            name: format!("time of rank {rank} over the median of the others"),
            seen: ratio,
            expected: format!("below {:.2}", 1.0 + context.thresholds.straggler),
        },
        Figure { name: format!("seconds by which rank {rank} is later"), seen: secs, expected: "0".into() },
        Figure {
            name: format!("seconds that each other rank lost in {READINGS} tracked steps"),
            seen: lost_secs,
            expected: "0".into(),
        },
    ];
    let why = match reason {
        Reason::Images => "it has more images per step",
        Reason::Loading => "it waits for images",
        Reason::Compute => "it computes more slowly",
    };
    let others = match world {
        2 => "the other rank waits".to_owned(),
        world => format!("the other {} ranks wait", world - 1),
    };
    let more = match slow.len() {
        1 => String::new(),
        _ => {
            let ranks: Vec<usize> = slow[1..].iter().map(|slow| slow.rank).collect();
            format!("; {} {} slow too", facts.rank_names(&ranks), if ranks.len() == 1 { "is" } else { "are" })
        }
    };
    let cause = format!(
        "{} takes {:.0}% longer than the others ({} ms per step), because {why}, and {others} for it: {:.1} s in the \
         {READINGS} tracked steps up to step {step}{more}",
        facts.rank_name(rank),
        Rounded(100.0 * (ratio - 1.0)),
        two_digits(1e3 * secs),
        Rounded(lost_secs)
    );
    // An uneven split is a choice, which may cost less than other batches.
    let severity =
        if slow.iter().all(|slow| slow.reason == Reason::Images) { Severity::Info } else { Severity::Warning };
    let ranks = slow.iter().map(|slow| slow.rank).collect();
    Some(Symptom { severity, layers: Vec::new(), ranks, figures, cause, remedies: remedies(worst, world, context) })
}

fn remedies(slow: &Slow, world: usize, context: &RuleContext<'_>) -> Vec<Remedy> {
    let host = host(slow.rank, context.facts);
    match slow.reason {
        Reason::Images => vec![Remedy::advice(
            &format!("optimizer.accumulation_steps that is a multiple of the {world} ranks"),
            "gives each rank the same number of images",
        )],
        Reason::Loading => {
            let workers = context.config.map(|config| {
                let more = 2 * config.data.workers.max(1);
                Remedy::config("data.workers", more, "decodes and augments images with more threads")
            });
            let disk = Remedy::advice(
                &format!("compare the disk of {host} with those of the other ranks"),
                "a slow or busy disk delays every image",
            );
            workers.into_iter().chain([disk]).collect()
        }
        Reason::Compute => {
            let device = context.facts.ranks.get(slow.rank).map_or("", |facts| &facts.device);
            let speed = if device.starts_with("cuda") {
                Remedy::advice(
                    &format!("nvidia-smi -q -d CLOCK,TEMPERATURE,PERFORMANCE on {host}"),
                    "shows low clocks and thermal throttling",
                )
            } else {
                Remedy::advice(
                    "run.threads, so that the ranks of a host have a core for each thread",
                    "threads that share a core slow each other down",
                )
            };
            let shared = Remedy::advice(
                &format!("look for other processes on {host}"),
                "they take a share of its device, cores, and memory bandwidth",
            );
            vec![speed, shared]
        }
    }
}

/// The host of a rank, or the rank if its host is not known.
fn host(rank: usize, facts: &Facts) -> String {
    match facts.ranks.get(rank).map(|facts| &*facts.host) {
        None | Some("") => format!("the host of rank {rank}"),
        Some(host) => format!("host {host}"),
    }
}

#[cfg(test)]
mod tests;

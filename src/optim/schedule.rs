//! The learning rate at each step, as a pure function of the step.

use std::f64::consts::PI;

use crate::config::{OptimizerConfig, ScheduleConfig, ScheduleName};

/// The rates of an optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Step size.
    pub learning_rate: f64,
    /// Momentum of SGD and RMSprop; first beta of all other optimizers.
    pub momentum: f64,
}

/// Length of a run in optimizer steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Steps per epoch.
    pub steps_per_epoch: u64,
    /// Steps of the whole run, as far as they are known in advance.
    pub total_steps: u64,
}

/// Maximum number of half waves to add up one by one; beyond that, the geometric series gives their sum.
const MOST_SUMMED: f64 = 10_000.0;

/// A learning rate schedule over one run.
#[derive(Debug, Clone)]
pub struct Schedule {
    config: ScheduleConfig,
    peak: Rates,
    span: Span,
    warmup_steps: u64,
}

impl Schedule {
    /// Creates the schedule of `config`. It peaks at the optimizer's own rates.
    pub fn new(config: &ScheduleConfig, optimizer: &OptimizerConfig, span: Span) -> Self {
        let momentum = if optimizer.name.has_momentum() { optimizer.momentum } else { optimizer.betas[0] };
        let peak = Rates { learning_rate: optimizer.learning_rate, momentum };
        let from_epochs = (config.warmup_epochs * span.steps_per_epoch as f64).round() as u64;
        let warmup_steps = config.warmup_steps.saturating_add(from_epochs);
        Self { config: config.clone(), peak, span, warmup_steps }
    }

    /// Steps of the whole run, as far as they are known in advance.
    pub fn total_steps(&self) -> u64 {
        self.span.total_steps
    }

    /// Number of warm-up steps.
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps
    }

    /// The rates at `step`, counted from 0. After the end of the run, the rates keep their last value.
    pub fn at(&self, step: u64) -> Rates {
        if step < self.warmup_steps {
            let (from, share) = (self.config.warmup_learning_rate, step as f64 / self.warmup_steps as f64);
            let to = self.after_warmup(0).learning_rate;
            return Rates { learning_rate: from + (to - from) * share, momentum: self.after_warmup(0).momentum };
        }
        self.after_warmup(step - self.warmup_steps)
    }

    fn after_warmup(&self, step: u64) -> Rates {
        let Rates { learning_rate, momentum } = self.peak;
        let steps = self.span.total_steps.saturating_sub(self.warmup_steps).max(1);
        let config = &self.config;
        let epoch = step as f64 / self.span.steps_per_epoch as f64;
        let share = (step as f64 / steps as f64).min(1.0);
        let learning_rate = match config.name {
            // The plateau schedule depends on evaluations, not on steps.
            ScheduleName::Constant | ScheduleName::Plateau => learning_rate,
            ScheduleName::Step => learning_rate * config.decay_rate.powf((epoch / config.decay_epochs).floor()),
            ScheduleName::Multistep => {
                let passed = config.milestones.iter().filter(|&&milestone| milestone <= epoch).count();
                learning_rate * config.decay_rate.powi(passed as i32)
            }
            // As in timm and torch, the minimum is reached one step after the last.
            ScheduleName::Cosine if config.restart_epochs == 0.0 => {
                cosine(learning_rate, config.min_learning_rate, share)
            }
            ScheduleName::Cosine => cosine(learning_rate, config.min_learning_rate, self.share_since_restart(epoch)),
            ScheduleName::Polynomial => {
                let lowest = config.min_learning_rate;
                lowest + (learning_rate - lowest) * (1.0 - share).powf(config.power)
            }
            ScheduleName::OneCycle => return self.one_cycle(step.min(steps - 1), steps),
        };
        Rates { learning_rate, momentum }
    }

    /// Completed fraction of the current half wave.
    fn share_since_restart(&self, epoch: f64) -> f64 {
        let (mut start, mut length) = (0.0, self.config.restart_epochs);
        // With a factor of 1, there can be any number of half waves.
        if self.config.restart_factor == 1.0 {
            return (epoch / length).fract();
        }
        let growth = self.config.restart_factor - 1.0;
        let whole = (1.0 + epoch * growth / length).log(self.config.restart_factor).floor() - 1.0;
        if whole > MOST_SUMMED {
            let grown = self.config.restart_factor.powf(whole);
            (start, length) = (length * (grown - 1.0) / growth, length * grown);
        }
        while epoch >= start + length {
            start += length;
            length *= self.config.restart_factor;
        }
        ((epoch - start) / length).max(0.0)
    }

    /// torch.optim.lr_scheduler.OneCycleLR with two phases and cosine annealing.
    fn one_cycle(&self, step: u64, steps: u64) -> Rates {
        let config = &self.config;
        let start = self.peak.learning_rate / config.div_factor;
        let end = start / config.final_div_factor;
        let top = config.pct_start * steps as f64 - 1.0;
        let last = steps as f64 - 1.0;
        let step = step as f64;
        let (learning_rate, towards_base) = if step <= top {
            // A warm-up shorter than one step starts at the peak.
            let share = if top > 0.0 { step / top } else { 1.0 };
            (cosine(start, self.peak.learning_rate, share), share)
        } else {
            let share = (step - top) / (last - top);
            (cosine(self.peak.learning_rate, end, share), 1.0 - share)
        };
        let cycled = cosine(config.max_momentum, config.base_momentum, towards_base);
        let momentum = if config.cycle_momentum && self.peak.momentum > 0.0 { cycled } else { self.peak.momentum };
        Rates { learning_rate, momentum }
    }
}

/// Half a cosine from `from` (share 0) to `to` (share 1).
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) / 2.0 * (1.0 + (PI * share).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, Metric},
        optim::Plateau,
    };

    fn schedule(toml: &str, total_steps: u64) -> Schedule {
        let head =
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\noptimizer.learning_rate = 0.8\n";
        let config = Config::parse(&format!("{head}{toml}"), "test").unwrap();
        Schedule::new(&config.schedule, &config.optimizer, Span { steps_per_epoch: 10, total_steps })
    }

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-12 * want.abs().max(1e-12), "got {got}, want {want}");
    }

    #[test]
    fn a_step_schedule_decays_every_so_many_epochs() {
        let schedule = schedule("schedule = { name = \"step\", decay_epochs = 1.5, decay_rate = 0.5 }", 100);
        for (step, want) in [(0, 0.8), (14, 0.8), (15, 0.4), (29, 0.4), (30, 0.2)] {
            close(schedule.at(step).learning_rate, want);
        }
    }

    #[test]
    fn a_cosine_runs_from_the_peak_to_the_minimum() {
        let schedule = schedule("schedule = { name = \"cosine\", min_learning_rate = 0.2 }", 100);
        // 0.2 + 0.6 / 2 * (1 + cos(pi * step / 100))
        for (step, want) in [(0, 0.8), (50, 0.5), (100, 0.2), (1000, 0.2)] {
            close(schedule.at(step).learning_rate, want);
        }
        close(schedule.at(33).learning_rate, 0.2 + 0.3 * (1.0 + (0.33 * PI).cos()));
    }

    #[test]
    fn a_warm_up_rises_linearly_to_where_the_schedule_starts_and_delays_it() {
        let toml = "schedule = { name = \"cosine\", warmup_steps = 5, warmup_epochs = 0.5, warmup_learning_rate = 0 }";
        let schedule = schedule(toml, 110);
        for (step, want) in [(0, 0.0), (5, 0.4), (10, 0.8), (60, 0.4), (110, 0.0)] {
            assert!((schedule.at(step).learning_rate - want).abs() < 1e-12, "{step}");
        }
    }

    /// Reference values from tests/golden/schedule.py.
    fn golden(name: &str) -> Vec<f64> {
        let all: serde_json::Value = serde_json::from_str(include_str!("../../tests/golden/schedule.json")).unwrap();
        all[name].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    #[test]
    fn every_schedule_equals_torchs_or_timms() {
        // Ten steps per epoch.
        for (name, toml) in [
            ("step", "name = \"step\", decay_epochs = 1.5, decay_rate = 0.5"),
            ("multistep", "name = \"multistep\", milestones = [1, 2.5]"),
            ("cosine", "name = \"cosine\", min_learning_rate = 0.2"),
            ("cosine_restarts", "name = \"cosine\", min_learning_rate = 0.2, restart_epochs = 1, restart_factor = 2"),
            ("polynomial", "name = \"polynomial\", power = 2"),
            ("one_cycle", "name = \"one_cycle\""),
            (
                "warmup_cosine",
                "name = \"cosine\", min_learning_rate = 0.2, warmup_steps = 5, warmup_learning_rate = 1e-3",
            ),
        ] {
            let schedule = schedule(&format!("schedule = {{ {toml} }}"), 40);
            let want = golden(name);
            assert_eq!(want.len(), 40);
            for (step, want) in want.into_iter().enumerate() {
                let got = schedule.at(step as u64).learning_rate;
                assert!((got - want).abs() <= 1e-12 * want, "{name} at {step}: {got} {want}");
            }
        }
        let one_cycle = schedule("schedule.name = \"one_cycle\"", 40);
        for (step, want) in golden("one_cycle_momentum").into_iter().enumerate() {
            close(one_cycle.at(step as u64).momentum, want);
        }
    }

    #[test]
    fn a_plateau_lowers_the_rate_as_torch_does() {
        let head = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";
        let toml = format!("{head}schedule = {{ name = \"plateau\", decay_rate = 0.5, patience = 2 }}");
        let config = Config::parse(&toml, "test").unwrap();
        let mut plateau = Plateau::new(&config.schedule, Metric::Loss, 0.8);
        for (metric, want) in golden("plateau_metrics").into_iter().zip(golden("plateau")) {
            plateau.add(metric);
            close(0.8 * plateau.scale(), want);
        }
        assert!(plateau.scale() < 1.0);
    }

    #[test]
    fn half_waves_of_one_length_follow_each_other() {
        let schedule = schedule("schedule = { name = \"cosine\", restart_epochs = 2 }", 100);
        for (step, want) in [(0, 0.8), (10, 0.4), (20, 0.8), (30, 0.4), (1_000_020, 0.8)] {
            close(schedule.at(step).learning_rate, want);
        }
    }

    #[test]
    fn half_waves_that_grow_follow_each_other_however_many_there_are() {
        // The first half wave takes 0.001 epochs, each next one 1.001 times as long: n of them take 1.001^n - 1 epochs.
        let schedule =
            schedule("schedule = { name = \"cosine\", restart_epochs = 0.001, restart_factor = 1.001 }", 100);
        let share = |waves: f64| schedule.share_since_restart(1.001f64.powf(waves) - 1.0);
        for waves in [3.5, 200.5, 9_000.5, 12_000.5, 20_000.5] {
            // Halfway through a wave in terms of its growth: (1.001^0.5 - 1) / 0.001.
            assert!((share(waves) - (1.001f64.sqrt() - 1.0) / 0.001).abs() < 1e-4, "{waves}: {}", share(waves));
        }
        let flat =
            self::schedule("schedule = { name = \"cosine\", restart_epochs = 0.001, restart_factor = 1.0000001 }", 100);
        let started = std::time::Instant::now();
        assert!((0.0..=1.0).contains(&flat.share_since_restart(1e9)));
        assert!(started.elapsed().as_secs() < 5);
    }

    #[test]
    fn one_cycle_leaves_momentum_alone_where_it_is_told_to() {
        let schedule = schedule("schedule = { name = \"one_cycle\", cycle_momentum = false }", 20);
        assert!((0..20).all(|step| schedule.at(step).momentum == 0.9));
    }

    #[test]
    fn every_rate_of_a_very_short_one_cycle_is_a_number() {
        for (total_steps, pct_start) in [(1, 0.3), (2, 0.3), (3, 0.3), (10, 0.1), (10, 0.9)] {
            let toml = format!("schedule = {{ name = \"one_cycle\", pct_start = {pct_start} }}");
            let schedule = schedule(&toml, total_steps);
            for step in 0..total_steps + 2 {
                let Rates { learning_rate, momentum } = schedule.at(step);
                assert!(learning_rate > 0.0 && learning_rate <= 0.8, "{learning_rate} at {step} of {total_steps}");
                assert!((0.85..=0.95).contains(&momentum), "{momentum} at {step} of {total_steps}");
            }
        }
    }
}

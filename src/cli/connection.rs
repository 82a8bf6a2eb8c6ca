//! One rank of a data-parallel run: connects it to the others, and ends it with them.

use anyhow::{Error, Result};
use gradwatch::{
    config::{Config, Difference, differences},
    distributed::{DistributedError, Limits, Ranks, Topology},
    evaluation::EvaluationError,
    libtorch::resolve_device,
    number::count,
    train::TrainError,
};
use tch::Device;

use super::exit::Code;

/// Keys that may differ between the machines of a run.
const OF_MACHINE: [&str; 7] =
    ["run.device", "run.logdir", "data.path", "data.validation_path", "data.workers", "model.path", "model.weights"];

/// Most ranks to name in the log.
const MOST_NAMES: usize = 8;

/// The connection of this process to the other ranks, if there are any.
pub(super) struct Connection {
    topology: Option<Topology>,
    ranks: Ranks,
    /// The device of this rank; `None` leaves it to the config.
    pub device: Option<Device>,
}

impl Connection {
    /// Reads the variables of the launcher. Connects to nobody yet.
    pub(super) fn from_environment() -> Result<Self> {
        Ok(Self { topology: Topology::from_environment()?, ranks: Ranks::alone(), device: None })
    }

    /// Whether another rank owns the run folder.
    pub(super) fn is_follower(&self) -> bool {
        self.topology.as_ref().is_some_and(|topology| topology.rank > 0)
    }

    /// Number of this rank.
    pub(super) fn rank(&self) -> usize {
        self.topology.as_ref().map_or(0, |topology| topology.rank)
    }

    pub(super) fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Connects to the other ranks, and checks that they have the same config.
    pub(super) fn join(&mut self, config: &Config) -> Result<()> {
        let Some(topology) = self.topology.clone().filter(|topology| topology.world > 1) else { return Ok(()) };
        let device = device_of(&config.run.device, topology.local_rank)?;
        self.ranks = Ranks::join(topology, device, Limits::of(&config.distributed))?;
        self.device = Some(device);
        self.ranks.check_same("config", &keys(config), difference)?;
        self.announce(config.optimizer.accumulation_steps);
        Ok(())
    }

    fn announce(&self, micro_batches: usize) {
        let world = self.ranks.world();
        let names: Vec<String> = (0..world).take(MOST_NAMES).map(|rank| self.ranks.name(rank)).collect();
        let more = if world > MOST_NAMES { ", ..." } else { "" };
        tracing::info!("{world} ranks: {}{more}", names.join(", "));
        if !micro_batches.is_multiple_of(world) {
            tracing::warn!(
                "optimizer.accumulation_steps = {micro_batches}: a step has {} for {world} ranks, so some of them wait; \
                 set it to a multiple of {world}",
                count(micro_batches as u64, "micro-batch")
            );
        }
    }

    /// Ends this rank with the others: tells them the error, if it began here.
    pub(super) fn finish(&self, result: Result<Code>) -> Result<Code> {
        match &result {
            Ok(_) => self.ranks.leave(),
            Err(error) if is_of_other_rank(error) => {}
            Err(error) => self.ranks.report_failure(&format!("{error:#}").replace('\n', " ")),
        }
        result
    }
}

/// The keys of a config that are not of one machine, one per line, without those at their default.
fn keys(config: &Config) -> String {
    let keys = differences(&Config::default(), config).into_iter().filter(|key| !OF_MACHINE.contains(&&*key.key));
    let value = |key: &Difference| key.after.as_ref().map_or_else(|| "not set".to_owned(), ToString::to_string);
    keys.map(|key| format!("{} = {}", key.key, value(&key))).collect::<Vec<_>>().join("\n")
}

/// The keys in which two configs differ.
fn difference(first: &str, own: &str) -> String {
    let missing = |from: &str, of: &str| -> Vec<String> {
        let lines: Vec<&str> = of.lines().collect();
        from.lines().filter(|line| !lines.contains(line)).map(str::to_owned).collect()
    };
    let text = |lines: Vec<String>| if lines.is_empty() { "the default".to_owned() } else { lines.join(", ") };
    format!("{}, and rank 0 has {}", text(missing(own, first)), text(missing(first, own)))
}

/// The device of a rank: with several GPUs, each rank of a machine has its own.
fn device_of(name: &str, local_rank: usize) -> Result<Device> {
    let device = resolve_device(name)?;
    let gpus = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    Ok(match device {
        // With CUDA_VISIBLE_DEVICES, a launcher may show each rank a single GPU.
        Device::Cuda(_) if !name.contains(':') && gpus > 1 => resolve_device(&format!("cuda:{local_rank}"))?,
        device => device,
    })
}

/// Whether an error is that another rank is gone.
pub(super) fn is_of_other_rank(error: &Error) -> bool {
    let is_lost = |error: &DistributedError| matches!(error, DistributedError::Lost(_));
    match (error.downcast_ref::<DistributedError>(), error.downcast_ref::<TrainError>()) {
        (Some(error), _) | (_, Some(TrainError::Distributed(error))) => is_lost(error),
        (_, Some(TrainError::Evaluation(EvaluationError::Distributed(error)))) => is_lost(error),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(keys: &str) -> Config {
        Config::parse(&format!("data.source = \"synthetic\"\nmodel.name = \"mlp\"\n{keys}"), "test").unwrap()
    }

    #[test]
    fn only_keys_of_the_experiment_have_to_be_equal() {
        let one = config("run = { max_epochs = 1, logdir = \"a\", device = \"cpu\" }\noptimizer.learning_rate = 0.5");
        let other = config("run = { max_epochs = 1, logdir = \"b\", device = \"cuda:1\" }");
        assert_ne!(keys(&one), keys(&other));
        assert_eq!(difference(&keys(&one), &keys(&other)), "the default, and rank 0 has optimizer.learning_rate = 0.5");
        let same = config("run = { max_epochs = 1, logdir = \"c\" }\noptimizer.learning_rate = 0.5");
        assert_eq!(keys(&one), keys(&same));
    }
}

//! What the ranks of a step share besides gradients: losses, predictions, the statistics of batch normalization, and
//! figures about themselves.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tch::{Device, Kind, Tensor};

use super::{State, TrainError, group::Group, rank_telemetry, running_statistics::RunningStatistics};
use crate::{
    config::{DistributedConfig, MonitorPreset, Reduction},
    data::Batch,
    distributed::{LocalGradients, Ranks},
    evaluation::{Tally, Targets},
    gradient::{Due, MicroBatchNorms, RankStatistics, WeightMismatch},
    libtorch::{HostBlock, HostValues, Part, host_copy, is_dense},
    model::{Network, SyncBatchNorm},
};

/// Returns the indices of the images of a batch.
pub(super) type ImagesOf<'a> = &'a dyn Fn(usize) -> Vec<u32>;

/// What this rank collects during a step for the others, and learns from them.
pub(super) struct Sharing {
    pub statistics: RunningStatistics,
    /// Batch normalization over all ranks, if that is asked for.
    pub sync: Option<SyncBatchNorm>,
    /// Row of each micro-batch of this rank: the sums of the tally, then the statistics; f64.
    rows: Vec<(usize, Tensor)>,
    /// Whether the gradients are summed micro-batch by micro-batch.
    is_by_micro_batch: bool,
    /// Start of the step.
    started: Instant,
    /// Time that the step spent on images.
    loading: Duration,
    /// Time that this rank had waited for others at the start of the step.
    waited: Duration,
    /// Time that this rank had waited for others when it last told so.
    told: Duration,
    /// What all ranks told about the current step, if it is read.
    figures: Option<Figures>,
    /// Result of the check of the weights in this step.
    pub mismatch: Option<WeightMismatch>,
}

/// What all ranks told about a step, still on the device.
struct Figures {
    seconds: Vec<[f64; 3]>,
    images: Vec<u64>,
    weights: Vec<f64>,
    /// `[micro-batches]`, f64.
    losses: Tensor,
    /// `[ranks, parameters]`, f64.
    squares: Tensor,
    /// Numbers of the micro-batches in the epoch.
    first_batch: usize,
}

/// Locates the figures of the ranks in a [`HostBlock`].
pub(super) struct FigureParts {
    losses: Part,
    squares: Part,
    loss_scale: Option<Part>,
}

impl Sharing {
    pub(super) fn new(
        network: &Network,
        device: Device,
        config: &DistributedConfig,
        ranks: &Ranks,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            is_by_micro_batch: config.reduction == Reduction::Exact,
            sync: config.sync_batch_norm.then(|| SyncBatchNorm::new(ranks)),
            statistics: RunningStatistics::new(network, device)?,
            rows: Vec::new(),
            started: Instant::now(),
            loading: Duration::ZERO,
            waited: Duration::ZERO,
            told: Duration::ZERO,
            figures: None,
            mismatch: None,
        })
    }

    /// Starts a step, before its images are loaded.
    pub(super) fn start_step(&mut self, waited: Duration) {
        (self.started, self.waited) = (Instant::now(), waited);
        (self.figures, self.mismatch) = (None, None);
        self.rows.clear();
    }

    /// The images of the step are here.
    pub(super) fn finish_loading(&mut self) {
        self.loading = self.started.elapsed();
    }

    /// Adds the figures of the step to `block`. No sync.
    pub(super) fn add_to(
        &self,
        loss_scale: Option<&Tensor>,
        block: &mut HostBlock,
    ) -> Result<Option<FigureParts>, TrainError> {
        let Some(Figures { losses, squares, .. }) = &self.figures else { return Ok(None) };
        let loss_scale = loss_scale.map(|scale| block.add(scale)).transpose()?;
        Ok(Some(FigureParts { losses: block.add(losses)?, squares: block.add(squares)?, loss_scale }))
    }

    /// The statistics of the ranks in the step, and the norms for the noise scale. `names` are those of the parameters;
    /// `images_of` returns the indices of the images of a batch.
    pub(super) fn rank_statistics(
        &self,
        parts: &FigureParts,
        values: &HostValues,
        total_norm: f64,
        names: &[Arc<str>],
        images_of: ImagesOf<'_>,
    ) -> Option<(RankStatistics, Option<MicroBatchNorms>)> {
        let told = self.figures.as_ref()?;
        let scale = parts.loss_scale.as_ref().map_or(1.0, |part| values[part][0]);
        let squares: Vec<f64> = values[&parts.squares].iter().map(|square| square / scale.powi(2)).collect();
        let figures = rank_telemetry::RankFigures {
            seconds: &told.seconds,
            images: &told.images,
            weights: &told.weights,
            losses: &values[&parts.losses],
            squares: &squares,
            is_by_micro_batch: self.is_by_micro_batch,
            total_norm,
        };
        let statistics = figures.statistics(names, |number| images_of(told.first_batch + number));
        Some((RankStatistics { mismatch: self.mismatch.clone(), ..statistics }, figures.noise()))
    }
}

/// A sum over the bits of f32 elements, which every flipped bit changes: `[]`, i64.
fn sum_of_bits(tensor: &Tensor) -> Result<Tensor, TrainError> {
    let count = tensor.numel() as i64;
    if !is_dense(tensor) {
        return Ok(tensor.f_view_dtype(Kind::Int)?.f_sum(Kind::Int64)?);
    }
    // In pairs, because a sum without a conversion takes a fraction of the time. The order in memory is the same on all
    // ranks.
    let flat = tensor.f_as_strided([count], [1], None)?;
    let pairs = flat.f_narrow(0, 0, count - count % 2)?.f_view_dtype(Kind::Int64)?.f_sum(Kind::Int64)?;
    Ok(pairs.f_add(&flat.f_narrow(0, count - count % 2, count % 2)?.f_view_dtype(Kind::Int)?.f_sum(Kind::Int64)?)?)
}

impl State {
    /// Counts the results of a micro-batch.
    pub(super) fn count(
        &mut self,
        number: usize,
        batch: &Batch,
        group: &Group,
        logits: &Tensor,
        targets: &Targets,
        loss_sum: &Tensor,
    ) -> Result<(), TrainError> {
        let tally = &mut self.evaluations.tally;
        let Some(sharing) = &mut self.sharing else {
            return Ok(tally.add(logits, &targets.labels, loss_sum, self.model.loss.weight_of(batch))?);
        };
        let mut statistics = sharing.statistics.finish_micro_batch()?;
        if let Some(sync) = &sharing.sync {
            sync.finish()?;
            // Statistics of all ranks update the running ones once.
            if !group.is_first_of_round(number, self.ranks.world()) {
                statistics = statistics.f_zeros_like()?;
            }
        }
        if group.has_images(number) {
            let sums = tally.sums_of(logits, &targets.labels, loss_sum)?;
            sharing.rows.push((number, Tensor::f_cat(&[sums, statistics], 0)?));
        }
        Ok(())
    }

    /// Sums the gradients, losses, and statistics of all ranks. From here on, all ranks have the same ones.
    pub(super) fn reduce(&mut self, group: &Group) -> Result<(), TrainError> {
        let (Some(sharing), Some(reducer)) = (&mut self.sharing, &self.gradients.reducer) else { return Ok(()) };
        let waited = self.ranks.waited();
        let busy = sharing.started.elapsed().saturating_sub(waited.saturating_sub(sharing.waited));
        let LocalGradients { is_reached, squares } = reducer.finish_sending()?;
        let micro_batches = group.images.len() as i64;
        let sums = Tally::SUMS as i64;
        let width = sums + sharing.statistics.width();
        let rows = Tensor::f_zeros([micro_batches, width], (Kind::Double, self.model.numerics.device()))?;
        for (number, row) in sharing.rows.drain(..) {
            rows.f_select(0, number as i64)?.f_copy_(&row)?;
        }
        // Adding zeros is exact: each rank fills rows of its own.
        self.ranks.sum(&rows)?;
        let seconds = [busy, sharing.loading, waited.saturating_sub(sharing.told)].map(|time| time.as_secs_f64());
        sharing.told = waited;
        let reached = is_reached.iter().map(|reached| f64::from(u8::from(*reached)));
        let told = self.ranks.gather(&seconds.into_iter().chain(reached).collect::<Vec<_>>())?;
        let is_reached: Vec<bool> =
            (0..is_reached.len()).map(|param| told.iter().any(|words| words[seconds.len() + param] > 0.0)).collect();
        // All ranks agree on what is read, because it depends on the step alone.
        let monitor = &self.config.monitor;
        if monitor.preset != MonitorPreset::Off && Due::at(self.counters.step, monitor).reading {
            sharing.figures = Some(Figures {
                seconds: told.iter().map(|words| [words[0], words[1], words[2]]).collect(),
                images: group.images.clone(),
                weights: group.weights.clone(),
                losses: rows.f_select(1, 0)?,
                squares: self.ranks.concatenate(&squares.f_unsqueeze(0)?)?,
                first_batch: group.numbers.start,
            });
        }
        reducer.finish(&is_reached)?;
        if let Some(monitor) = &self.gradients.monitor {
            monitor.include_gradients();
        }
        self.evaluations.tally.add_sums(&rows.f_narrow(1, 0, sums)?, group.all_images(), group.loss_weight)?;
        sharing.statistics.update(&rows.f_narrow(1, sums, width - sums)?)?;
        let is_present = |number: &i64| group.images[*number as usize] > 0;
        let share = |number: i64| -> Result<Tensor, TrainError> {
            let loss_sum = rows.f_select(0, number)?.f_select(0, 0)?.f_to_kind(Kind::Float)?;
            Ok(loss_sum.f_div_scalar(group.weight)?)
        };
        let shares = (0..micro_batches).filter(is_present).map(share).collect::<Result<Vec<_>, _>>()?;
        self.gradients.set_loss(&shares)
    }

    /// Checks every `distributed.check_weights_every_steps` steps that all ranks have the same weights. Device sync on
    /// these steps.
    pub(super) fn check_weights(&mut self) -> Result<(), TrainError> {
        let every = self.config.distributed.check_weights_every_steps;
        let is_due = every > 0 && self.counters.step > 0 && self.counters.step.is_multiple_of(every);
        let Some(sharing) = self.sharing.as_mut().filter(|_| is_due) else { return Ok(()) };
        let (mut names, mut tensors, mut sums) = (Vec::<Arc<str>>::new(), Vec::new(), Vec::new());
        let is_float = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.numel() > 0;
        for parameter in self.model.network.parameters.iter().filter(|parameter| is_float(&parameter.tensor)) {
            names.push(parameter.name.as_str().into());
            tensors.push(parameter.tensor.f_detach()?);
            sums.push(sum_of_bits(&parameter.tensor.f_detach()?)?);
        }
        // Exact in f64. A flipped bit changes a sum by a power of 2, which is no multiple of this number.
        let sums = Tensor::f_stack(&sums, 0)?.f_remainder((1_i64 << 52) - 1)?;
        let told = self.ranks.gather(&host_copy(&sums)?)?;
        sharing.mismatch = rank_telemetry::mismatch(&names, &told, |tensor| {
            let largest = host_copy(&tensors[tensor].f_abs()?.f_max()?)?;
            Ok::<_, TrainError>(self.ranks.gather(&largest)?.concat())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_changes_the_sum_and_a_layout_does_not() {
        for count in [1, 6, 7] {
            let values = Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.37 - 1.0;
            let sum = |tensor: &Tensor| sum_of_bits(tensor).unwrap().remainder((1_i64 << 52) - 1).int64_value(&[]);
            let before = sum(&values);
            let bits = values.view_dtype(Kind::Int);
            for (element, bit) in (0..count).flat_map(|element| (0..32).map(move |bit| (element, bit))) {
                let one = bits.narrow(0, element, 1);
                let flip = || one.shallow_clone().copy_(&one.bitwise_xor(i64::from(1_i32 << bit)));
                flip();
                assert_ne!(sum(&values), before, "{element} {bit}");
                flip();
            }
            assert_eq!(sum(&values), before);
        }
        let matrix = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        assert_eq!(sum_of_bits(&matrix).unwrap(), sum_of_bits(&matrix.transpose(0, 1)).unwrap());
        // 1.0 is 0x3f800000; a column with gaps.
        let column = Tensor::ones([2, 3], (Kind::Float, Device::Cpu)).narrow(1, 0, 1);
        assert_eq!(sum_of_bits(&column).unwrap().int64_value(&[]), 2 * 0x3f80_0000);
    }
}

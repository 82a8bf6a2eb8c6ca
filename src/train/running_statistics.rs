//! The running statistics of batch normalization over the micro-batches of all ranks.
//!
//! On one device, each micro-batch updates them in turn. Here, each rank hands over the statistics of its micro-batches,
//! and all ranks apply all updates in the order of the micro-batches, with the roundings of libtorch's CPU kernel.

use std::cell::RefCell;

use tch::{Device, Kind, TchError, Tensor};

use super::TrainError;
use crate::{
    libtorch::{LibtorchError, device_copy, foreach_copy},
    model::{BatchStatistics, Network},
};

/// The running statistics of a network.
pub(super) struct RunningStatistics {
    layers: Vec<Layer>,
    /// Number of channels of all layers.
    channels: i64,
    /// Layer of each channel: `[channels]`, i64.
    owners: Tensor,
    seen: RefCell<Vec<Option<Seen>>>,
}

struct Layer {
    mean: Tensor,
    var: Tensor,
    num_batches_tracked: Tensor,
}

/// Statistics of a layer in the current micro-batch.
struct Seen {
    mean: Tensor,
    var: Tensor,
    momentum: f64,
    is_wide: bool,
}

impl RunningStatistics {
    pub(super) fn new(network: &Network, device: Device) -> Result<Self, TrainError> {
        let buffer = |layer: &str, name: &str| {
            network.parameters.get(&format!("{layer}.{name}")).map(|buffer| buffer.tensor.shallow_clone())
        };
        let layers: Vec<Layer> = network
            .parameters
            .batch_norms()
            .filter_map(|layer| {
                Some(Layer {
                    mean: buffer(layer, "running_mean")?,
                    var: buffer(layer, "running_var")?,
                    num_batches_tracked: buffer(layer, "num_batches_tracked")?,
                })
            })
            .collect();
        let owner = |(index, layer): (usize, &Layer)| std::iter::repeat_n(index as i64, layer.mean.numel());
        let owners: Vec<i64> = layers.iter().enumerate().flat_map(owner).collect();
        let seen = RefCell::new(layers.iter().map(|_| None).collect());
        Ok(Self { channels: owners.len() as i64, owners: device_copy(&owners, device)?, layers, seen })
    }

    /// Numbers per micro-batch.
    pub(super) fn width(&self) -> i64 {
        2 * self.channels + 2 * self.layers.len() as i64
    }

    /// Keeps the statistics of a layer in the current micro-batch.
    pub(super) fn see(&self, statistics: BatchStatistics<'_>) -> Result<(), TchError> {
        let BatchStatistics { running_mean, mean, var, momentum, is_wide, .. } = statistics;
        let place = running_mean.data_ptr();
        let Some(layer) = self.layers.iter().position(|layer| layer.mean.data_ptr() == place) else { return Ok(()) };
        let earlier = self.seen.borrow_mut()[layer].replace(Seen { mean, var, momentum, is_wide });
        match earlier {
            None => Ok(()),
            Some(_) => Err(TchError::Shape("a batch normalization was used twice in one pass".into())),
        }
    }

    /// Returns the statistics of the micro-batch that ends here: `[width]`, f64.
    pub(super) fn finish_micro_batch(&self) -> Result<Tensor, TrainError> {
        let seen: Vec<Option<Seen>> = self.seen.borrow_mut().iter_mut().map(Option::take).collect();
        let of = |part: fn(&Seen) -> &Tensor| -> Result<Vec<Tensor>, TchError> {
            let layers = seen.iter().zip(&self.layers);
            layers
                .map(|(seen, layer)| {
                    seen.as_ref().map_or_else(|| layer.mean.f_zeros_like(), |seen| Ok(part(seen).shallow_clone()))
                })
                .collect()
        };
        let momenta = seen.iter().map(|seen| seen.as_ref().map_or(0.0, |seen| seen.momentum));
        let wide = seen.iter().map(|seen| f64::from(u8::from(seen.as_ref().is_some_and(|seen| seen.is_wide))));
        let host: Vec<f64> = momenta.chain(wide).collect();
        let host = device_copy(&host, self.owners.device())?;
        if self.channels == 0 {
            return Ok(host);
        }
        let mut parts = of(|seen| &seen.mean)?;
        parts.extend(of(|seen| &seen.var)?);
        Ok(Tensor::f_cat(&[Tensor::f_cat(&parts, 0)?.f_to_kind(Kind::Double)?, host], 0)?)
    }

    /// Applies the updates of all micro-batches: `rows` is `[micro-batches, width]`, f64. A row of zeros has no effect. No
    /// sync.
    pub(super) fn update(&self, rows: &Tensor) -> Result<(), TrainError> {
        if self.layers.is_empty() {
            return Ok(());
        }
        let _no_grad = tch::no_grad_guard();
        let live = |part: fn(&Layer) -> &Tensor| -> Vec<Tensor> {
            self.layers.iter().map(|layer| part(layer).shallow_clone()).collect()
        };
        let (means, vars) = (live(|layer| &layer.mean), live(|layer| &layer.var));
        let (mut mean, mut var) = (Tensor::f_cat(&means, 0)?, Tensor::f_cat(&vars, 0)?);
        let layers = self.layers.len() as i64;
        let mut batches = Tensor::f_zeros([layers], (Kind::Int64, self.owners.device()))?;
        for micro_batch in 0..rows.size()[0] {
            let parts = rows.f_select(0, micro_batch)?;
            let parts = parts.f_split_with_sizes([self.channels, self.channels, layers, layers], 0)?;
            let [new_mean, new_var, momentum, is_wide] = &parts[..] else { return Ok(()) };
            let is_seen = momentum.f_gt(0.0)?;
            let of_channels = |layers: &Tensor| layers.f_index_select(0, &self.owners);
            let share = of_channels(momentum)?.f_to_kind(Kind::Float)?;
            let rest = share.f_neg()?.f_add_scalar(1.0)?;
            let next_mean = moved(&mean, &new_mean.f_to_kind(Kind::Float)?, &share, &rest)?;
            let wide_var = new_var.f_mul(&share.f_to_kind(Kind::Double)?)?;
            let wide_var = wide_var.f_add(&var.f_mul(&rest)?.f_to_kind(Kind::Double)?)?.f_to_kind(Kind::Float)?;
            let narrow_var = moved(&var, &new_var.f_to_kind(Kind::Float)?, &share, &rest)?;
            let next_var = wide_var.f_where_self(&of_channels(is_wide)?.f_gt(0.0)?, &narrow_var)?;
            let is_seen_channel = of_channels(&is_seen)?;
            mean = next_mean.f_where_self(&is_seen_channel, &mean)?;
            var = next_var.f_where_self(&is_seen_channel, &var)?;
            batches = batches.f_add(&is_seen.f_to_kind(Kind::Int64)?)?;
        }
        let lengths: Vec<i64> = means.iter().map(|mean| mean.numel() as i64).collect();
        foreach_copy(&means, &mean.f_split_with_sizes(&lengths[..], 0)?)?;
        foreach_copy(&vars, &var.f_split_with_sizes(&lengths[..], 0)?)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let tracked = &layer.num_batches_tracked;
            let count = batches.f_select(0, index as i64)?.f_to_device(tracked.device())?;
            let _ = tracked.shallow_clone().f_add_(&count)?;
        }
        Ok(())
    }
}

/// `share * new + rest * old` in f32, with one rounding per operation.
fn moved(old: &Tensor, new: &Tensor, share: &Tensor, rest: &Tensor) -> Result<Tensor, LibtorchError> {
    Ok(new.f_mul(share)?.f_add(&old.f_mul(rest)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Architecture, ModelConfig},
        data::ImageShape,
        libtorch::Autocast,
        model::{self, Pass},
    };

    fn network() -> Network {
        let config = ModelConfig::as_published(Architecture::Resnet8);
        model::build(&config, ImageShape { channels: 1, height: 12, width: 12 }, 3, Device::Cpu).unwrap()
    }

    /// A network with the same weights. Other tests of this process draw from the same generator, so no seed gives them.
    fn twin(network: &Network) -> Network {
        let twin = self::network();
        let _no_grad = tch::no_grad_guard();
        for parameter in twin.parameters.trainable() {
            let from = &network.parameters.get(parameter.name.as_str()).unwrap().tensor;
            parameter.tensor.shallow_clone().copy_(from);
        }
        twin
    }

    fn buffers(network: &Network) -> Vec<(String, Vec<f64>)> {
        let values = |tensor: &Tensor| Vec::<f64>::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap();
        network.parameters.buffers().map(|buffer| (buffer.name.to_string(), values(&buffer.tensor))).collect()
    }

    #[test]
    fn updates_in_order_equal_those_of_passes_on_one_device_bit_for_bit() {
        for (is_half, layout) in [(false, false), (false, true), (true, false), (true, true)] {
            let images: Vec<Tensor> = (0..5)
                .map(|_| {
                    let images = Tensor::randn([3, 1, 12, 12], (Kind::Float, Device::Cpu)) * 2.0 + 0.7;
                    // The same values with the channels of a pixel next to each other.
                    if layout { images.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]) } else { images }
                })
                .collect();
            let plain = network();
            let recorded = twin(&plain);
            let statistics = RunningStatistics::new(&recorded, Device::Cpu).unwrap();
            let mut rows = Vec::new();
            tch::no_grad(|| {
                for images in &images {
                    let _half = is_half.then(|| Autocast::enter(Device::Cpu, Kind::BFloat16).unwrap());
                    let want = plain.forward(images, &Pass::training()).unwrap();
                    let see = |seen: BatchStatistics<'_>| statistics.see(seen);
                    let got = recorded.forward(images, &Pass::training().with_statistics(&see)).unwrap();
                    assert!(got.equal(&want));
                    rows.push(statistics.finish_micro_batch().unwrap());
                }
            });
            assert_eq!(buffers(&recorded), buffers(&network()));
            rows.push(rows[0].zeros_like());
            statistics.update(&Tensor::stack(&rows, 0)).unwrap();
            assert_eq!(buffers(&recorded), buffers(&plain), "{is_half} {layout}");
        }
    }

    #[test]
    fn a_network_without_batch_normalization_has_nothing_to_update() {
        let config = ModelConfig::as_published(Architecture::Mlp);
        let shape = ImageShape { channels: 1, height: 4, width: 4 };
        let network = model::build(&config, shape, 3, Device::Cpu).unwrap();
        let statistics = RunningStatistics::new(&network, Device::Cpu).unwrap();
        assert_eq!((statistics.width(), statistics.finish_micro_batch().unwrap().numel()), (0, 0));
        statistics.update(&Tensor::zeros([2, 0], (Kind::Double, Device::Cpu))).unwrap();
    }
}

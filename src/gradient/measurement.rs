//! Statistics of a list of named tensors, still on the device.

use std::{cmp::Reverse, sync::Arc};

use tch::{Device, Kind, Tensor};

use super::{GradientError, GradientStatistics, TensorStatistics, rows};
use crate::{
    distributed::Ranks,
    libtorch::{Detail, HostBlock, HostValues, Part, column, device_copy, table_total, tensor_table},
};

/// Elements per number of the table from which reading them takes longer than sending the table.
const WORTH_SHARING: usize = 64;

/// A table of statistics with one row per tensor. Building it takes one pass over the tensors and no device sync.
#[derive(Debug)]
pub struct Measurement {
    tensors: Vec<(Arc<str>, u64)>,
    /// See [`tensor_table`]; has no rows if there are no tensors.
    table: Tensor,
    total_norm: Tensor,
    found_inf: Tensor,
}

/// Position of a measurement in a [`HostBlock`].
pub struct MeasurementParts {
    tensors: Vec<(Arc<str>, u64)>,
    table: Part,
    total_norm: Part,
}

impl Measurement {
    /// Measures each named tensor.
    ///
    /// # Errors
    /// If a tensor is sparse or not floating-point, or the tensors do not share one device.
    pub fn of<N: Into<Arc<str>>>(
        named: impl IntoIterator<Item = (N, Tensor)>,
        detail: Detail,
    ) -> Result<Self, GradientError> {
        let mut names = Vec::new();
        let mut tensors = Vec::new();
        for (name, tensor) in named {
            names.push((name.into(), tensor.numel() as u64));
            tensors.push(tensor);
        }
        let table = if tensors.is_empty() {
            Tensor::f_zeros([0, 2], (Kind::Double, Device::Cpu))?
        } else {
            tensor_table(&tensors, detail)?
        };
        Self::of_table(names, table)
    }

    /// Like [`of`](Self::of), for tensors that are the same on all ranks: each rank measures a part of them.
    ///
    /// # Errors
    /// As for [`of`](Self::of); also if another rank is gone.
    pub(crate) fn shared(named: Vec<(Arc<str>, Tensor)>, detail: Detail, ranks: &Ranks) -> Result<Self, GradientError> {
        let elements: Vec<usize> = named.iter().map(|(_, tensor)| tensor.numel()).collect();
        let columns = if detail == Detail::Distribution { column::COUNT } else { column::LARGEST + 1 };
        if ranks.are_alone() || elements.iter().sum::<usize>() < WORTH_SHARING * named.len() * columns {
            return Self::of(named, detail);
        }
        let own = own_part(&elements, ranks);
        let tensors: Vec<Tensor> = own.iter().map(|index| named[*index].1.shallow_clone()).collect();
        let table = Tensor::f_zeros([named.len() as i64, columns as i64], (Kind::Double, named[0].1.device()))?;
        if !own.is_empty() {
            let rows: Vec<i64> = own.iter().map(|index| *index as i64).collect();
            let rows = device_copy(&rows, table.device())?;
            let _ = table.shallow_clone().f_index_copy_(0, &rows, &tensor_table(&tensors, detail)?)?;
        }
        // Adding the zeros of the other ranks is exact.
        ranks.sum(&table)?;
        Self::of_table(named.into_iter().map(|(name, tensor)| (name, tensor.numel() as u64)).collect(), table)
    }

    /// Builds a measurement from squared norms, `[tensors]`, f64. It contains no other statistics.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn of_squares(squares: &Tensor) -> Result<Self, GradientError> {
        Self::of_table(Vec::new(), squares.f_unsqueeze(1)?)
    }

    fn of_table(tensors: Vec<(Arc<str>, u64)>, table: Tensor) -> Result<Self, GradientError> {
        let (total_norm, found_inf) = table_total(&table)?;
        Ok(Self { tensors, table, total_norm, found_inf })
    }

    /// Measures only the total norm, which is all that training needs. It has no statistics per tensor.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn of_total(tensors: Vec<Tensor>) -> Result<Self, GradientError> {
        let named = tensors.into_iter().map(|tensor| ("", tensor));
        Ok(Self { tensors: Vec::new(), ..Self::of(named, Detail::Norms)? })
    }

    /// L2 norm of all tensors as one vector: shape `[]`, f64, on their device.
    pub fn total_norm(&self) -> &Tensor {
        &self.total_norm
    }

    /// Squared L2 norm of each tensor: shape `[tensors]`, f64, on their device.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn squares(&self) -> Result<Tensor, GradientError> {
        Ok(self.table.f_select(1, column::SQUARES as i64)?)
    }

    /// Largest absolute value of each tensor: shape `[tensors]`, f64, on their device. NaN if any element is NaN.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn largest(&self) -> Result<Tensor, GradientError> {
        Ok(self.table.f_select(1, column::LARGEST as i64)?)
    }

    /// 1 if an optimizer must not step on these gradients, else 0: shape `[]`, f32, on their device. It is 1 if an
    /// element is NaN or infinite, or if the sum of squares overflows f32, the dtype of second moments.
    pub fn found_inf(&self) -> &Tensor {
        &self.found_inf
    }

    /// Adds everything to `block`. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn add_to(&self, block: &mut HostBlock) -> Result<MeasurementParts, GradientError> {
        let (table, total_norm) = (block.add(&self.table)?, block.add(&self.total_norm)?);
        Ok(MeasurementParts { tensors: self.tensors.clone(), table, total_norm })
    }

    /// Reads the statistics of each tensor and the total norm. One device sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn read(&self) -> Result<(Vec<TensorStatistics>, f64), GradientError> {
        let mut block = HostBlock::default();
        let parts = self.add_to(&mut block)?;
        Ok(parts.take(&block.read()?))
    }
}

/// The tensors that this rank measures, so that all ranks read about as many elements: the largest first, each by the
/// rank with the fewest so far.
fn own_part(elements: &[usize], ranks: &Ranks) -> Vec<usize> {
    let mut order: Vec<usize> = (0..elements.len()).collect();
    order.sort_by_key(|index| Reverse(elements[*index]));
    let mut loads = vec![0; ranks.world()];
    let is_own = |index: &usize| {
        let rank = (0..loads.len()).min_by_key(|rank| loads[*rank]).unwrap_or(0);
        loads[rank] += elements[*index];
        rank == ranks.rank()
    };
    let mut own: Vec<usize> = order.into_iter().filter(is_own).collect();
    own.sort_unstable();
    own
}

impl MeasurementParts {
    /// Reads the statistics of each tensor and the total norm from the host block.
    pub fn take(self, values: &HostValues) -> (Vec<TensorStatistics>, f64) {
        let table = &values[&self.table];
        let columns = table.len() / self.tensors.len().max(1);
        let rows = table.chunks_exact(columns.max(1));
        let statistics = self.tensors.into_iter().zip(rows);
        let statistics = statistics.map(|((name, elements), row)| rows::statistics(name, elements, row));
        (statistics.collect(), values[&self.total_norm][0])
    }
}

/// The gradients of one step, still on the device, with the information from the hooks.
#[derive(Debug)]
pub struct GradientMeasurement {
    /// Gradients in the order of attachment.
    pub grads: Measurement,
    /// See [`GradientStatistics::missing`].
    pub missing: Vec<Arc<str>>,
    /// See [`GradientStatistics::backward_order`].
    pub backward_order: Vec<usize>,
}

/// Position of a step's gradient measurement in a [`HostBlock`].
pub struct GradientParts {
    grads: MeasurementParts,
    missing: Vec<Arc<str>>,
    backward_order: Vec<usize>,
}

impl GradientMeasurement {
    /// Adds everything to `block`. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn add_to(self, block: &mut HostBlock) -> Result<GradientParts, GradientError> {
        let grads = self.grads.add_to(block)?;
        Ok(GradientParts { grads, missing: self.missing, backward_order: self.backward_order })
    }
}

impl GradientParts {
    /// Reads the statistics from the host block.
    pub fn take(self, values: &HostValues) -> GradientStatistics {
        let (parameters, total_norm) = self.grads.take(values);
        GradientStatistics { parameters, total_norm, missing: self.missing, backward_order: self.backward_order }
    }
}

//! Batch normalization with the statistics of all ranks.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, PoisonError},
};

use tch::{Kind, TchError, Tensor};

use crate::{
    distributed::{DistributedError, Ranks},
    libtorch::{Hook, LibtorchError},
};

/// Batch normalization over the micro-batches that all ranks pass at the same time, as torch's SyncBatchNorm.
///
/// Each layer sums its statistics over the ranks in forward, and the two sums of its gradient in backward. So all ranks
/// must pass the same layers at the same time; a rank without images passes any image and
/// [counts it as none](Self::start).
pub struct SyncBatchNorm {
    ranks: Ranks,
    has_images: RefCell<bool>,
    /// Hooks of the current pass.
    hooks: RefCell<Vec<Hook>>,
    /// Error inside backward, where it cannot be returned.
    failure: Arc<Mutex<Option<DistributedError>>>,
}

/// Statistics over all ranks, per channel.
pub(super) struct Shared {
    /// `[channels]`, f32.
    pub mean: Tensor,
    /// Biased: `[channels]`, f32.
    pub var: Tensor,
    /// Unbiased: `[channels]`, f32.
    pub unbiased_var: Tensor,
    /// Number of values per channel: `[]`, f64.
    count: Tensor,
}

impl SyncBatchNorm {
    /// Prepares passes of `ranks`.
    pub fn new(ranks: &Ranks) -> Self {
        Self {
            ranks: ranks.clone(),
            has_images: RefCell::new(true),
            hooks: RefCell::default(),
            failure: Arc::default(),
        }
    }

    /// Starts a pass. With `has_images` false, its images do not count in the statistics.
    pub fn start(&self, has_images: bool) {
        self.has_images.replace(has_images);
        self.hooks.borrow_mut().clear();
    }

    /// Ends a pass after its backward.
    ///
    /// # Errors
    /// If another rank is gone, or libtorch reported an error inside backward.
    pub fn finish(&self) -> Result<(), DistributedError> {
        self.hooks.borrow_mut().clear();
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// The statistics of `images`, `[batch, channels, ..]`, over all ranks.
    pub(super) fn statistics(&self, images: &Tensor) -> Result<Shared, TchError> {
        let _no_grad = tch::no_grad_guard();
        let dims = others(images);
        let values = images.numel() as f64 / images.size()[1] as f64;
        let count = if *self.has_images.borrow() { values } else { 0.0 };
        let wide = |tensor: &Tensor| tensor.f_to_kind(Kind::Double);
        let (var, mean) = images.f_detach()?.f_to_kind(Kind::Float)?.f_var_mean_dim(&dims[..], false, false)?;
        let (var, mean) = (wide(&var)?, wide(&mean)?);
        // Sums of n m, n (v + m^2), and n: exact enough in f64 even if all means are far from 0.
        let squares = var.f_add(&mean.f_square()?)?;
        let counts = mean.f_ones_like()?.f_narrow(0, 0, 1)?;
        let sums = Tensor::f_cat(&[mean, squares, counts], 0)?;
        // Not 0 * values: an image of a rank without images may have any.
        let sums = if count > 0.0 { sums.f_mul_scalar(count)? } else { sums.f_zeros_like()? };
        self.ranks.sum(&sums).map_err(to_tch)?;
        let channels = images.size()[1];
        let count = sums.f_select(0, 2 * channels)?;
        let mean = sums.f_narrow(0, 0, channels)?.f_div(&count)?;
        let var = sums.f_narrow(0, channels, channels)?.f_div(&count)?.f_sub(&mean.f_square()?)?.f_clamp_min(0.0)?;
        let unbiased_var = var.f_mul(&count)?.f_div(&count.f_sub_scalar(1.0)?)?;
        let narrow = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
        Ok(Shared { mean: narrow(&mean)?, var: narrow(&var)?, unbiased_var: narrow(&unbiased_var)?, count })
    }

    /// Normalizes with these statistics. The gradient takes into account that they depend on the images.
    pub(super) fn normalize(
        &self,
        images: &Tensor,
        [weight, bias]: [Option<&Tensor>; 2],
        shared: &Shared,
        eps: f64,
    ) -> Result<Tensor, TchError> {
        let Shared { mean, var, count, .. } = shared;
        // Its gradient is that of this layer alone, whoever else uses the images.
        let input = images.f_view_as(images)?;
        let output = input.f_batch_norm(weight, bias, Some(mean), Some(var), false, 0.0, eps, true)?;
        if !output.requires_grad() {
            return Ok(output);
        }
        let mut shape = vec![1; images.dim()];
        shape[1] = -1;
        let standard = Standard {
            images: images.f_detach()?,
            mean: mean.f_view(&shape[..])?,
            inverse: var.f_add_scalar(eps)?.f_rsqrt()?.f_view(&shape[..])?,
            weight: weight.map(|weight| weight.f_detach()?.f_view(&shape[..])).transpose()?,
            count: count.shallow_clone(),
        };
        let standard = Arc::new(Mutex::new((standard, None::<[Tensor; 2]>)));
        let (ranks, failure, see) = (self.ranks.clone(), Arc::clone(&self.failure), Arc::clone(&standard));
        let sum = move |grad: &Tensor| {
            let mut state = see.lock().unwrap_or_else(PoisonError::into_inner);
            match state.0.sums(grad, &ranks) {
                Ok(sums) => state.1 = Some(sums),
                Err(error) => keep(&failure, error),
            }
            None
        };
        let failure = Arc::clone(&self.failure);
        let fix = move |grad: &Tensor| {
            let state = standard.lock().unwrap_or_else(PoisonError::into_inner);
            let sums = state.1.as_ref()?;
            state.0.fixed(grad, sums).map_err(|error| keep(&failure, error.into())).ok()
        };
        let mut hooks = self.hooks.borrow_mut();
        hooks.push(Hook::before_accumulation(&output, sum)?);
        // Images that do not count have no part in the statistics, so their own gradient stays 0.
        if input.requires_grad() && *self.has_images.borrow() {
            hooks.push(Hook::before_accumulation(&input, fix)?);
        }
        Ok(output)
    }
}

fn to_tch(error: DistributedError) -> TchError {
    TchError::Torch(error.to_string())
}

fn keep(failure: &Mutex<Option<DistributedError>>, error: DistributedError) {
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

/// All dimensions but that of the channels.
fn others(images: &Tensor) -> Vec<i64> {
    (0..images.dim() as i64).filter(|dim| *dim != 1).collect()
}

/// What backward needs of a layer. Channels are in dimension 1 of all tensors.
struct Standard {
    images: Tensor,
    mean: Tensor,
    /// 1 / sqrt(var + eps).
    inverse: Tensor,
    weight: Option<Tensor>,
    count: Tensor,
}

impl Standard {
    fn standard(&self) -> Result<Tensor, LibtorchError> {
        Ok(self.images.f_to_kind(Kind::Float)?.f_sub(&self.mean)?.f_mul(&self.inverse)?)
    }

    /// The means over all ranks of the gradient and of its product with the normalized images.
    fn sums(&self, grad: &Tensor, ranks: &Ranks) -> Result<[Tensor; 2], DistributedError> {
        let _no_grad = tch::no_grad_guard();
        let grad = grad.f_to_kind(Kind::Float)?;
        let sum = |tensor: &Tensor| tensor.f_sum_dim_intlist(&others(tensor)[..], true, Kind::Double);
        let sums = Tensor::f_stack(&[sum(&grad)?, sum(&grad.f_mul(&self.standard()?)?)?], 0)?;
        ranks.sum(&sums)?;
        let means = sums.f_div(&self.count)?.f_to_kind(Kind::Float)?;
        Ok([means.f_select(0, 0)?, means.f_select(0, 1)?])
    }

    /// The gradient of the images, from the one that takes mean and variance as constants.
    fn fixed(&self, grad: &Tensor, [mean_grad, mean_product]: &[Tensor; 2]) -> Result<Tensor, LibtorchError> {
        let _no_grad = tch::no_grad_guard();
        let mut shift = self.standard()?.f_mul(mean_product)?.f_add(mean_grad)?.f_mul(&self.inverse)?;
        if let Some(weight) = &self.weight {
            shift = shift.f_mul(weight)?;
        }
        Ok(grad.f_to_kind(Kind::Float)?.f_sub(&shift)?.f_to_kind(grad.kind())?)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::distributed::fixture::on_ranks;

    const EPS: f64 = 1e-5;

    /// Six images of three channels whose means are far from 0.
    fn images() -> Tensor {
        let ramp = Tensor::arange(6 * 3 * 4, (Kind::Float, Device::Cpu));
        (&ramp * 1.7).sin().view([6, 3, 2, 2]) * 2.0 + Tensor::from_slice(&[5.0f32, -3.0, 40.0]).view([1, 3, 1, 1])
    }

    fn weights() -> [Tensor; 2] {
        let leaf = |values: &[f32; 3]| Tensor::from_slice(values).set_requires_grad(true);
        [leaf(&[0.5, 0.0, -2.0]), leaf(&[0.1, 0.2, 0.3])]
    }

    /// The loss uses the images a second time, next to their normalization.
    fn loss(output: &Tensor, images: &Tensor, first: i64) -> Tensor {
        let ramp = Tensor::arange_start(12 * first, 12 * first + output.numel() as i64, (Kind::Float, Device::Cpu));
        let factors = (ramp * 0.3).cos().view_as(output);
        (output.square() * &factors).sum(Kind::Float) + (images * &factors).sum(Kind::Float)
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap()
    }

    fn is_near(got: &[f64], want: &[f64]) -> bool {
        got.len() == want.len()
            && got.iter().zip(want).all(|(got, want)| (got - want).abs() < 2e-4 * (1.0 + want.abs()))
    }

    #[test]
    fn shares_of_any_size_equal_batch_normalization_of_the_whole_batch() {
        let whole = images().set_requires_grad(true);
        let [weight, bias] = weights();
        let (mean, var) =
            (Tensor::zeros([3], (Kind::Float, Device::Cpu)), Tensor::ones([3], (Kind::Float, Device::Cpu)));
        let want = whole.batch_norm(Some(&weight), Some(&bias), Some(&mean), Some(&var), true, 1.0, EPS, false);
        loss(&want, &whole, 0).backward();
        for shares in [[3, 3, 0], [1, 4, 1], [2, 2, 2]] {
            let seen = on_ranks(3, |ranks| {
                let first: i64 = shares[..ranks.rank()].iter().sum();
                let own = shares[ranks.rank()];
                let sync = SyncBatchNorm::new(&ranks);
                sync.start(own > 0);
                // A rank without images passes one that does not count.
                let part = if own > 0 { images().narrow(0, first, own) } else { images().narrow(0, 0, 1) * 1e3 };
                let part = part.detach().set_requires_grad(true);
                let [weight, bias] = weights();
                let shared = sync.statistics(&part).unwrap();
                let output = sync.normalize(&part, [Some(&weight), Some(&bias)], &shared, EPS).unwrap();
                let loss = loss(&output, &part, first) * if own > 0 { 1.0 } else { 0.0 };
                loss.backward();
                sync.finish().unwrap();
                assert!(own > 0 || values(&part.grad()).iter().all(|value| *value == 0.0));
                let of_rank = [output, part.grad()].map(|tensor| if own > 0 { values(&tensor) } else { Vec::new() });
                let sums = [weight.grad(), bias.grad(), shared.mean, shared.unbiased_var].map(|tensor| values(&tensor));
                (of_rank, sums)
            });
            let joined = |index: usize| seen.iter().flat_map(|(parts, _)| parts[index].clone()).collect::<Vec<_>>();
            assert!(is_near(&joined(0), &values(&want)), "{shares:?}");
            assert!(is_near(&joined(1), &values(&whole.grad())), "{shares:?}");
            let sum =
                |index: usize| (0..3).map(|c| seen.iter().map(|(_, sums)| sums[index][c]).sum()).collect::<Vec<f64>>();
            assert!(is_near(&sum(0), &values(&weight.grad())) && is_near(&sum(1), &values(&bias.grad())), "{shares:?}");
            assert!(seen.iter().all(|(_, sums)| is_near(&sums[2], &values(&mean)) && is_near(&sums[3], &values(&var))));
        }
    }
}

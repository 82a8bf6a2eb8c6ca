//! Sums the gradients of the ranks while backward still runs.
//!
//! A hook on each parameter copies its gradient into a bucket. A full bucket is sent at once, in the order of the
//! layout, which is the same on all ranks. In the end, `.grad` is a view of the bucket with the sum.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

use super::{DistributedError, Layout, Ranks};
use crate::{
    config::Reduction,
    libtorch::{
        Hook, LibtorchError, Work, clear_grads, copy_with_squares, device_copy, foreach_norm, is_dense, set_grad,
        tensor_bytes,
    },
};

/// Sums the gradients of the ranks.
pub struct Reducer {
    shared: Arc<Mutex<Buckets>>,
    _hooks: Vec<Hook>,
}

/// The gradient of this rank's own images before it was summed.
#[derive(Debug)]
pub struct LocalGradients {
    /// Whether each parameter received a gradient.
    pub is_reached: Vec<bool>,
    /// Sum of the squared elements per parameter: `[parameters]`, f64, on the device. Under the exact reduction, of
    /// each micro-batch, added up.
    pub squares: Tensor,
}

struct Buckets {
    ranks: Ranks,
    reduction: Reduction,
    params: Vec<Tensor>,
    /// Bucket of each parameter, and its index there.
    places: Vec<(usize, usize)>,
    /// Place of each parameter in the concatenation of all buckets.
    order: Vec<usize>,
    buckets: Vec<Bucket>,
    /// Whether the current backward pass fills the buckets.
    is_filling: bool,
    /// The next bucket to send.
    next: usize,
    is_reached: Vec<bool>,
    /// Sums of squares of gradients on the CPU.
    squares: Vec<f64>,
    /// Micro-batches of each round of the exact reduction: which ranks have one.
    rounds: Vec<Vec<usize>>,
    round: usize,
    failure: Option<DistributedError>,
}

struct Bucket {
    params: Vec<usize>,
    /// Own gradients, and in the end their sums. Padded to a multiple of the number of ranks.
    flat: Tensor,
    /// The part of each parameter, with its shape and strides.
    views: Vec<Tensor>,
    is_filled: Vec<bool>,
    unfilled: usize,
    work: Option<Work>,
    /// Sums of squares of own gradients per parameter, if they are on a GPU.
    squares: Option<Tensor>,
    exact: Option<Exact>,
}

/// This rank's share of a bucket under the exact reduction.
struct Exact {
    /// `[ranks, share]`: the share of each rank's gradients that this rank adds up.
    received: Tensor,
    /// `[1, share]`.
    sum: Tensor,
    /// The ranks whose rows of `received` count.
    rows: Vec<usize>,
    is_empty: bool,
}

impl Reducer {
    /// Registers a hook on each parameter.
    ///
    /// # Errors
    /// If libtorch rejects a hook, or runs out of memory.
    pub fn new(ranks: &Ranks, params: &[Tensor], reduction: Reduction) -> Result<Self, DistributedError> {
        let layout = Layout::new(&params.iter().map(tensor_bytes).collect::<Vec<_>>());
        let mut places = vec![(0, 0); params.len()];
        for (number, bucket) in layout.buckets.iter().enumerate() {
            bucket.iter().enumerate().for_each(|(index, param)| places[*param] = (number, index));
        }
        let mut order = vec![0; params.len()];
        layout.buckets.iter().flatten().enumerate().for_each(|(place, param)| order[*param] = place);
        let bucket = |indices: Vec<usize>| Bucket::new(params, indices, ranks.world(), reduction);
        let shared = Arc::new(Mutex::new(Buckets {
            ranks: ranks.clone(),
            reduction,
            params: params.iter().map(Tensor::shallow_clone).collect(),
            places,
            order,
            buckets: layout.buckets.into_iter().map(bucket).collect::<Result<_, _>>()?,
            is_filling: false,
            next: 0,
            is_reached: Vec::new(),
            squares: Vec::new(),
            rounds: Vec::new(),
            round: 0,
            failure: None,
        }));
        let hook = |(index, param): (usize, &Tensor)| {
            let shared = Arc::clone(&shared);
            Hook::after_accumulation(param, move |_| lock(&shared).see(index))
        };
        let hooks = params.iter().enumerate().map(hook).collect::<Result<_, _>>()?;
        Ok(Self { shared, _hooks: hooks })
    }

    /// Starts a step. `rounds` lists the ranks that have a micro-batch, for each round of one micro-batch per rank.
    pub fn start(&self, rounds: Vec<Vec<usize>>) {
        let mut buckets = lock(&self.shared);
        (buckets.round, buckets.next, buckets.is_filling) = (0, 0, false);
        buckets.is_reached = vec![false; buckets.params.len()];
        buckets.squares = vec![0.0; buckets.params.len()];
        buckets.rounds = rounds;
        buckets.buckets.iter_mut().for_each(Bucket::start);
    }

    /// Prepares for the backward pass of a micro-batch of `round`. `is_last`: no other micro-batch of this rank follows
    /// in this step.
    ///
    /// # Errors
    /// As for [`finish_backward`](Self::finish_backward).
    pub fn start_backward(&self, round: usize, is_last: bool) -> Result<(), DistributedError> {
        let mut buckets = lock(&self.shared);
        let is_exact = buckets.reduction == Reduction::Exact;
        // Other ranks have a micro-batch in each of these rounds, and this one has none.
        while is_exact && buckets.round < round {
            buckets.send_rest()?;
        }
        buckets.is_filling = is_last || is_exact;
        Ok(())
    }

    /// Sends the rest after a backward pass.
    ///
    /// # Errors
    /// If another rank is gone, or libtorch reports an error, including inside backward.
    pub fn finish_backward(&self) -> Result<(), DistributedError> {
        let mut buckets = lock(&self.shared);
        if std::mem::take(&mut buckets.is_filling) {
            buckets.send_rest()?;
        }
        buckets.failure.take().map_or(Ok(()), Err)
    }

    /// Sends what other ranks still expect of this one, for example if it has no micro-batch, and returns what is known
    /// of its own gradient. Call [`finish`](Self::finish) after it.
    ///
    /// # Errors
    /// As for [`finish_backward`](Self::finish_backward).
    pub fn finish_sending(&self) -> Result<LocalGradients, DistributedError> {
        let mut buckets = lock(&self.shared);
        let rounds = match buckets.reduction {
            Reduction::Fast => 1,
            Reduction::Exact => buckets.rounds.len(),
        };
        while buckets.round < rounds {
            buckets.send_rest()?;
        }
        buckets.local()
    }

    /// Waits until all sums are complete, and makes them the `.grad` of the parameters that any rank has reached.
    ///
    /// # Errors
    /// As for [`finish_backward`](Self::finish_backward).
    pub fn finish(&self, is_reached: &[bool]) -> Result<(), DistributedError> {
        lock(&self.shared).finish(is_reached)
    }
}

fn lock(shared: &Mutex<Buckets>) -> MutexGuard<'_, Buckets> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bucket {
    fn new(params: &[Tensor], indices: Vec<usize>, world: usize, reduction: Reduction) -> Result<Self, LibtorchError> {
        let first = &params[indices[0]];
        let options = (Kind::Float, first.device());
        let used: usize = indices.iter().map(|index| params[*index].numel()).sum();
        let share = used.div_ceil(world);
        let flat = Tensor::f_zeros([(share * world) as i64], options)?;
        let mut start = 0;
        let mut view = |index: &usize| -> Result<Tensor, LibtorchError> {
            let param = &params[*index];
            if param.kind() != Kind::Float || !is_dense(param) {
                let got = format!("a parameter of {:?} with strides {:?}", param.kind(), param.stride());
                return Err(LibtorchError::Argument { operation: "Reducer", got, want: "dense f32 parameters" });
            }
            let view = flat.f_as_strided(param.size(), param.stride(), start)?;
            start += param.numel() as i64;
            Ok(view)
        };
        let views = indices.iter().map(&mut view).collect::<Result<Vec<_>, _>>()?;
        let exact = match reduction {
            Reduction::Fast => None,
            Reduction::Exact => Some(Exact {
                received: Tensor::f_zeros([world as i64, share as i64], options)?,
                sum: Tensor::f_zeros([1, share as i64], options)?,
                rows: Vec::new(),
                is_empty: true,
            }),
        };
        let count = indices.len();
        Ok(Self {
            params: indices,
            flat,
            views,
            is_filled: vec![false; count],
            unfilled: count,
            work: None,
            squares: None,
            exact,
        })
    }

    fn start(&mut self) {
        (self.work, self.squares) = (None, None);
        if let Some(exact) = &mut self.exact {
            exact.is_empty = true;
            exact.rows.clear();
        }
        self.start_round();
    }

    fn start_round(&mut self) {
        self.is_filled.fill(false);
        self.unfilled = self.params.len();
    }

    /// Waits for the operation in progress. Under the exact reduction, adds the received shares in rank order.
    fn finish_work(&mut self, ranks: &Ranks) -> Result<(), DistributedError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        ranks.finish(&work)?;
        let Some(exact) = &mut self.exact else { return Ok(()) };
        for row in exact.rows.drain(..) {
            let share = exact.received.f_narrow(0, row as i64, 1)?;
            if std::mem::take(&mut exact.is_empty) {
                exact.sum.f_copy_(&share)?;
            } else {
                let _ = exact.sum.f_add_(&share)?;
            }
        }
        Ok(())
    }
}

impl Buckets {
    /// Called by the hook of a parameter.
    fn see(&mut self, param: usize) {
        if !self.is_filling || self.failure.is_some() {
            return;
        }
        if let Err(error) = self.fill(param).and_then(|()| self.send_full()) {
            self.failure = Some(error);
        }
    }

    /// Copies the gradient of a parameter into its bucket.
    fn fill(&mut self, param: usize) -> Result<(), DistributedError> {
        let (number, index) = self.places[param];
        let bucket = &mut self.buckets[number];
        if bucket.is_filled[index] {
            return Ok(());
        }
        // The buffer may still be on its way from the previous round.
        bucket.finish_work(&self.ranks)?;
        let (owner, view) = (&self.params[param], &bucket.views[index]);
        let grad = owner.grad();
        if grad.defined() {
            let squares = copy_with_squares(view, &grad)?;
            if owner.device() == Device::Cpu {
                self.squares[param] += match squares {
                    Some(squares) => squares,
                    None => foreach_norm(&[grad], 2.0)?.f_square()?.f_double_value(&[0])?,
                };
            }
            self.is_reached[param] = true;
            match self.reduction {
                Reduction::Fast => set_grad(owner, view)?,
                // The next micro-batch starts anew.
                Reduction::Exact => clear_grads(&[owner.shallow_clone()])?,
            }
        } else {
            let _ = view.shallow_clone().f_zero_()?;
        }
        bucket.is_filled[index] = true;
        bucket.unfilled -= 1;
        Ok(())
    }

    /// Sends the buckets that are full, strictly in order.
    fn send_full(&mut self) -> Result<(), DistributedError> {
        while self.next < self.buckets.len() && self.buckets[self.next].unfilled == 0 {
            self.send(self.next)?;
            self.next += 1;
        }
        Ok(())
    }

    fn send(&mut self, number: usize) -> Result<(), DistributedError> {
        let Some(members) = self.ranks.members() else { return Ok(()) };
        let bucket = &mut self.buckets[number];
        if bucket.flat.device() != Device::Cpu {
            let squares = foreach_norm(&bucket.views, 2.0)?.f_square()?;
            bucket.squares = Some(match bucket.squares.take() {
                Some(earlier) => earlier.f_add(&squares)?,
                None => squares,
            });
        }
        bucket.work = Some(match &mut bucket.exact {
            None => members.tensors.all_reduce(&bucket.flat)?,
            Some(exact) => {
                exact.rows = self.rounds.get(self.round).cloned().unwrap_or_default();
                let rows = bucket.flat.f_view(exact.received.size().as_slice())?;
                members.tensors.all_to_all(&exact.received, &rows)?
            }
        });
        Ok(())
    }

    /// Fills and sends all buckets that are left in this round.
    fn send_rest(&mut self) -> Result<(), DistributedError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        for param in (0..self.params.len()).rev() {
            self.fill(param)?;
        }
        self.send_full()?;
        self.round += 1;
        self.next = 0;
        self.buckets.iter_mut().for_each(Bucket::start_round);
        Ok(())
    }

    fn local(&self) -> Result<LocalGradients, DistributedError> {
        let is_reached = self.is_reached.clone();
        let parts: Vec<&Tensor> = self.buckets.iter().filter_map(|bucket| bucket.squares.as_ref()).collect();
        if parts.is_empty() {
            return Ok(LocalGradients { is_reached, squares: Tensor::f_from_slice(&self.squares)? });
        }
        // From the order of the buckets to that of the parameters.
        let order: Vec<i64> = self.order.iter().map(|place| *place as i64).collect();
        let order = device_copy(&order, parts[0].device())?;
        Ok(LocalGradients { is_reached, squares: Tensor::f_cat(&parts, 0)?.f_index_select(0, &order)? })
    }

    fn finish(&mut self, is_reached: &[bool]) -> Result<(), DistributedError> {
        let Some(members) = self.ranks.members() else { return Ok(()) };
        let mut gathers = Vec::new();
        for bucket in &mut self.buckets {
            bucket.finish_work(&self.ranks)?;
            if let Some(exact) = &bucket.exact {
                let all = bucket.flat.f_view(exact.received.size().as_slice())?;
                gathers.push(members.tensors.all_gather(&all, &exact.sum)?);
            }
        }
        gathers.iter().try_for_each(|gather| self.ranks.finish(gather))?;
        for (param, ((number, index), is_reached)) in self.params.iter().zip(self.places.iter().zip(is_reached)) {
            match is_reached {
                true => set_grad(param, &self.buckets[*number].views[*index])?,
                false => clear_grads(&[param.shallow_clone()])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! The connection of this process to the other ranks.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tch::{Device, Kind, Tensor};

use super::{DistributedError, Topology, health::Health};
use crate::{
    diagnosis::RankFacts,
    libtorch::{Group, Store, Work},
};

/// Time between two looks at the health of the other ranks during a wait.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Longest time between two looks for a key.
const LOOK_FOR_KEY_EVERY: Duration = Duration::from_millis(50);

/// The ranks of a run, or this process alone. All ranks must call its functions in the same order. A clone is the same
/// connection.
#[derive(Debug, Clone, Default)]
pub struct Ranks(Option<Arc<Members>>);

/// The connected ranks.
#[derive(Debug)]
pub(super) struct Members {
    pub topology: Topology,
    /// Host and device of each rank.
    pub places: Vec<RankFacts>,
    pub store: Arc<Store>,
    /// For words on the host, over Gloo.
    pub control: Group,
    /// For tensors on the device.
    pub tensors: Group,
    pub health: Health,
    /// Nanoseconds spent waiting for other ranks.
    pub waited: AtomicU64,
}

impl Ranks {
    pub(super) fn of(members: Members) -> Self {
        Self(Some(Arc::new(members)))
    }

    /// This process alone: there is nobody to wait for.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |members| members.topology.rank)
    }

    /// Number of ranks, at least 1.
    pub fn world(&self) -> usize {
        self.0.as_ref().map_or(1, |members| members.topology.world)
    }

    /// Whether there are no other ranks.
    pub fn are_alone(&self) -> bool {
        self.world() == 1
    }

    /// Whether this is rank 0, which owns the run folder.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Host and device of each rank; empty if this process is alone.
    pub fn places(&self) -> &[RankFacts] {
        self.0.as_ref().map_or(&[], |members| &members.places)
    }

    /// The numbers of a range that are this rank's: number k of the range belongs to rank k mod W.
    pub fn share(&self, range: Range<usize>) -> impl Iterator<Item = usize> + use<> {
        range.skip(self.rank()).step_by(self.world())
    }

    /// Time that this rank has waited for others so far.
    pub fn waited(&self) -> Duration {
        let nanos = self.0.as_ref().map_or(0, |members| members.waited.load(Ordering::Relaxed));
        Duration::from_nanos(nanos)
    }

    /// Collects the words of every rank, in rank order. All ranks pass the same number of words.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn gather(&self, words: &[f64]) -> Result<Vec<Vec<f64>>, DistributedError> {
        let Some(members) = &self.0 else { return Ok(vec![words.to_vec()]) };
        if words.is_empty() {
            return Ok(vec![Vec::new(); self.world()]);
        }
        let row = Tensor::f_from_slice(words)?.f_view([1, -1])?;
        let all = Tensor::f_zeros([self.world() as i64, words.len() as i64], (Kind::Double, Device::Cpu))?;
        members.finish(&members.control.all_gather(&all, &row)?)?;
        let all = Vec::<f64>::try_from(all.f_view([-1])?)?;
        Ok(all.chunks(words.len()).map(<[f64]>::to_vec).collect())
    }

    /// Collects the numbers of every rank, in rank order. Each rank may have another number of them.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn gather_lists(&self, numbers: &[f64]) -> Result<Vec<Vec<f64>>, DistributedError> {
        let lengths: Vec<usize> = self.gather(&[numbers.len() as f64])?.iter().map(|words| words[0] as usize).collect();
        let mut padded = numbers.to_vec();
        padded.resize(lengths.iter().copied().max().unwrap_or(0), 0.0);
        let mut lists = self.gather(&padded)?;
        lists.iter_mut().zip(lengths).for_each(|(list, length)| list.truncate(length));
        Ok(lists)
    }

    /// Replaces a contiguous tensor by the sum over all ranks. Adding zeros is exact, so a tensor of which each rank has
    /// filled a part of its own is the same in any order.
    ///
    /// # Errors
    /// If another rank is gone, or libtorch reports an error.
    pub fn sum(&self, tensor: &Tensor) -> Result<(), DistributedError> {
        match &self.0 {
            Some(members) if tensor.numel() > 0 => members.finish(&members.group_of(tensor).all_reduce(tensor)?),
            _ => Ok(()),
        }
    }

    /// Joins the tensors of all ranks along the first dimension, in rank order. Only the first dimension may differ.
    ///
    /// # Errors
    /// As for [`sum`](Self::sum).
    pub fn concatenate(&self, tensor: &Tensor) -> Result<Tensor, DistributedError> {
        let lengths: Vec<i64> = self.gather(&[tensor.size()[0] as f64])?.iter().map(|words| words[0] as i64).collect();
        let mut size = tensor.size();
        size[0] = lengths.iter().sum();
        let all = Tensor::f_zeros(&size, (tensor.kind(), tensor.device()))?;
        let first = lengths[..self.rank()].iter().sum();
        all.f_narrow(0, first, lengths[self.rank()])?.f_copy_(tensor)?;
        self.sum(&all)?;
        Ok(all)
    }

    /// Replaces each tensor by that of rank 0, bit for bit.
    ///
    /// # Errors
    /// As for [`sum`](Self::sum).
    pub fn broadcast<'a>(&self, tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<(), DistributedError> {
        let Some(members) = &self.0 else { return Ok(()) };
        let _no_grad = tch::no_grad_guard();
        for tensor in tensors.into_iter().filter(|tensor| tensor.numel() > 0) {
            // A copy without gaps, as bytes: any layout and dtype.
            let flat = tensor.f_reshape([-1])?.f_contiguous()?.f_detach_copy()?;
            let bytes = flat.f_view_dtype(Kind::Uint8)?;
            members.finish(&members.group_of(tensor).broadcast(&bytes, 0)?)?;
            tensor.shallow_clone().f_copy_(&flat.f_view(tensor.size().as_slice())?)?;
        }
        Ok(())
    }

    /// Tells a text of rank 0 to all ranks; the others pass `None`.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn tell(&self, key: &str, text: Option<&str>) -> Result<String, DistributedError> {
        let Some(members) = &self.0 else { return Ok(text.unwrap_or_default().to_owned()) };
        if let Some(text) = text {
            members.store.set(key, text.as_bytes())?;
            return Ok(text.to_owned());
        }
        members.wait_for(&[key.to_owned()])?;
        Ok(String::from_utf8_lossy(&members.store.get(key)?).into_owned())
    }

    /// Checks that all ranks have the same `text`, and waits for their checks. `difference` describes how the text of
    /// rank 0 and that of this rank differ.
    ///
    /// # Errors
    /// [`DistributedError::Differs`] on a rank with another text than rank 0, which then has to
    /// [report the failure](Self::report_failure) to the others; also if another rank is gone.
    pub fn check_same(
        &self,
        what: &'static str,
        text: &str,
        difference: impl FnOnce(&str, &str) -> String,
    ) -> Result<(), DistributedError> {
        let first = self.tell(&format!("same/{what}"), self.is_first().then_some(text))?;
        if first == text {
            return self.gather(&[0.0]).map(drop);
        }
        let rank = self.name(self.rank());
        Err(DistributedError::Differs { rank, what, difference: difference(&first, text) })
    }

    /// Name of a rank in messages: with its host and device.
    pub fn name(&self, rank: usize) -> String {
        self.0.as_ref().map_or_else(|| "rank 0".to_owned(), |members| members.name(rank))
    }

    /// Tells the other ranks why this one ends, so that each of them can say it. Does not fail: the others notice the
    /// end anyway.
    pub fn report_failure(&self, message: &str) {
        if let Some(members) = &self.0 {
            members.report_failure(message);
        }
    }

    /// Says that this rank has done its work. The rank that serves the store waits until all have said so.
    pub fn leave(&self) {
        if let Some(members) = &self.0 {
            members.leave();
        }
    }

    /// Waits for an operation.
    ///
    /// # Errors
    /// If another rank is gone.
    pub(super) fn finish(&self, work: &Work) -> Result<(), DistributedError> {
        match &self.0 {
            Some(members) => members.finish(work),
            None => Ok(()),
        }
    }

    pub(super) fn members(&self) -> Option<&Members> {
        self.0.as_deref()
    }
}

impl Members {
    pub(super) fn name(&self, rank: usize) -> String {
        match self.places.get(rank) {
            Some(RankFacts { host, device }) => format!("rank {rank} ({host}, {device})"),
            None => format!("rank {rank}"),
        }
    }

    fn group_of(&self, tensor: &Tensor) -> Group {
        if tensor.device() == Device::Cpu { self.control } else { self.tensors }
    }

    fn finish(&self, work: &Work) -> Result<(), DistributedError> {
        let started = Instant::now();
        let mut watch = self.health.watch();
        let outcome = loop {
            match work.wait(LOOK_EVERY) {
                Ok(true) => break Ok(()),
                Ok(false) => {
                    if let Some(lost) = watch.loss(self) {
                        break Err(lost);
                    }
                }
                Err(error) => break Err(self.lost(&error)),
            }
        };
        self.waited.fetch_add(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        outcome
    }

    fn wait_for(&self, keys: &[String]) -> Result<(), DistributedError> {
        let (mut watch, mut pause) = (self.health.watch(), Duration::from_millis(1));
        while !self.store.has(keys).map_err(|error| self.lost(&error))? {
            if let Some(lost) = watch.loss(self) {
                return Err(lost);
            }
            thread::sleep(pause);
            pause = (2 * pause).min(LOOK_FOR_KEY_EVERY);
        }
        Ok(())
    }
}

//! Shuffles the labels of a data set among its images at given epochs, so that the task changes during training.
//!
//! Creus Castanyer et al. 2025 (arXiv 2506.15544) train on such data to show how deep networks lose their
//! gradient. As in their code (`NonStationaryDataset`), each shuffle gives every image the original label of a random
//! image: the number of images per class stays the same, and the labels no longer depend on the pixels. They also
//! shuffle the test labels; here, validation images keep their labels. The accuracy on them is that of chance either
//! way.

use super::random::{Purpose, Stream};

/// The labels of an epoch. A function of (seed, number of shuffles), so a resumed run and all ranks have the same ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LabelShuffle {
    /// Image that each image takes its label from; empty before the first shuffle.
    owners: Vec<u32>,
}

impl LabelShuffle {
    /// The labels of `images` images in an epoch. `epochs` are those at whose start the labels are shuffled.
    pub(super) fn of_epoch(epochs: &[u64], seed: u64, epoch: u64, images: usize) -> Self {
        let shuffles = epochs.iter().filter(|&&start| start <= epoch).count() as u64;
        if shuffles == 0 {
            return Self { owners: Vec::new() };
        }
        let mut owners: Vec<u32> = (0..).take(images).collect();
        Stream::new(seed, Purpose::Labels, shuffles, 0).shuffle(&mut owners);
        Self { owners }
    }

    /// The image whose label image `index` has.
    pub(super) fn owner(&self, index: u32) -> u32 {
        self.owners.get(index as usize).copied().unwrap_or(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owners(epochs: &[u64], seed: u64, epoch: u64) -> Vec<u32> {
        let shuffle = LabelShuffle::of_epoch(epochs, seed, epoch, 10);
        (0..10).map(|index| shuffle.owner(index)).collect()
    }

    #[test]
    fn labels_are_the_images_own_until_the_first_shuffle() {
        let own: Vec<u32> = (0..10).collect();
        assert_eq!((owners(&[], 1, 9), owners(&[2, 5], 1, 1)), (own.clone(), own));
    }

    /// Output of `random_golden.py`, an independent ChaCha8 and Fisher-Yates shuffle.
    #[test]
    fn shuffles_are_those_of_an_independent_implementation() {
        for epoch in [2, 3, 4] {
            assert_eq!(owners(&[2, 5], 1, epoch), GOLDEN_FIRST);
        }
        for epoch in [5, 6, 1000] {
            assert_eq!(owners(&[2, 5], 1, epoch), GOLDEN_SECOND);
        }
        assert_eq!(owners(&[0], 1, 0), GOLDEN_FIRST);
    }

    const GOLDEN_FIRST: [u32; 10] = [3, 5, 1, 9, 4, 2, 8, 6, 0, 7];
    const GOLDEN_SECOND: [u32; 10] = [5, 4, 0, 8, 1, 2, 9, 7, 3, 6];

    proptest! {
        #[test]
        fn every_label_has_exactly_one_new_image(seed: u64, images in 0..300usize, epoch in 0..9u64) {
            let shuffle = LabelShuffle::of_epoch(&[1, 4, 7], seed, epoch, images);
            let mut owners: Vec<u32> = (0..).take(images).map(|index| shuffle.owner(index)).collect();
            owners.sort_unstable();
            prop_assert_eq!(owners, (0..).take(images).collect::<Vec<u32>>());
        }
    }
}

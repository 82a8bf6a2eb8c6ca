//! Encoded images that are held in memory between the read of their row group and their use.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// An image as its row gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Encoded {
    Bytes(Arc<[u8]>),
    /// A file, relative to the working directory.
    File(PathBuf),
    /// Neither bytes nor a path.
    Null,
}

impl Encoded {
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(path) => path.as_os_str().len() as u64,
            Self::Null => 0,
        }
    }
}

/// Images by index, with a limit for their total size. Beyond it, the images used the longest time ago are dropped
/// first; then those that have been waiting for the longest time. An image that was used does not wait again in the
/// same epoch.
#[derive(Debug)]
pub(super) struct Held {
    pub most_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    images: HashMap<u32, (Turn, Encoded)>,
    /// The next one to drop comes first.
    turns: BTreeSet<(Turn, u32)>,
    /// The images used in this epoch.
    used: HashSet<u32>,
    /// Number of reads and uses so far.
    clock: u64,
    bytes: u64,
}

/// Order in which images are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    UsedAt(u64),
    WaitingSince(u64),
}

impl Held {
    pub(super) fn new(most_bytes: u64) -> Self {
        Self { most_bytes, state: Mutex::default() }
    }

    /// Starts an epoch after the images `used`.
    pub(super) fn start_epoch(&self, used: &[u32]) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).used = used.iter().copied().collect();
    }

    /// Returns image `index` for use, if it is held.
    pub(super) fn take_up(&self, index: u32) -> Option<Encoded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).take_up(index)
    }

    /// Adds images that wait for their use.
    pub(super) fn add(&self, images: impl IntoIterator<Item = (u32, Encoded)>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        images.into_iter().for_each(|(index, image)| state.add(index, image));
        while state.bytes > self.most_bytes && state.drop_first() {}
    }
}

impl State {
    fn take_up(&mut self, index: u32) -> Option<Encoded> {
        let (turn, image) = self.images.get_mut(&index)?;
        self.turns.remove(&(*turn, index));
        self.clock += 1;
        *turn = Turn::UsedAt(self.clock);
        self.turns.insert((*turn, index));
        self.used.insert(index);
        Some(image.clone())
    }

    fn add(&mut self, index: u32, image: Encoded) {
        if self.used.contains(&index) || self.images.contains_key(&index) {
            return;
        }
        self.clock += 1;
        let turn = Turn::WaitingSince(self.clock);
        self.bytes += image.bytes();
        self.turns.insert((turn, index));
        self.images.insert(index, (turn, image));
    }

    /// Whether there was an image to drop.
    fn drop_first(&mut self) -> bool {
        let Some((_, index)) = self.turns.pop_first() else { return false };
        if let Some((_, image)) = self.images.remove(&index) {
            self.bytes -= image.bytes();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: usize) -> Encoded {
        Encoded::Bytes(vec![7; bytes].into())
    }

    fn indices(held: &Held) -> Vec<u32> {
        let mut indices: Vec<u32> = held.state.lock().unwrap().images.keys().copied().collect();
        indices.sort_unstable();
        indices
    }

    #[test]
    fn used_images_go_first_and_then_those_that_wait_longest() {
        let held = Held::new(10);
        held.add((0..5).map(|index| (index, of(2))));
        assert_eq!(held.take_up(3), Some(of(2)));
        assert_eq!(held.take_up(1), Some(of(2)));
        assert_eq!(held.take_up(3), Some(of(2)));
        assert_eq!(held.take_up(9), None);
        held.add([(5, of(1))]);
        assert_eq!(indices(&held), [0, 2, 3, 4, 5]);
        held.add([(6, of(2)), (7, of(2))]);
        assert_eq!(indices(&held), [2, 4, 5, 6, 7]);
        // An image above the limit leaves nothing, and one that is held already changes nothing.
        held.add([(6, of(11))]);
        assert_eq!(indices(&held), [2, 4, 5, 6, 7]);
        held.add([(8, of(11))]);
        assert_eq!(indices(&held), [0_u32; 0]);
        assert_eq!(held.state.lock().unwrap().bytes, 0);
    }

    #[test]
    fn an_image_waits_once_per_epoch() {
        let held = Held::new(4);
        let part = || (0..3).map(|index| (index, of(2)));
        held.start_epoch(&[2]);
        held.add(part());
        assert_eq!(indices(&held), [0, 1]);
        held.take_up(0);
        held.add([(7, of(2))]);
        assert_eq!(indices(&held), [1, 7]);
        held.add(part());
        assert_eq!(indices(&held), [1, 7]);
        held.start_epoch(&[]);
        held.add(part());
        assert_eq!(indices(&held), [0, 2]);
    }
}

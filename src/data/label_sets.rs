//! The classes of each image: exactly one, or any number of them.

/// The classes of each image, as indices. In multi-label data, an image has any number of classes, in ascending order;
/// otherwise it has exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSets {
    /// The classes of all images, image by image.
    classes: Vec<u32>,
    /// Where the classes of each image end in `classes`; `None` if each image has exactly one.
    ends: Option<Vec<usize>>,
}

/// One class per image.
impl From<Vec<u32>> for LabelSets {
    fn from(classes: Vec<u32>) -> Self {
        Self { classes, ends: None }
    }
}

/// Any number of classes per image. Repeated classes count once.
impl FromIterator<Vec<u32>> for LabelSets {
    fn from_iter<T: IntoIterator<Item = Vec<u32>>>(sets: T) -> Self {
        let (mut classes, mut ends) = (Vec::new(), Vec::new());
        for mut set in sets {
            set.sort_unstable();
            set.dedup();
            classes.extend(set);
            ends.push(classes.len());
        }
        Self { classes, ends: Some(ends) }
    }
}

impl LabelSets {
    /// Whether an image may have any number of classes.
    pub fn is_multi_label(&self) -> bool {
        self.ends.is_some()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.ends.as_ref().map_or(self.classes.len(), Vec::len)
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The classes of image `index`; empty if there is no such image.
    pub fn of(&self, index: usize) -> &[u32] {
        let range = match &self.ends {
            None => index..index.saturating_add(1),
            Some(ends) => {
                let start = index.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
                start..ends.get(index).copied().unwrap_or(0)
            }
        };
        self.classes.get(range).unwrap_or_default()
    }

    /// The classes of each image, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        (0..self.len()).map(|index| self.of(index))
    }

    /// The classes of all images, image by image.
    pub(super) fn flat(&self) -> &[u32] {
        &self.classes
    }

    /// Hashes the classes of one of the images.
    pub(crate) fn hash(&self, set: &[u32], hasher: &mut blake3::Hasher) {
        if self.is_multi_label() {
            hasher.update(&(set.len() as u64).to_le_bytes());
        }
        set.iter().for_each(|class| _ = hasher.update(&class.to_le_bytes()));
    }

    /// The classes of the images at `indices`, in this order.
    pub(super) fn chosen(&self, indices: &[u32]) -> Self {
        let sets = indices.iter().map(|&index| self.of(index as usize));
        match self.ends {
            None => sets.flatten().copied().collect::<Vec<_>>().into(),
            Some(_) => sets.map(<[u32]>::to_vec).collect(),
        }
    }

    /// Returns `indices[class]` in place of each class. A class without an index is left out.
    pub(super) fn renumbered(&self, indices: &[u32]) -> Self {
        let new =
            |set: &[u32]| set.iter().filter_map(|&class| indices.get(class as usize).copied()).collect::<Vec<_>>();
        match self.ends {
            None => new(&self.classes).into(),
            Some(_) => self.iter().map(new).collect(),
        }
    }

    /// Number of images of each of `classes` classes, among the images `indices`.
    pub(super) fn counts(&self, classes: usize, indices: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &class in indices.flat_map(|index| self.of(index)) {
            if let Some(count) = counts.get_mut(class as usize) {
                *count += 1;
            }
        }
        counts
    }
}

/// The names of a set of classes, joined by `|` as in a manifest.
pub(crate) fn shown(set: &[u32], classes: &[String]) -> String {
    let names: Vec<&str> = set.iter().filter_map(|&class| classes.get(class as usize)).map(String::as_str).collect();
    if names.is_empty() { "no class".to_owned() } else { names.join("|") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(sets: &[&[u32]]) -> LabelSets {
        sets.iter().map(|set| set.to_vec()).collect()
    }

    #[test]
    fn each_image_has_its_own_classes_in_ascending_order() {
        let images = sets(&[&[2, 0, 2], &[], &[1]]);
        assert_eq!(images.iter().collect::<Vec<_>>(), [&[0, 2][..], &[], &[1]]);
        assert_eq!((images.len(), images.of(3), images.of(usize::MAX)), (3, &[][..], &[][..]));
        assert!(images.is_multi_label() && !LabelSets::from(vec![0]).is_multi_label());
        let single = LabelSets::from(vec![2, 0]);
        assert_eq!(single.iter().collect::<Vec<_>>(), [&[2][..], &[0]]);
        assert_eq!((single.len(), single.of(2)), (2, &[][..]));
    }

    #[test]
    fn sets_are_counted_and_renumbered_class_by_class() {
        let images = sets(&[&[0, 2], &[], &[2]]);
        assert_eq!(images.counts(4, 0..3), [1, 0, 2, 0]);
        assert_eq!(images.counts(4, [1, 2].into_iter()), [0, 0, 1, 0]);
        assert_eq!(images.renumbered(&[3, 0, 1]), sets(&[&[1, 3], &[], &[1]]));
        assert_eq!(LabelSets::from(vec![1, 0]).renumbered(&[5, 7]), vec![7, 5].into());
    }

    #[test]
    fn chosen_images_keep_their_classes() {
        assert_eq!(sets(&[&[0, 2], &[], &[1]]).chosen(&[1, 2]), sets(&[&[], &[1]]));
        assert_eq!(LabelSets::from(vec![5, 6, 7]).chosen(&[0, 2]), vec![5, 7].into());
    }

    #[test]
    fn a_set_is_shown_as_in_a_manifest() {
        let classes = ["ant", "bee"].map(String::from);
        assert_eq!([&[0, 1][..], &[1], &[]].map(|set| shown(set, &classes)), ["ant|bee", "bee", "no class"]);
    }
}

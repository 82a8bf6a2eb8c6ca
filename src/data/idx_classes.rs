//! Determines the classes of IDX labels, because the files contain neither their number nor their names.

use super::dataset::numbered_classes;

/// Number of classes of MNIST and similar sets. A subset may contain fewer.
const USUAL: usize = 10;

/// Fashion-MNIST's classes, as <https://github.com/zalandoresearch/fashion-mnist> lists them.
const FASHION: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];
/// BLAKE3 of its training and test labels, without the file headers.
const FASHION_LABELS: [&str; 2] = [
    "32fcc5c992292ad2bdad03c701be466e8fba20b38d37a4f59514aba5d872dc07",
    "46effff67f65a1a2ba684568341f9a34c0e0c344fee101842cc811422cf19f16",
];

/// The classes of a data set of IDX files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IdxClasses {
    pub names: Vec<String>,
    /// Label of the first class; 1 in EMNIST letters.
    pub first_label: u32,
}

impl IdxClasses {
    /// Ten numbered classes, regardless of the labels.
    pub(super) fn usual() -> Self {
        Self { names: numbered_classes(USUAL), first_label: 0 }
    }

    /// Determines the classes from all labels: ten classes, or more if the labels from 0 on occur without a gap. Labels
    /// may start at 1 only if more than ten of them occur, without a gap up to the largest, because a subset of MNIST
    /// can lack zeros. A label after a gap does not add classes: it is damage.
    pub(super) fn of(train: &[u8], test: &[u8], is_letters: bool) -> Self {
        let hash = |labels| blake3::hash(labels).to_hex();
        if hash(train).as_str() == FASHION_LABELS[0] || hash(test).as_str() == FASHION_LABELS[1] {
            return Self { names: FASHION.map(String::from).into(), first_label: 0 };
        }
        let mut occurs = [false; 256];
        train.iter().chain(test).for_each(|&label| occurs[usize::from(label)] = true);
        let largest = occurs.iter().rposition(|occurs| *occurs).unwrap_or(0);
        let run = |first: usize| occurs[first..].iter().take_while(|occurs| **occurs).count();
        match (occurs[0], run(0), run(1)) {
            (false, _, count) if count == largest && count > USUAL => {
                Self { names: names_from_one(count, is_letters), first_label: 1 }
            }
            (_, count, _) => Self { names: numbered_classes(count.max(USUAL)), first_label: 0 },
        }
    }
}

fn names_from_one(count: usize, is_letters: bool) -> Vec<String> {
    match count {
        26 if is_letters => ('a'..='z').map(String::from).collect(),
        _ => (1..=count).map(|label| label.to_string()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(train: impl IntoIterator<Item = u8>, test: &[u8]) -> (usize, String, u32) {
        let classes = IdxClasses::of(&train.into_iter().collect::<Vec<_>>(), test, true);
        (classes.names.len(), classes.names[0].clone(), classes.first_label)
    }

    #[test]
    fn there_are_as_many_classes_as_labels_and_at_least_ten() {
        assert_eq!(of([3, 9, 0], &[1]), (10, "0".into(), 0));
        assert_eq!(of(1..10, &[]), (10, "0".into(), 0));
        assert_eq!(of(0..46, &[46, 0]), (47, "0".into(), 0));
        assert_eq!(of(1..27, &[1, 26]), (26, "a".into(), 1));
        assert_eq!(of(1..38, &[]), (37, "1".into(), 1));
        // An isolated label is damage, and is rejected later.
        assert_eq!(of((0..10).chain([200]), &[]), (10, "0".into(), 0));
        assert_eq!(of((1..27).chain([200]), &[]), (10, "0".into(), 0));
    }
}

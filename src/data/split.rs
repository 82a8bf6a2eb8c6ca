//! The stratified choice of validation images.

use super::random::{Purpose, Stream};

/// Says of each image whether it is held back for validation.
///
/// From each class of `n` images `fraction * n`, rounded, are held back, but at least one and at most `n - 1`; a class
/// of one image stays in training. The choice within a class depends on `seed`, its index and its images alone.
pub(super) fn held_back(labels: &[u32], fraction: f64, seed: u64) -> Vec<bool> {
    let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        if let Some(class) = members.get_mut(label as usize) {
            class.push(index);
        }
    }
    let mut is_held_back = vec![false; labels.len()];
    for (class, mut indices) in members.into_iter().enumerate() {
        let most = indices.len().saturating_sub(1);
        let wanted = (fraction * indices.len() as f64).round() as usize;
        Stream::new(seed, Purpose::Split, 0, class as u64).shuffle(&mut indices);
        for &index in indices.iter().take(wanted.max(1).min(most)) {
            if let Some(flag) = is_held_back.get_mut(index) {
                *flag = true;
            }
        }
    }
    is_held_back
}

/// Deals `items` to (training, validation), keeping their order.
pub(super) fn deal<T>(items: impl IntoIterator<Item = T>, is_held_back: &[bool]) -> (Vec<T>, Vec<T>) {
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (item, &held) in items.into_iter().zip(is_held_back) {
        if held { validation.push(item) } else { train.push(item) }
    }
    (train, validation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_per_class(labels: &[u32], fraction: f64) -> [usize; 3] {
        let flags = held_back(labels, fraction, 1);
        std::array::from_fn(|class| {
            labels.iter().zip(&flags).filter(|&(&label, &held)| held && label as usize == class).count()
        })
    }

    #[test]
    fn each_class_is_split_in_the_same_proportion() {
        let labels = [vec![0; 100], vec![1; 40], vec![2; 10]].concat();
        assert_eq!(held_per_class(&labels, 0.2), [20, 8, 2]);
    }

    #[test]
    fn a_class_of_two_or_more_has_an_image_on_each_side_and_a_single_image_is_trained_on() {
        let labels = [0, 1, 1, 2, 2, 2];
        assert_eq!(held_per_class(&labels, 0.01), [0, 1, 1]);
        assert_eq!(held_per_class(&labels, 0.99), [0, 1, 2]);
    }

    #[test]
    fn the_choice_is_repeatable_and_depends_on_the_seed() {
        let labels = vec![0; 200];
        assert_eq!(held_back(&labels, 0.5, 3), held_back(&labels, 0.5, 3));
        assert_ne!(held_back(&labels, 0.5, 3), held_back(&labels, 0.5, 4));
    }
}

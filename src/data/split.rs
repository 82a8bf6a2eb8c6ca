//! Chooses the validation images if a data set does not have a validation split.

use std::path::Path;

use super::LabelSets;
use super::name::Base;
use super::random::{Purpose, Stream};
use crate::config::{DataConfig, SplitBy};

/// Returns for each file, given as a path and class index, whether it is held out for validation.
pub(super) fn of_files(
    config: &DataConfig,
    files: impl Iterator<Item = (impl AsRef<Path>, u32)>,
    seed: u64,
) -> Vec<bool> {
    let base = Base::of_config(config);
    let number = |path: &Path| number_of(&base.name_of(path), seed);
    let (numbers, labels): (Vec<u64>, Vec<u32>) = files.map(|(path, label)| (number(path.as_ref()), label)).unzip();
    match config.split_by {
        SplitBy::Name => held_back_by_name(&numbers, &labels, config.validation_fraction),
        SplitBy::Position => held_back(&labels, config.validation_fraction, seed),
    }
}

/// Like [`of_files`], with one or any number of classes per image. Images without a class are split as a class of their
/// own.
pub(super) fn of_label_sets<'a>(
    config: &DataConfig,
    files: impl Iterator<Item = &'a Path>,
    labels: &LabelSets,
    seed: u64,
) -> Vec<bool> {
    let none = [labels.flat().iter().max().map_or(0, |&label| label + 1)];
    let sets = || labels.iter().map(|set| if set.is_empty() { &none } else { set });
    let pairs = files.zip(sets()).flat_map(|(path, set)| set.iter().map(move |&label| (path, label)));
    let mut is_held_back = of_files(config, pairs, seed).into_iter();
    // All pairs of an image have its name, so they are on one side.
    sets().filter_map(|set| is_held_back.by_ref().take(set.len()).last()).collect()
}

/// Returns for each image whether it is held out for validation, by its position in its class.
///
/// From each class of `n` images, `fraction * n`, rounded, are held out, but at least one and at most `n - 1`. A class
/// with a single image stays in training. The choice within a class depends only on `seed`, the class index, and the
/// class's images.
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

/// An image in the split by name.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    number: u64,
    label: u32,
    is_held_back: bool,
    /// Whether the image has several labels.
    is_shared: bool,
}

/// Returns for each image whether it is held out for validation, by the number of its name.
///
/// An image is held out if its number, derived only from the seed and its name, is below the fraction. So the other
/// images do not matter. Only if all images of a class would be on one side, one image moves: the one with the lowest
/// or the highest number. A class with a single image stays in training. Images with the same name are always on the
/// same side. If images have several labels, every class has a training image, but a rare class may lack a validation
/// image.
fn held_back_by_name(numbers: &[u64], labels: &[u32], fraction: f64) -> Vec<bool> {
    let drawn = |(&number, &label): (&u64, &u32)| {
        let is_held_back = (number as f64) < fraction * 2f64.powi(64);
        Drawn { number, label, is_held_back, is_shared: false }
    };
    // Each image once, in the order of the numbers.
    let mut images: Vec<Drawn> = numbers.iter().zip(labels).map(drawn).collect();
    images.sort_unstable_by_key(|image| (image.number, image.label));
    images.dedup_by(|next, first| {
        let is_same = next.number == first.number;
        first.is_shared |= is_same && next.label != first.label;
        is_same
    });
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (number, &label) in numbers.iter().zip(labels) {
        if members.len() <= label as usize {
            members.resize_with(label as usize + 1, Vec::new);
        }
        members[label as usize].extend(place_of(*number, &images));
    }
    for class in &mut members {
        class.sort_unstable();
        class.dedup();
        let given_up = match class.iter().filter(|&&place| images[place].is_held_back).count() {
            _ if class.len() < 2 => class.first(),
            // An image with several labels would move in its other classes too.
            0 => class.iter().min_by_key(|&&place| (images[place].is_shared, place)),
            held if held == class.len() => last_alone(class, &images),
            _ => None,
        };
        if let Some(&place) = given_up {
            images[place].is_held_back = !images[place].is_held_back && class.len() > 1;
        }
    }
    // An image that moved for one class may have been the last training image of another.
    for class in members.iter().filter(|class| !class.is_empty()) {
        if class.iter().all(|&place| images[place].is_held_back)
            && let Some(&place) = last_alone(class, &images)
        {
            images[place].is_held_back = false;
        }
    }
    numbers.iter().map(|number| place_of(*number, &images).is_some_and(|place| images[place].is_held_back)).collect()
}

fn place_of(number: u64, images: &[Drawn]) -> Option<usize> {
    images.binary_search_by_key(&number, |image| image.number).ok()
}

/// The image of a class with the highest number, preferably one without other labels.
fn last_alone<'a>(class: &'a [usize], images: &[Drawn]) -> Option<&'a usize> {
    class.iter().max_by_key(|&&place| (!images[place].is_shared, place))
}

/// Returns a number uniformly distributed over 64 bits.
fn number_of(name: &str, seed: u64) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("gradwatch: which images are held back for validation");
    hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Splits `items` into (training, validation), keeping their order.
pub(super) fn deal<T>(items: impl IntoIterator<Item = T>, is_held_back: &[bool]) -> (Vec<T>, Vec<T>) {
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (item, &held) in items.into_iter().zip(is_held_back) {
        if held { validation.push(item) } else { train.push(item) }
    }
    (train, validation)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::PathBuf};

    use super::super::fixture::config;
    use super::*;
    use crate::config::Source;

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

    fn by_name(names: &[String], labels: &[u32], fraction: f64, seed: u64) -> Vec<bool> {
        let numbers: Vec<u64> = names.iter().map(|name| number_of(name, seed)).collect();
        held_back_by_name(&numbers, labels, fraction)
    }

    /// Names `0` to `n - 1` in a folder.
    fn names(class: &str, n: usize) -> Vec<String> {
        (0..n).map(|index| format!("{class}/{index}.png")).collect()
    }

    #[test]
    fn an_image_that_comes_or_goes_moves_no_other() {
        let whole = names("cat", 200);
        let is_held = |names: &[String]| -> HashMap<String, bool> {
            let flags = by_name(names, &vec![0; names.len()], 0.25, 3);
            names.iter().cloned().zip(flags).collect()
        };
        let before = is_held(&whole);
        let more = [names("aardvark", 7), whole[50..].to_vec()].concat();
        let after = is_held(&more);
        assert!(whole[50..].iter().all(|name| after[name] == before[name]));
        // Binomial(200, 1/4): mean 50, standard deviation 6.1; allows four standard deviations.
        let held = before.values().filter(|held| **held).count();
        assert!((26..=74).contains(&held), "{held}");
        let other_seed = by_name(&whole, &[0; 200], 0.25, 4);
        assert!(whole.iter().zip(other_seed).any(|(name, held)| before[name] != held));
    }

    #[test]
    fn by_name_too_a_class_of_two_or_more_has_an_image_on_each_side() {
        let all = [names("a", 1), names("b", 2), names("c", 3)].concat();
        let labels = [0, 1, 1, 2, 2, 2];
        for seed in 0..50 {
            for (fraction, want) in [(1e-9, [0, 1, 1]), (1.0 - 1e-9, [0, 1, 2])] {
                let flags = by_name(&all, &labels, fraction, seed);
                let held: [usize; 3] = std::array::from_fn(|class| {
                    labels.iter().zip(&flags).filter(|&(&label, &held)| held && label as usize == class).count()
                });
                assert_eq!(held, want);
            }
        }
    }

    #[test]
    fn images_of_several_classes_are_split_by_their_names_and_every_class_is_trained_on() {
        let config = DataConfig { validation_fraction: 0.5, ..config(Source::Csv, "labels.csv") };
        for seed in 0..200 {
            let mut stream = Stream::new(seed, Purpose::Split, 0, 0);
            let sets: LabelSets = (0..12).map(|_| (0..5).filter(|_| stream.chance(0.3)).collect()).collect();
            let paths: Vec<PathBuf> = (0..12).map(|image| format!("{image}.png").into()).collect();
            let flags = of_label_sets(&config, paths.iter().map(PathBuf::as_path), &sets, seed);
            assert_eq!(flags.len(), 12);
            for class in 0..5 {
                let members: Vec<usize> = (0..12).filter(|&image| sets.of(image).contains(&class)).collect();
                assert!(members.is_empty() || members.iter().any(|&image| !flags[image]), "{seed}: {sets:?} {flags:?}");
            }
            // Only images without a class, or one each, are split as one class, or as classes.
            let alone: LabelSets = (0..12).map(|image| vec![image % 2]).collect();
            let single = LabelSets::from((0..12).map(|image| image % 2).collect::<Vec<_>>());
            let [one, other] =
                [alone, single].map(|sets| of_label_sets(&config, paths.iter().map(PathBuf::as_path), &sets, seed));
            assert_eq!(one, other);
            let none: LabelSets = (0..12).map(|_| Vec::new()).collect();
            let held = of_label_sets(&config, paths.iter().map(PathBuf::as_path), &none, seed);
            assert!(held.contains(&true) && held.contains(&false));
        }
    }

    #[test]
    fn images_of_one_name_are_on_one_side_whatever_their_labels() {
        let twice = [names("x", 40), names("x", 40)].concat();
        for seed in 0..20 {
            for labels in [vec![0; 80], [vec![0; 40], vec![1; 40]].concat()] {
                let flags = by_name(&twice, &labels, 0.3, seed);
                assert_eq!(flags[..40], flags[40..]);
            }
            // A class with one distinct image stays in training, even if the image is listed several times.
            assert_eq!(by_name(&[names("y", 1), names("y", 1)].concat(), &[0, 0], 0.9, seed), [false; 2]);
        }
    }
}

//! Finds duplicate images: in both splits, twice in a split, or with two labels.

use super::{Survey, shown_classes};

/// Identifies an image; equal for duplicates.
type Key = (u8, u128);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<'a> {
    key: Key,
    is_validation: bool,
    classes: &'a [u32],
    index: u32,
}

/// Number of duplicates of one kind, and the first one with its duplicate.
#[derive(Debug, Default)]
struct Found<'a> {
    count: usize,
    first: Option<[Entry<'a>; 2]>,
}

impl<'a> Found<'a> {
    fn add(&mut self, count: usize, pair: [Entry<'a>; 2]) {
        self.count += count;
        // First by position in the data set, not by hash.
        let place = |entry: &Entry<'_>| (entry.is_validation, entry.index);
        if self.first.is_none_or(|first| place(&pair[0]) < place(&first[0])) {
            self.first = Some(pair);
        }
    }
}

/// Reports images that are in both splits, twice in one split, or have two labels: one line per kind, with their number
/// and the first one. Two images are the same if their contents or their files are, regardless of their names.
pub fn remarks(training: &Survey, validation: &Survey) -> Vec<String> {
    let mut entries: Vec<Entry<'_>> =
        [training, validation].into_iter().zip([false, true]).flat_map(|(split, held)| entries(split, held)).collect();
    entries.sort_unstable();
    let (mut both, mut twice, mut labels) = (Found::default(), Found::default(), Found::default());
    for twins in entries.chunk_by(|one, other| one.key == other.key).filter(|twins| twins.len() > 1) {
        // In sort order, training images come first, and within a split, equal labels are adjacent.
        let first = twins[0];
        let held = twins.iter().filter(|entry| entry.is_validation).count();
        if let Some(validated) = twins.iter().find(|entry| entry.is_validation && !first.is_validation) {
            both.add(held, [*validated, first]);
        }
        if let Some(other) = twins.iter().find(|entry| entry.classes != first.classes) {
            labels.add(1, [first, *other]);
        }
        let is_repeated =
            |pair: &&[Entry<'_>]| (pair[0].is_validation, pair[0].classes) == (pair[1].is_validation, pair[1].classes);
        twins.windows(2).filter(is_repeated).for_each(|pair| twice.add(1, [pair[1], pair[0]]));
    }
    let split = |entry: Entry<'_>| if entry.is_validation { validation } else { training };
    let shown = |entry: Entry<'_>| split(entry).shown(entry.index);
    // Numbers of images in memory restart in each split.
    let is_one_file = |one: Entry<'_>, other: Entry<'_>| {
        let is_file = one.is_validation == other.is_validation || split(one).dataset.is_decoded_on_demand();
        is_file && shown(one) == shown(other)
    };
    let twin = |one: Entry<'_>, other: Entry<'_>| match is_one_file(one, other) {
        true => String::new(),
        false if one.is_validation && !other.is_validation => format!(" (the same as training {})", shown(other)),
        false => format!(" (the same as {})", shown(other)),
    };
    let class = |entry: Entry<'_>| shown_classes(entry.classes, split(entry).dataset.classes());
    let lines = [
        both.first.map(|[one, other]| {
            let (one, other) = (shown(one), twin(one, other));
            format!(
                "{} of {} validation images are in both splits, first {one}{other}: evaluations are too optimistic; \
                 keep each image in one split",
                both.count,
                validation.dataset.len()
            )
        }),
        labels.first.map(|[one, other]| {
            let classes = [class(one), class(other)].join(" and ");
            let (one, other) = (shown(one), twin(one, other));
            format!("images with two labels: {}, first {one}{other}: {classes}; keep the correct one", labels.count)
        }),
        twice.first.map(|[one, other]| {
            let (one, other) = (shown(one), twin(one, other));
            format!("duplicate images in a split: {}, first {one}{other}; remove one of each", twice.count)
        }),
    ];
    lines.into_iter().flatten().collect()
}

/// The images of a split that can be identified. Empty files are ignored.
fn entries(split: &Survey, is_validation: bool) -> impl Iterator<Item = Entry<'_>> {
    split.images().filter(|(_, _, print)| print.bytes > 0).filter_map(move |(index, classes, print)| {
        let file = || print.place.map(|(device, number)| (1, u128::from(device) << 64 | u128::from(number)));
        let key = print.contents.map(|contents| (0, contents)).or_else(file)?;
        Some(Entry { key, is_validation, classes, index })
    })
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::super::{Dataset, ImageShape, dataset::numbered_classes, fixture::write_image, survey};
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 1, width: 2 };

    /// Images with two equal pixels each, with their labels.
    fn in_memory(images: &[(u8, u32)]) -> Arc<Dataset> {
        let pixels = images.iter().flat_map(|(value, _)| [*value; 2]).collect();
        let labels = images.iter().map(|(_, label)| *label).collect();
        Arc::new(Dataset::in_memory(Path::new("here"), SHAPE, numbered_classes(3), labels, pixels).unwrap())
    }

    fn said(training: &Arc<Dataset>, validation: &Arc<Dataset>) -> Vec<String> {
        let [training, validation] = survey([training, validation]);
        remarks(&training, &validation)
    }

    #[test]
    fn sets_of_labels_are_compared_as_a_whole() {
        let images = |images: &[(u8, &[u32])]| {
            let plain: Vec<(u8, u32)> = images.iter().map(|(value, _)| (*value, 0)).collect();
            let images = Arc::into_inner(in_memory(&plain))
                .unwrap()
                .with_labels(images.iter().map(|(_, set)| set.to_vec()).collect());
            Arc::new(images.unwrap())
        };
        let training = images(&[(1, &[0, 2]), (1, &[0]), (2, &[]), (2, &[]), (3, &[1])]);
        let lines = said(&training, &images(&[(9, &[1])]));
        let labels = "images with two labels: 1, first image 1 (the same as image 0): 0 and 0|2; keep the correct one";
        assert_eq!(
            lines,
            [labels, "duplicate images in a split: 1, first image 3 (the same as image 2); remove one of each"]
        );
    }

    #[test]
    fn equal_pixels_are_counted_by_kind_with_the_first_of_each() {
        let clean = said(&in_memory(&[(1, 0), (2, 1)]), &in_memory(&[(3, 0)]));
        assert!(clean.is_empty(), "{clean:?}");
        let training = in_memory(&[(7, 0), (1, 0), (2, 1), (1, 0), (1, 0), (5, 2)]);
        let lines = said(&training, &in_memory(&[(9, 0), (2, 1), (5, 1), (7, 0)]));
        assert_eq!(lines.len(), 3, "{lines:?}");
        let start = "3 of 4 validation images are in both splits, first image 1 (the same as training image 2): ";
        assert!(lines[0].starts_with(start), "{lines:?}");
        assert!(
            lines[1].starts_with("images with two labels: 1, first image 5 (the same as image 2): 2 and 1"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("duplicate images in a split: 2, first image 3 (the same as image 1)"),
            "{lines:?}"
        );
    }

    #[test]
    fn links_and_copies_are_the_same_image_and_empty_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write_image(path("1.png"), 1);
        write_image(path("2.png"), 2);
        std::fs::copy(path("1.png"), path("copy.png")).unwrap();
        std::os::unix::fs::symlink("2.png", path("link.png")).unwrap();
        ["e.png", "f.png"].iter().for_each(|name| std::fs::write(path(name), "").unwrap());
        let files = |names: &[&str]| {
            let files = names.iter().map(|name| (path(name), 0)).collect();
            Arc::new(Dataset::from_files(folder.path(), SHAPE, numbered_classes(1), files).unwrap())
        };
        let (training, validation) = (files(&["1.png", "2.png", "e.png"]), files(&["copy.png", "f.png", "link.png"]));
        let lines = said(&training, &validation);
        assert!(lines.len() == 1 && lines[0].starts_with("2 of 3 validation images are in both splits"), "{lines:?}");
        // Without contents, the file itself identifies an image.
        let mut surveys = survey([&training, &validation]);
        surveys.iter_mut().flat_map(|survey| &mut survey.prints).for_each(|print| print.contents = None);
        let [training, validation] = surveys;
        let lines = remarks(&training, &validation);
        let start = format!(
            "1 of 3 validation images are in both splits, first {} (the same as training ",
            path("link.png").display()
        );
        assert!(lines.len() == 1 && lines[0].starts_with(&start), "{lines:?}");
    }
}

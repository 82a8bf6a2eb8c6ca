//! Compares the current images with the recorded images of a run.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::Path,
};

use super::{
    Survey,
    record::{self, Classes, Image, Part, Recorded},
    shown_classes,
};

/// Number of images, with the first of them.
#[derive(Debug, Default)]
struct Count {
    images: usize,
    first: String,
}

impl Count {
    fn add(&mut self, first: impl FnOnce() -> String) {
        if self.images == 0 {
            self.first = first();
        }
        self.images += 1;
    }

    /// Example: `5 new, first data/cat/004.png`.
    fn told(&self, what: &str) -> Option<String> {
        (self.images > 0).then(|| format!("{} {what}, first {}", self.images, self.first))
    }
}

/// Changes in one split.
#[derive(Debug, Default)]
struct SplitChanges {
    recorded: usize,
    unreadable: Count,
    replaced: Count,
    relabelled: Count,
    moved: Count,
    gone: Count,
    new: Count,
    /// Images that now come before an image they used to follow.
    reordered: Count,
}

impl SplitChanges {
    fn told(&self, name: &str, moved: &str) -> Option<String> {
        let Self { recorded, unreadable, replaced, relabelled, moved: elsewhere, gone, new, reordered } = self;
        let of_images = |count: &Count, what: &str| {
            let Count { images, first } = count;
            (*images > 0).then(|| format!("{images} of {recorded} {name} images {what}, first {first}"))
        };
        let mut lines: Vec<String> = [
            of_images(unreadable, "cannot be read"),
            of_images(replaced, "have different contents"),
            of_images(relabelled, "have a different class"),
            of_images(elsewhere, moved),
        ]
        .into_iter()
        .flatten()
        .collect();
        let come_and_gone: Vec<String> = [new.told("new"), gone.told("gone")].into_iter().flatten().collect();
        if !come_and_gone.is_empty() {
            lines.push(format!("{name}: {}", come_and_gone.join(", ")));
        }
        if lines.is_empty() {
            lines.extend(of_images(reordered, "are in a different order"));
        }
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

/// The current images by name. An image that is listed twice has two entries.
struct Places(HashMap<String, Vec<(usize, u32)>>);

impl Places {
    fn of(splits: &[Option<&Survey>; 2]) -> Self {
        let mut places: HashMap<String, Vec<(usize, u32)>> = HashMap::new();
        for (number, split) in splits.iter().enumerate() {
            let Some(split) = split else { continue };
            for (index, ..) in split.images() {
                places.entry(split.dataset.name(index)).or_default().push((number, index));
            }
        }
        Self(places)
    }

    /// Removes and returns an entry of this name, preferably from the given split.
    fn take(&mut self, name: &str, split: usize) -> Option<(usize, u32)> {
        let places = self.0.get_mut(name)?;
        let place = places.iter().position(|(number, _)| *number == split).unwrap_or(0);
        (!places.is_empty()).then(|| places.remove(place))
    }
}

/// Compares the images of a record, one at a time, with the current images.
struct Comparison<'a> {
    splits: [Option<&'a Survey>; 2],
    places: Places,
    changes: [SplitChanges; 2],
    /// Index of the last image found in each split.
    last: [Option<u32>; 2],
    /// Split, index, and recorded classes of the images that still exist.
    kept: Vec<(usize, u32, Classes)>,
}

impl<'a> Comparison<'a> {
    fn new(splits: [Option<&'a Survey>; 2]) -> Self {
        let places = Places::of(&splits);
        Self { splits, places, changes: Default::default(), last: [None; 2], kept: Vec::new() }
    }

    fn see(&mut self, part: Part, image: &Image) {
        let number = match part {
            Part::Training => 0,
            Part::Validation => 1,
            Part::Earlier => return,
        };
        let Some(split) = self.splits[number] else { return };
        let change = &mut self.changes[number];
        change.recorded += 1;
        match self.places.take(&image.name, number) {
            None => change.gone.add(|| split.dataset.shown(&image.name)),
            Some((place, _)) if place != number => change.moved.add(|| split.dataset.shown(&image.name)),
            Some((_, index)) => {
                let print = split.prints[index as usize];
                if split.is_unreadable(index) && (image.bytes > 0 || image.contents.is_some()) {
                    change.unreadable.add(|| split.shown(index));
                } else if !image.fits(print.bytes, print.contents) {
                    change.replaced.add(|| split.shown(index));
                }
                if self.last[number].replace(index).is_some_and(|last| index < last) {
                    change.reordered.add(|| split.shown(index));
                }
                self.kept.push((number, index, image.classes.clone()));
            }
        }
    }

    /// Describes all changes in one line. `classes` are the recorded class names.
    fn told(mut self, classes: &[String]) -> String {
        for (number, index, recorded) in self.kept {
            let Some(split) = self.splits[number] else { continue };
            let now = (split.dataset.label_sets().of(index as usize), split.dataset.classes());
            let before = (recorded.as_slice(), classes);
            if names(now) != names(before) {
                let [now, before] = [now, before].map(|(set, classes)| shown_classes(set, classes));
                let line = || format!("{} ({now}, was {before})", split.shown(index));
                self.changes[number].relabelled.add(line);
            }
        }
        let mut new: Vec<(usize, u32)> = self.places.0.into_values().flatten().collect();
        new.sort_unstable();
        for (number, index) in new {
            if let Some(split) = self.splits[number] {
                self.changes[number].new.add(|| split.shown(index));
            }
        }
        let [training, validation] = self.changes;
        let lines = [
            training.told("training", "are now validation images"),
            validation.told("validation", "are now training images"),
        ];
        lines.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// The names of a set of classes. Their indices may have changed.
fn names<'a>((set, classes): (&[u32], &'a [String])) -> BTreeSet<&'a str> {
    set.iter().filter_map(|&class| classes.get(class as usize)).map(String::as_str).collect()
}

/// Describes, in one line, how the training and validation images differ from the record at `path`. A split of `None`
/// is ignored. The text is empty if there are no differences.
///
/// # Errors
/// If the record cannot be read, or its hash is not `want`.
pub fn changes(path: &Path, want: Option<&str>, splits: [Option<&Survey>; 2]) -> io::Result<String> {
    let mut comparison = Comparison::new(splits);
    let Recorded { classes, hash } = record::read(path, |part, image| comparison.see(part, &image))?;
    match want.filter(|want| *want != hash) {
        Some(want) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("got BLAKE3 {hash}, want {want}"))),
        None => Ok(comparison.told(&classes)),
    }
}

/// The images of a data set that a run was trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// Number of images.
    pub images: usize,
    /// The first image, for messages.
    pub first: String,
    /// Whether the contents of all images matched, not only names and sizes.
    pub is_certain: bool,
}

/// Finds the images that were used to train the run with the record at `path`: images with the same contents under any
/// name or, if contents are not known, with the same name and size.
///
/// # Errors
/// If the record cannot be read.
pub fn overlap(path: &Path, images: &Survey) -> io::Result<Overlap> {
    let mut by_contents: HashMap<u128, Vec<u32>> = HashMap::new();
    let mut by_name: HashMap<String, Vec<u32>> = HashMap::new();
    for (index, _, print) in images.images().filter(|(_, _, print)| print.bytes > 0) {
        by_name.entry(images.dataset.name(index)).or_default().push(index);
        if let Some(contents) = print.contents {
            by_contents.entry(contents).or_default().push(index);
        }
    }
    let mut is_trained_on = vec![false; images.prints.len()];
    let mut is_certain = true;
    record::read(path, |part, image: Image| {
        if part == Part::Validation {
            return;
        }
        let contents = image.contents.filter(|_| images.has_contents);
        let found = match contents {
            Some(contents) => by_contents.get(&contents),
            None => by_name.get(&image.name),
        };
        for &index in found.into_iter().flatten() {
            if contents.is_some() || image.bytes == images.prints[index as usize].bytes {
                is_trained_on[index as usize] = true;
                is_certain &= contents.is_some();
            }
        }
    })?;
    let mut found = (0..).zip(&is_trained_on).filter(|(_, is_trained_on)| **is_trained_on).map(|(index, _)| index);
    let first = found.next();
    Ok(Overlap {
        images: first.map_or(0, |_| 1 + found.count()),
        first: first.map(|index| images.shown(index)).unwrap_or_default(),
        is_certain,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, sync::Arc};

    use super::super::{Dataset, ImageShape, fixture::write_image, record, survey};
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 4, width: 4 };

    /// A folder with images in `data`, and a record of these images.
    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        /// Creates eight training images `t/0.png` to `t/7.png` and two validation images, each with a different value.
        fn new() -> Self {
            let place = Self { folder: tempfile::tempdir().unwrap() };
            (0..8).for_each(|image| write_image(place.data(&format!("t/{image}.png")), image));
            (0..2).for_each(|image| write_image(place.data(&format!("v/{image}.png")), 100 + image));
            let [training, validation] = place.surveys(&NAMES, &["v/0.png", "v/1.png"]);
            fs::write(place.record(), record(&training, &validation, None)).unwrap();
            place
        }

        fn data(&self, name: &str) -> PathBuf {
            self.folder.path().join("data").join(name)
        }

        fn record(&self) -> PathBuf {
            self.folder.path().join("data.jsonl")
        }

        fn surveys(&self, training: &[&str], validation: &[&str]) -> [Survey; 2] {
            let split = |names: &[&str]| {
                let label = |name: &str| u32::from(name.starts_with('d'));
                let files = names.iter().map(|name| (self.data(name), label(name))).collect();
                let classes = vec!["cat".to_owned(), "dog".to_owned()];
                Arc::new(Dataset::from_files(&self.data(""), SHAPE, classes, files).unwrap())
            };
            survey([&split(training), &split(validation)])
        }

        fn told(&self, training: &[&str], validation: &[&str]) -> String {
            let [training, validation] = self.surveys(training, validation);
            let told = changes(&self.record(), None, [Some(&training), Some(&validation)]).unwrap();
            told.replace(&format!("{}/", self.folder.path().display()), "")
        }
    }

    const NAMES: [&str; 8] = ["t/0.png", "t/1.png", "t/2.png", "t/3.png", "t/4.png", "t/5.png", "t/6.png", "t/7.png"];
    const HELD: [&str; 2] = ["v/0.png", "v/1.png"];

    #[test]
    fn the_same_images_have_no_changes() {
        assert_eq!(Place::new().told(&NAMES, &HELD), "");
    }

    #[test]
    fn each_kind_of_change_is_counted_with_the_first_image() {
        let place = Place::new();
        // The file size stays the same; only the pixel values change.
        write_image(place.data("t/4.png"), 44);
        write_image(place.data("t/6.png"), 66);
        assert_eq!(place.told(&NAMES, &HELD), "2 of 8 training images have different contents, first data/t/4.png");
        let place = Place::new();
        let moved = [&NAMES[..7], &["v/1.png"]].concat();
        assert_eq!(
            place.told(&moved, &["t/7.png", "v/0.png"]),
            "1 of 8 training images are now validation images, first data/t/7.png; 1 of 2 validation images are now \
             training images, \
             first data/v/1.png"
        );
        let other = [&["new.png"], &NAMES[2..]].concat();
        assert_eq!(
            place.told(&other, &["v/0.png", "v/1.png", "z.png"]),
            "training: 1 new, first data/new.png, 2 gone, first data/t/0.png; validation: 1 new, first data/z.png"
        );
        let mut order = NAMES;
        order.swap(1, 2);
        assert_eq!(place.told(&order, &HELD), "1 of 8 training images are in a different order, first data/t/2.png");
        let twice = [&NAMES[..], &["t/0.png"]].concat();
        assert_eq!(place.told(&twice, &HELD), "training: 1 new, first data/t/0.png");
    }

    #[test]
    fn another_class_is_told_by_its_name() {
        let place = Place::new();
        let text = fs::read_to_string(place.record()).unwrap();
        fs::write(place.record(), text.replace("[\"t/3.png\",0", "[\"t/3.png\",1")).unwrap();
        let told = place.told(&NAMES, &HELD);
        assert_eq!(told, "1 of 8 training images have a different class, first data/t/3.png (cat, was dog)");
    }

    #[test]
    fn other_classes_of_multi_label_data_are_told_by_their_names() {
        let place = Place::new();
        let text = fs::read_to_string(place.record()).unwrap();
        // Images of one class, in a record of multi-label data.
        let text = text.replace("\"format\":1", "\"format\":2").replace(".png\",0,", ".png\",[0],");
        fs::write(place.record(), text.replace("[\"t/3.png\",[0]", "[\"t/3.png\",[0,1]")).unwrap();
        let told = place.told(&NAMES, &HELD);
        assert_eq!(told, "1 of 8 training images have a different class, first data/t/3.png (cat, was cat|dog)");
    }

    #[test]
    fn a_record_of_another_hash_is_refused() {
        let place = Place::new();
        let [training, _] = place.surveys(&NAMES, &HELD);
        let refused = changes(&place.record(), Some("00"), [Some(&training), None]).unwrap_err().to_string();
        let hash = blake3::hash(&fs::read(place.record()).unwrap());
        assert_eq!(refused, format!("got BLAKE3 {hash}, want 00"));
        assert_eq!(changes(&place.record(), Some(hash.to_hex().as_str()), [Some(&training), None]).unwrap(), "");
    }

    #[test]
    fn images_that_were_trained_on_are_found_under_any_name() {
        let place = Place::new();
        fs::rename(place.data("t/2.png"), place.data("v/2.png")).unwrap();
        fs::copy(place.data("t/5.png"), place.data("v/5.png")).unwrap();
        // An image with the name of a training image but different contents.
        write_image(place.data("t/3.png"), 33);
        let [_, seen] = place.surveys(&NAMES[..1], &["t/3.png", "v/0.png", "v/2.png", "v/5.png"]);
        let found = overlap(&place.record(), &seen).unwrap();
        assert_eq!((found.images, found.is_certain), (2, true));
        assert_eq!(found.first, place.data("v/2.png").display().to_string());
        let [_, clean] = place.surveys(&NAMES[..1], &HELD);
        assert_eq!(overlap(&place.record(), &clean).unwrap().images, 0);
    }

    #[test]
    fn without_contents_the_names_and_sizes_of_trained_images_are_found() {
        let place = Place::new();
        let [_, mut seen] = place.surveys(&NAMES[..1], &["t/3.png", "v/0.png"]);
        seen.has_contents = false;
        let found = overlap(&place.record(), &seen).unwrap();
        assert_eq!((found.images, found.is_certain), (1, false));
        assert_eq!(found.first, place.data("t/3.png").display().to_string());
    }

    #[test]
    fn files_that_are_gone_from_a_list_cannot_be_read() {
        let place = Place::new();
        fs::remove_file(place.data("t/1.png")).unwrap();
        fs::remove_file(place.data("t/5.png")).unwrap();
        assert_eq!(place.told(&NAMES, &HELD), "2 of 8 training images cannot be read, first data/t/1.png");
    }
}

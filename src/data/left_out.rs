//! What lies in the folders of a data set and is passed over, counted by reason, for one line in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a file or folder is passed over, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// An image in a format that no decoder here reads.
    Format,
    /// A link whose target is not there.
    Nowhere,
    /// A pipe, a device or a socket.
    Special,
    /// An image whose name starts with a dot.
    Hidden,
    /// An image in a folder within a class folder, where those are not looked into.
    Nested,
    /// A link to a folder that is looked into anyway, or to one above it.
    Again,
    /// An image beside the class folders.
    Beside,
    /// A folder beside those of the splits.
    OtherFolder,
    /// A file whose name is not that of an image.
    NotImage,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Format => "of formats other than png, jpeg, bmp and webp",
            Self::Nowhere => "links that lead nowhere",
            Self::Special => "pipes, devices and sockets",
            Self::Hidden => "hidden images",
            Self::Nested => "images in folders within class folders",
            Self::Again => "links to folders that are listed already",
            Self::Beside => "images beside the class folders",
            Self::OtherFolder => "folders beside those of the splits",
            Self::NotImage => "not images",
        }
    }
}

/// How many were passed over for each reason, and the first of each.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    by_reason: BTreeMap<Reason, (usize, PathBuf)>,
    /// Images that are taken and lie deeper than in their class folder.
    within: Option<(usize, PathBuf)>,
}

impl LeftOut {
    pub(super) fn add(&mut self, reason: Reason, path: PathBuf) {
        self.by_reason.entry(reason).and_modify(|(count, _)| *count += 1).or_insert((1, path));
    }

    pub(super) fn take_in(&mut self, other: Self) {
        for (reason, (count, first)) in other.by_reason {
            self.by_reason.entry(reason).and_modify(|(sum, _)| *sum += count).or_insert((count, first));
        }
    }

    /// Counts the images of a class folder that lie in folders within it.
    pub(super) fn count_within(&mut self, folder: &Path, images: &[PathBuf]) {
        let mut within = images.iter().filter(|path| path.parent() != Some(folder));
        if let Some(first) = within.next() {
            let more = 1 + within.count();
            let (count, _) = self.within.get_or_insert_with(|| (0, first.clone()));
            *count += more;
        }
    }

    /// Warns of what was passed over in `root`, in one line, and in another of what was found where some do not look; of nothing
    /// where there is nothing.
    pub(super) fn tell(&self, root: &Path) {
        if let Some((count, first)) = &self.within {
            let (root, first) = (root.display(), first.display());
            tracing::warn!(
                "{root}: {count} image(s) lie in folders within class folders and are taken as of the class (first {first})"
            );
        }
        if !self.by_reason.is_empty() {
            tracing::warn!("{}: left out {self}", root.display());
        }
    }

    /// What was passed over as the end of a sentence; empty where nothing was.
    pub(super) fn addition(&self) -> String {
        if self.by_reason.is_empty() { String::new() } else { format!(", only {self}") }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.by_reason.values().map(|(count, _)| count).sum();
        write!(f, "{total} {}: ", if total == 1 { "entry" } else { "entries" })?;
        for (index, (reason, (count, first))) in self.by_reason.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{count} {} (first {})", reason.text(), first.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_with_its_count_and_its_first_path() {
        let mut left_out = LeftOut::default();
        assert_eq!(left_out.addition(), "");
        left_out.add(Reason::NotImage, "a/notes.txt".into());
        assert_eq!(left_out.to_string(), "1 entry: 1 not images (first a/notes.txt)");
        for name in ["a/2.tif", "a/1.gif"] {
            left_out.add(Reason::Format, name.into());
        }
        let want = "3 entries: 2 of formats other than png, jpeg, bmp and webp (first a/2.tif); 1 not images (first a/notes.txt)";
        assert_eq!(left_out.to_string(), want);
        assert_eq!(left_out.addition(), format!(", only {want}"));
    }

    #[test]
    fn images_within_class_folders_are_counted_over_all_classes() {
        let mut left_out = LeftOut::default();
        left_out.count_within(Path::new("a"), &["a/1.png", "a/x/2.png", "a/x/y/3.png"].map(PathBuf::from));
        left_out.count_within(Path::new("b"), &["b/1.png", "b/x/2.png"].map(PathBuf::from));
        assert_eq!(left_out.within, Some((3, "a/x/2.png".into())));
        assert_eq!(left_out.addition(), "");
    }
}

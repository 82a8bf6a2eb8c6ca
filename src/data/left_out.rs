//! Counts the skipped entries of a data set's folders by reason, for one log line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::number::count as plural;

/// Reason why a file or folder is skipped, in the order of the log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// An image in an unsupported format.
    Format,
    /// A link whose target does not exist.
    Nowhere,
    /// A pipe, a device, or a socket.
    Special,
    /// An image whose name starts with a dot.
    Hidden,
    /// An image in a subfolder of a class folder, if subfolders are not searched.
    Nested,
    /// A link to a folder that is already searched, or to one of its parents.
    Again,
    /// An image next to the class folders.
    Beside,
    /// A folder next to those of the splits.
    OtherFolder,
    /// A file without the extension of an image.
    NotImage,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Format => "of formats that are not supported",
            Self::Nowhere => "broken links",
            Self::Special => "pipes, devices, and sockets",
            Self::Hidden => "hidden images",
            Self::Nested => "images in subfolders of class folders",
            Self::Again => "links to folders already listed",
            Self::Beside => "images next to the class folders",
            Self::OtherFolder => "folders next to the split folders",
            Self::NotImage => "not images",
        }
    }
}

/// Number of skipped entries per reason, with the first of each.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    by_reason: BTreeMap<Reason, (usize, PathBuf)>,
    /// Number of images in subfolders of class folders, which are used.
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

    /// Counts the images in subfolders of a class folder.
    pub(super) fn count_within(&mut self, folder: &Path, images: &[PathBuf]) {
        let mut within = images.iter().filter(|path| path.parent() != Some(folder));
        if let Some(first) = within.next() {
            let more = 1 + within.count();
            let (count, _) = self.within.get_or_insert_with(|| (0, first.clone()));
            *count += more;
        }
    }

    /// Warns about the skipped entries of `root` in one line, and about used images in subfolders in another, if there
    /// are any.
    pub(super) fn tell(&self, root: &Path) {
        if let Some((count, first)) = &self.within {
            let (root, first) = (root.display(), first.display());
            tracing::warn!(
                "{root}: {} in subfolders of class folders belong to the class of that folder (first {first})",
                plural(*count as u64, "image")
            );
        }
        if !self.by_reason.is_empty() {
            tracing::warn!("{}: skipped {self}", root.display());
        }
    }

    /// Describes the skipped entries as the end of a sentence; empty if there are none.
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
        let want = "3 entries: 2 of formats that are not supported (first a/2.tif); 1 not images (first \
                    a/notes.txt)";
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

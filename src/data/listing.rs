//! Lists the image files of a folder and its subfolders.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::DataError;
use super::left_out::{LeftOut, Reason};

/// Extensions of supported image files.
const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];
/// The same from data edition 3 on.
const NEW_EXTENSIONS: [&str; 5] = ["gif", "tif", "tiff", "jpe", "jfif"];
/// Extensions of other image files, which a user may miss.
const OTHER_FORMATS: [&str; 22] = [
    "arw", "avif", "cr2", "dcm", "dng", "exr", "hdr", "heic", "heif", "ico", "j2k", "jp2", "jxl", "nef", "pbm", "pgm",
    "pnm", "ppm", "psd", "qoi", "svg", "tga",
];

/// Type of a file by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    OtherFormat,
    NotImage,
}

impl Kind {
    pub(super) fn of(path: &Path, edition: usize) -> Self {
        let extension = path.extension().unwrap_or_default();
        let is_among = |known: &[&str]| known.iter().any(|known| extension.eq_ignore_ascii_case(known));
        let is_new = is_among(&NEW_EXTENSIONS);
        match () {
            () if is_among(&EXTENSIONS) || (is_new && edition >= 3) => Self::Image,
            () if is_among(&OTHER_FORMATS) || is_new => Self::OtherFormat,
            () => Self::NotImage,
        }
    }
}

/// Type of an entry, with links followed.
pub(super) enum Entry {
    /// With its device and inode, which identify the folder.
    Folder((u64, u64)),
    File,
    /// A pipe, a device, or a socket.
    Special,
    /// A link whose target does not exist.
    Nowhere,
}

impl Entry {
    /// Returns the type of the entry; `None` if it was removed since its folder was read.
    pub(super) fn at(path: &Path) -> Result<Option<Self>, DataError> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Some(Self::Folder((found.dev(), found.ino())))),
            Ok(found) => Ok(Some(if found.is_file() { Self::File } else { Self::Special })),
            Err(_) if path.is_symlink() => Ok(Some(Self::Nowhere)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataError::io(path, error)),
        }
    }
}

/// Lists the images of `folder`, sorted by path, and from data edition 2 on also those of its subfolders. Skipped
/// entries are added to `left_out`. Links to folders are followed, and each folder is searched once.
pub(super) fn images_in(folder: &Path, edition: usize, left_out: &mut LeftOut) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    // A link to a parent folder would add images of other classes and cause an endless loop.
    let mut known = above(folder)?;
    let mut open = vec![folder.to_owned()];
    let mut searched = 0;
    while let Some(inner) = open.pop() {
        searched += 1;
        let is_taken = edition >= 2 || inner == folder;
        for (path, is_file) in typed_entries(&inner)? {
            let kind = Kind::of(&path, edition);
            if is_hidden(&path) {
                if kind != Kind::NotImage && path.is_file() {
                    left_out.add(Reason::Hidden, path);
                }
                continue;
            }
            match (if is_file { Some(Entry::File) } else { Entry::at(&path)? }, kind) {
                (None, _) => {}
                (Some(Entry::Folder(id)), _) if known.insert(id) => open.push(path),
                (Some(Entry::Folder(_)), _) => left_out.add(Reason::Again, path),
                (Some(Entry::Nowhere), _) => left_out.add(Reason::Nowhere, path),
                (Some(Entry::Special), _) => left_out.add(Reason::Special, path),
                (Some(Entry::File), Kind::Image) if is_taken => files.push(path),
                (Some(Entry::File), Kind::Image) => left_out.add(Reason::Nested, path),
                (Some(Entry::File), Kind::OtherFormat) => left_out.add(Reason::Format, path),
                (Some(Entry::File), Kind::NotImage) => left_out.add(Reason::NotImage, path),
            }
        }
    }
    if searched > 1 {
        files.sort_unstable();
    }
    Ok(files)
}

/// Device and inode of the folder and of all its parents.
fn above(folder: &Path) -> Result<HashSet<(u64, u64)>, DataError> {
    let whole = fs::canonicalize(folder).map_err(|e| DataError::io(folder, e))?;
    let ids = whole.ancestors().filter_map(|folder| fs::metadata(folder).ok());
    Ok(ids.map(|found| (found.dev(), found.ino())).collect())
}

/// Lists all entries of a folder, including hidden ones, sorted by path.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(typed_entries(folder)?.into_iter().map(|(path, _)| path).collect())
}

/// The same, with whether an entry is a regular file. Of a link, that is false: only its target can tell.
fn typed_entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>, DataError> {
    let typed = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.path(), entry.file_type().is_ok_and(|kind| kind.is_file())))
    };
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(typed).collect());
    let mut entries: Vec<(PathBuf, bool)> = entries.map_err(|e| DataError::io(folder, e))?;
    // In one folder, the order of the bytes is that of the paths, and is found faster.
    entries.sort_unstable_by(|(one, _), (other, _)| one.as_os_str().cmp(other.as_os_str()));
    Ok(entries)
}

pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().unwrap_or_default().as_encoded_bytes().starts_with(b".")
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::super::fixture::write_image;
    use super::*;

    /// The images below `root` by relative path, and the skipped entries.
    fn list(root: &Path, edition: usize) -> (Vec<String>, String) {
        let mut left_out = LeftOut::default();
        let files = images_in(root, edition, &mut left_out).unwrap();
        let short = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
        let told = left_out.addition().replace(&format!("{}/", root.display()), "");
        (files.iter().map(|path| short(path)).collect(), told)
    }

    #[test]
    fn folders_within_are_walked_or_counted() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b.png", "a/2.JPG", "a/am/1.bmp", "c.webp"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let (files, left_out) = list(root.path(), 2);
        assert_eq!(
            (files, left_out.as_str()),
            (["a/2.JPG", "a/am/1.bmp", "b.png", "c.webp"].map(String::from).into(), "")
        );
        let (files, left_out) = list(root.path(), 1);
        assert_eq!(files, ["b.png", "c.webp"]);
        assert_eq!(left_out, ", only 2 entries: 2 images in subfolders of class folders (first a/2.JPG)");
    }

    #[test]
    fn what_is_passed_over_is_counted_by_reason() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for name in ["x.tif", "x.HEIC", "x.PNG.tmp", "Thumbs.db", ".x.png", "._y.gif", ".hidden", "good.png"] {
            fs::write(path(name), "").unwrap();
        }
        fs::create_dir(path(".thumbnails")).unwrap();
        fs::write(path(".thumbnails/x.png"), "").unwrap();
        symlink("nowhere", path("gone.png")).unwrap();
        symlink("itself.png", path("itself.png")).unwrap();
        symlink("/dev/zero", path("endless.png")).unwrap();
        let _listener = UnixListener::bind(path("socket.png")).unwrap();
        let (files, left_out) = list(root.path(), 2);
        assert_eq!(files, ["good.png"]);
        let want = ", only 10 entries: 2 of formats that are not supported (first x.HEIC); \
                    2 broken links (first gone.png); 2 pipes, devices, and sockets (first endless.png); \
                    2 hidden images (first ._y.gif); 2 not images (first Thumbs.db)";
        assert_eq!(left_out, want);
        assert_eq!(list(root.path(), 3).0, ["good.png", "x.tif"]);
    }

    #[test]
    fn links_to_folders_are_followed_once_and_never_upwards() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path().join("elsewhere/3.png"), 1);
        write_image(root.path().join("data/cat/1.png"), 1);
        write_image(root.path().join("data/dog/2.png"), 1);
        let cat = root.path().join("data/cat");
        for (target, name) in
            [("../..", "up"), (".", "here"), ("../../elsewhere", "more"), ("../../elsewhere", "twice")]
        {
            symlink(target, cat.join(name)).unwrap();
        }
        symlink("../data/cat", root.path().join("elsewhere/back")).unwrap();
        let (files, left_out) = list(&cat, 3);
        assert_eq!(files, ["1.png", "more/3.png"]);
        assert_eq!(left_out, ", only 4 entries: 4 links to folders already listed (first here)");
    }
}

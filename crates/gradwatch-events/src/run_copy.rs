//! Copies files of a run.

use std::{io, path::Path};

use super::{
    EventsError, RunFolder,
    run::{CONFIG, logs_in},
};
use crate::disk::{self, Folder};

/// Ending of a folder of copies that is not complete.
const COPYING: &str = ".partial";
/// Files of a run, beside its logs, that a copy needs to resume.
const NEEDED: [&str; 5] = [CONFIG, "paths.json", "data.jsonl", "classes.json", "preprocessing.json"];
/// Folder of the checkpoints in that of a run.
const CHECKPOINTS: &str = "checkpoints";

impl RunFolder {
    /// Copies the logs and the config to `parent/name`, a folder inside this one that appears once it is complete. Does
    /// nothing if it exists.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn copy_logs(&self, parent: &str, name: &str) -> Result<(), EventsError> {
        let write = |cause| EventsError::Write { path: self.path().join(parent).join(name), cause };
        let parent = self.folder().make_folder(parent).map_err(write)?;
        if parent.contains(name) {
            return Ok(());
        }
        let copied = appear(&parent, name, |copy| {
            let mut names = logs_in(self.folder())?.into_iter().chain([CONFIG.to_owned()]);
            names.try_for_each(|name| copy_file(self.folder(), &name, copy, &name))
        });
        copied.map_err(write)
    }

    /// Moves a file of a folder of the run to `parent/name`. Does nothing without the file.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn move_aside(&self, [folder, file]: [&str; 2], parent: &str, name: &str) -> io::Result<()> {
        if !self.folder().contains(folder) {
            return Ok(());
        }
        let from = self.folder().folder(folder)?;
        if from.contains(file) {
            from.move_to(file, &self.folder().folder(parent)?.folder(name)?)?;
        }
        Ok(())
    }

    /// Replaces the logs with the copies in `parent/name`. Can be repeated after a kill at any time.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn restore_logs(&self, parent: &str, name: &str) -> Result<(), EventsError> {
        let restore = || -> io::Result<()> {
            let copies = self.folder().folder(parent)?.folder(name)?;
            let names = logs_in(&copies)?;
            for name in logs_in(self.folder())?.iter().filter(|name| !names.contains(name)) {
                self.folder().remove(name)?;
            }
            for name in &names {
                let copy = format!("{name}{COPYING}");
                if self.folder().contains(&copy) {
                    self.folder().remove(&copy)?;
                }
                copy_file(&copies, name, self.folder(), &copy)?;
                self.folder().rename(&copy, name)?;
                disk::point("restored");
            }
            self.folder().sync()
        };
        restore().map_err(|cause| EventsError::Write { path: self.path().join(parent).join(name), cause })
    }

    /// Copies what is needed to resume the run in `from` into a new folder `to`, with the checkpoints that `keeps` accepts by
    /// name. `finish` may change files of the copy, which appears once it is complete. Changes nothing in `from`.
    ///
    /// # Errors
    /// If `to` exists, or the system reports an error.
    pub fn copy(
        from: &Path,
        to: &Path,
        keeps: impl Fn(&str) -> bool,
        finish: impl FnOnce(&Folder) -> io::Result<()>,
    ) -> Result<(), EventsError> {
        let write = |cause| EventsError::Create { path: to.to_owned(), cause };
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (parent, name) = (Folder::open(parent).map_err(write)?, to.file_name().unwrap_or_default());
        if parent.contains(name) {
            return Err(EventsError::CopyExists { path: to.to_owned() });
        }
        let source = Folder::open(from).map_err(|cause| EventsError::Open { path: from.to_owned(), cause })?;
        let copied = appear(&parent, &name.to_string_lossy(), |copy| {
            let needed = NEEDED.iter().filter(|name| source.contains(name)).map(|name| (*name).to_owned());
            for name in logs_in(&source)?.into_iter().chain(needed) {
                copy_file(&source, &name, copy, &name)?;
            }
            if source.contains(CHECKPOINTS) {
                let (source, copies) = (source.folder(CHECKPOINTS)?, copy.make_folder(CHECKPOINTS)?);
                for name in source.names()?.iter().filter_map(|name| name.to_str()).filter(|name| keeps(name)) {
                    let (checkpoint, copied) = (source.folder(name)?, copies.make_folder(name)?);
                    for file in checkpoint.names()?.iter().filter_map(|file| file.to_str()) {
                        copy_file(&checkpoint, file, &copied, file)?;
                    }
                    copied.sync()?;
                }
                copies.sync()?;
            }
            finish(copy)
        });
        copied.map_err(write)
    }
}

/// Fills a new folder, which then appears under its name.
fn appear(parent: &Folder, name: &str, fill: impl FnOnce(&Folder) -> io::Result<()>) -> io::Result<()> {
    let partial = format!("{name}{COPYING}");
    if parent.contains(&partial) {
        remove(parent, &partial)?;
    }
    parent.new_folder(&partial)?;
    let copy = parent.folder(&partial)?;
    fill(&copy)?;
    copy.sync()?;
    parent.rename(&partial, name)?;
    parent.sync()
}

/// Removes the copy of a process that died.
fn remove(parent: &Folder, name: &str) -> io::Result<()> {
    let copy = parent.folder(name)?;
    if copy.contains(CHECKPOINTS) {
        let checkpoints = copy.folder(CHECKPOINTS)?;
        checkpoints.names()?.iter().try_for_each(|checkpoint| checkpoints.remove_folder(checkpoint))?;
    }
    parent.remove_folder(name)
}

/// Copies a file to another folder, under a new name that nothing has there. The copy is on disk when this returns.
fn copy_file(from: &Folder, name: &str, to: &Folder, new: &str) -> io::Result<()> {
    let mut copied = to.create_new(new)?;
    io::copy(&mut from.open_file(name)?, &mut copied)?;
    copied.sync_all()?;
    disk::point("copied");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_copy_has_what_a_run_needs_to_resume_and_the_original_stays() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("run"), place.path().join("run-repaired"));
        for folder in ["checkpoints/epoch-0000-step-00000010", "checkpoints/epoch-0001-step-00000020", "weights"] {
            fs::create_dir_all(from.join(folder)).unwrap();
            fs::write(from.join(folder).join("file"), folder).unwrap();
        }
        fs::write(from.join("config.toml"), "a").unwrap();
        fs::write(from.join("metrics.jsonl"), "{}\n").unwrap();
        // The remains of a process that died.
        fs::create_dir_all(place.path().join("run-repaired.partial/checkpoints/epoch-0000-step-00000010")).unwrap();
        RunFolder::copy(&from, &to, |name| name.ends_with("10"), |copy| copy.replace(CONFIG, b"b")).unwrap();
        let names = |folder: &Path| -> Vec<String> {
            let mut names: Vec<String> =
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&to), ["checkpoints", "config.toml", "metrics.jsonl"]);
        assert_eq!(names(&to.join("checkpoints")), ["epoch-0000-step-00000010"]);
        assert_eq!(fs::read_to_string(from.join(CONFIG)).unwrap(), "a");
        assert_eq!(fs::read_to_string(to.join(CONFIG)).unwrap(), "b");
        assert_eq!(names(place.path()), ["run", "run-repaired"]);
        let again = RunFolder::copy(&from, &to, |_| true, |_| Ok(()));
        assert!(matches!(again, Err(EventsError::CopyExists { .. })));
    }
}

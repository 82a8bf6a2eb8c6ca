//! Writes checkpoints on a background thread while training continues.

use std::{
    fs, io,
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    CheckpointError, CheckpointName, Contents, Manifest, Retention,
    contents::TENSOR_FILES,
    kept, list,
    save::{Snapshot, clear_partial, remove, save},
};
use crate::disk::{self, Folder, TensorFile};

/// Report a wait for the disk that is longer than this.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Saves checkpoints into a folder, and removes old ones by the retention rules once a newer one is complete.
///
/// [`save`](Self::save) copies the tensors and returns; a thread writes them. The copies' memory is reused for the next
/// checkpoint, so the host needs as much additional memory as the state itself.
pub struct CheckpointWriter<H> {
    queue: Option<SyncSender<Snapshot<H>>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    is_writing: bool,
    has_told_wait: bool,
    number: u64,
    files: Option<Vec<TensorFile>>,
    finished: Vec<Result<Manifest, CheckpointError>>,
}

struct Done {
    files: Vec<TensorFile>,
    outcome: Result<Manifest, CheckpointError>,
}

impl<H: Serialize + Send + 'static> CheckpointWriter<H> {
    /// Creates `folder` if it is missing, removes incomplete checkpoints of killed processes from it, and starts the
    /// thread.
    ///
    /// # Errors
    /// If the folder cannot be created or read, or is a symbolic link, or the thread cannot start.
    pub fn start(folder: &Path, retention: Retention) -> Result<Self, CheckpointError> {
        let refuse = |cause| CheckpointError::Write { path: folder.to_owned(), cause };
        // Without this check, create_dir_all would create the target of a dangling link.
        if !folder.is_symlink() {
            fs::create_dir_all(folder).map_err(refuse)?;
        }
        let opened = Folder::open_unlinked(folder).map_err(refuse)?;
        clear_partial(&opened).map_err(refuse)?;
        // Reading a damaged checkpoint reports it later; here it only does not count.
        let whole = list(folder)?.into_iter().filter_map(|(name, path)| Some((Manifest::read(&path).ok()?, name)));
        let mut known: Vec<(Manifest, CheckpointName)> = whole.collect();
        let number = known.iter().map(|(manifest, _)| manifest.number).max().unwrap_or(0);
        let (queue, snapshots) = mpsc::sync_channel::<Snapshot<H>>(1);
        let (tell, done) = mpsc::channel();
        let run = move || {
            for mut snapshot in snapshots {
                let outcome = save(&opened, &mut snapshot);
                if let Ok(manifest) = &outcome {
                    let name = snapshot.contents.name;
                    known.retain(|(_, earlier)| *earlier != name);
                    known.push((manifest.clone(), name));
                    retain(&opened, &mut known, &retention);
                }
                // The receiver closes only when the writer drops, which then only waits for this thread.
                let _ = tell.send(Done { files: snapshot.files, outcome });
            }
        };
        let thread = thread::Builder::new().name("checkpoints".into()).spawn(run).map_err(CheckpointError::Thread)?;
        Ok(Self {
            queue: Some(queue),
            done,
            thread: Some(thread),
            is_writing: false,
            has_told_wait: false,
            number,
            files: None,
            finished: Vec::new(),
        })
    }

    /// Copies the tensors of a checkpoint, and queues it for the thread to write. Waits if the previous checkpoint is
    /// still being written. No sync: copies from a GPU are queued, and the thread waits for them.
    ///
    /// # Errors
    /// If the tensors cannot be copied. [`finished`](Self::finished) reports write errors.
    pub fn save(&mut self, mut contents: Contents<H>) -> Result<(), CheckpointError> {
        self.wait_for_the_last();
        let mut files = self.files.take().unwrap_or_default();
        files.resize_with(TENSOR_FILES.len(), TensorFile::default);
        for (file, tensors) in files.iter_mut().zip(contents.tensors()) {
            file.fill(tensors).map_err(CheckpointError::Snapshot)?;
        }
        // The live tensors belong to the training thread.
        for tensors in [&mut contents.model, &mut contents.ema, &mut contents.optimizer, &mut contents.training] {
            tensors.clear();
        }
        self.number = self.number.saturating_add(1);
        let snapshot = Snapshot { number: self.number, files, contents };
        // The thread lives as long as the sender, unless it panics.
        self.is_writing = self.queue.as_ref().is_some_and(|queue| queue.send(snapshot).is_ok());
        if !self.is_writing {
            return Err(died());
        }
        // Tests that kill a run at a step rely on the checkpoints before it.
        if disk::kills_at("step") {
            self.wait_for_the_last();
        }
        Ok(())
    }

    fn wait_for_the_last(&mut self) {
        if !self.is_writing {
            return;
        }
        let started = Instant::now();
        match self.done.recv() {
            Ok(done) => self.take(done),
            Err(_) => {
                self.is_writing = false;
                self.finished.push(Err(died()));
            }
        }
        let waited = started.elapsed();
        if waited > LONG_WAIT && !self.has_told_wait {
            self.has_told_wait = true;
            tracing::warn!(
                "training waited {:.1} s for the previous checkpoint to be written; save checkpoints less often \
                 (checkpoint.every_*)",
                waited.as_secs_f64()
            );
        }
    }

    fn take(&mut self, Done { files, outcome }: Done) {
        self.is_writing = false;
        self.files = Some(files);
        self.finished.push(outcome);
    }

    /// Outcomes of the checkpoints written since the last call. Does not wait.
    pub fn finished(&mut self) -> Vec<Result<Manifest, CheckpointError>> {
        while let Ok(done) = self.done.try_recv() {
            self.take(done);
        }
        std::mem::take(&mut self.finished)
    }

    /// Waits for all remaining checkpoints and returns their outcomes.
    pub fn finish(&mut self) -> Vec<Result<Manifest, CheckpointError>> {
        self.wait_for_the_last();
        std::mem::take(&mut self.finished)
    }
}

impl<H> Drop for CheckpointWriter<H> {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // An error would mean that the thread panicked, which it never does.
            let _ = thread.join();
        }
    }
}

fn died() -> CheckpointError {
    CheckpointError::Thread(io::Error::other("the writer thread has died"))
}

/// Removes checkpoints by the retention rules. One that cannot be removed stays on the disk; it is not tried again.
fn retain(folder: &Folder, known: &mut Vec<(Manifest, CheckpointName)>, retention: &Retention) {
    let manifests: Vec<Manifest> = known.iter().map(|(manifest, _)| manifest.clone()).collect();
    let mut stays = kept(&manifests, retention).into_iter();
    known.retain(|(_, name)| {
        let stays = stays.next().is_none_or(|kept| kept.is_kept());
        if !stays && let Err(error) = remove(folder, *name) {
            tracing::warn!("cannot remove an old checkpoint: {error}");
        }
        stays
    });
}

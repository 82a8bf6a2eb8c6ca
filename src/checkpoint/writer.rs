//! The thread that writes checkpoints while training goes on.

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
use crate::disk::{Folder, TensorFile};

/// A wait for the disk that is worth a word.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Saves checkpoints into a folder and removes those that need not stay, once a newer one is whole.
///
/// [`save`](Self::save) copies the tensors and returns; a thread writes. The copies are kept for the next checkpoint, so that
/// they cost the memory of the state once more on the host.
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
    /// Makes `folder` where it is missing, removes what a killed process has left half-written there, and starts the thread.
    ///
    /// # Errors
    /// Where the folder cannot be made or read, or is a symbolic link, or there is no thread.
    pub fn start(folder: &Path, retention: Retention) -> Result<Self, CheckpointError> {
        let refuse = |cause| CheckpointError::Write { path: folder.to_owned(), cause };
        // Without this, a folder would be made where a link to nothing leads.
        if !folder.is_symlink() {
            fs::create_dir_all(folder).map_err(refuse)?;
        }
        let opened = Folder::open_unlinked(folder).map_err(refuse)?;
        clear_partial(&opened).map_err(refuse)?;
        // A damaged one is told of when it is read; here it only does not count.
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
                // Nobody listens any more only when the writer drops, which waits for this thread alone.
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

    /// Copies the tensors of a checkpoint, which the thread then writes. Waits for the checkpoint before, if that is still being
    /// written. Device sync here, when the tensors are not on the CPU.
    ///
    /// # Errors
    /// Where the tensors cannot be copied. How the writing ends, [`finished`](Self::finished) tells.
    pub fn save(&mut self, mut contents: Contents<H>) -> Result<(), CheckpointError> {
        self.wait_for_the_last();
        let mut files = self.files.take().unwrap_or_default();
        files.resize_with(TENSOR_FILES.len(), TensorFile::default);
        for (file, tensors) in files.iter_mut().zip(contents.tensors()) {
            file.fill(tensors).map_err(CheckpointError::Snapshot)?;
        }
        // The live tensors are training's, on its thread.
        for tensors in [&mut contents.model, &mut contents.ema, &mut contents.optimizer, &mut contents.training] {
            tensors.clear();
        }
        self.number = self.number.saturating_add(1);
        let snapshot = Snapshot { number: self.number, files, contents };
        // The thread stays for as long as there is a sender, unless it panics.
        self.is_writing = self.queue.as_ref().is_some_and(|queue| queue.send(snapshot).is_ok());
        if self.is_writing { Ok(()) } else { Err(died()) }
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
                "training waited {:.1} s for the checkpoint before to reach the disk; take them less often (checkpoint.every_*)",
                waited.as_secs_f64()
            );
        }
    }

    fn take(&mut self, Done { files, outcome }: Done) {
        self.is_writing = false;
        self.files = Some(files);
        self.finished.push(outcome);
    }

    /// How the checkpoints ended that were written since the last call. Does not wait.
    pub fn finished(&mut self) -> Vec<Result<Manifest, CheckpointError>> {
        while let Ok(done) = self.done.try_recv() {
            self.take(done);
        }
        std::mem::take(&mut self.finished)
    }

    /// The same for all that are left, after waiting for them.
    pub fn finish(&mut self) -> Vec<Result<Manifest, CheckpointError>> {
        self.wait_for_the_last();
        std::mem::take(&mut self.finished)
    }
}

impl<H> Drop for CheckpointWriter<H> {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // An error would be a panic of the thread, which has none.
            let _ = thread.join();
        }
    }
}

fn died() -> CheckpointError {
    CheckpointError::Thread(io::Error::other("the thread that writes them has died"))
}

/// Removes the checkpoints that need not stay. One that cannot be removed costs its space and is not tried again.
fn retain(folder: &Folder, known: &mut Vec<(Manifest, CheckpointName)>, retention: &Retention) {
    let manifests: Vec<Manifest> = known.iter().map(|(manifest, _)| manifest.clone()).collect();
    let mut stays = kept(&manifests, retention).into_iter();
    known.retain(|(_, name)| {
        let stays = stays.next().is_none_or(|kept| kept.is_kept());
        if !stays && let Err(error) = remove(folder, *name) {
            tracing::warn!("an old checkpoint stays: {error}");
        }
        stays
    });
}

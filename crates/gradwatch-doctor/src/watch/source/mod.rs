//! Follows the files of one run or of a log folder, in its own thread.

mod clock;
mod collector;
mod folder;
mod recorded;
mod run;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) use folder::FolderSource;
pub(crate) use run::RunSource;

use super::model::Model;
use crate::{panics, printable};

/// Time between two looks at the files.
const POLL: Duration = Duration::from_secs(1);
/// Time to read before showing how far it went.
const SLICE: Duration = Duration::from_millis(200);
/// Time after which a model is sent although no file has changed, because the state of a run may have.
const REFRESH: Duration = Duration::from_secs(5);

/// What to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// A run of the folder.
    Open(PathBuf),
    /// All runs of the folder.
    Table,
}

/// Starts to follow the files at `path` in a thread, and passes each new model to `send`. The thread ends when the
/// sender of the requests is dropped, or when `send` returns false. If it panics, the message comes as an error.
///
/// # Errors
/// If the thread cannot be started.
pub(super) fn start(
    path: &Path,
    tags: &[String],
    send: impl Fn(Result<Model, String>) -> bool + Send + 'static,
) -> io::Result<Sender<Request>> {
    let (requests, received) = channel();
    let mut worker = Worker::new(path, tags);
    thread::Builder::new().name("watch".into()).spawn(move || {
        if let Err(panic) = panics::caught(|| worker.work(&received, &|model| send(Ok(model)))) {
            send(Err(panic));
        }
    })?;
    Ok(requests)
}

/// Reads everything that is written now.
pub(super) fn read_once(path: &Path, tags: &[String]) -> Model {
    let mut worker = Worker::new(path, tags);
    while !worker.poll(Instant::now() + REFRESH) {}
    worker.model()
}

/// The run or the folder that is followed.
enum Followed {
    Run(Box<RunSource>),
    Folder,
}

struct Worker {
    root: PathBuf,
    tags: Vec<String>,
    followed: Followed,
    folder: FolderSource,
}

impl Worker {
    fn new(root: &Path, tags: &[String]) -> Self {
        let folder = FolderSource::new(root, tags);
        Self { root: root.to_owned(), tags: tags.to_vec(), followed: Followed::Folder, folder }
    }

    fn work(&mut self, requests: &Receiver<Request>, send: &dyn Fn(Model) -> bool) {
        let (mut mark, mut sent) = (None, Instant::now());
        loop {
            let is_read = self.poll(Instant::now() + SLICE);
            let now = self.mark();
            if now.is_none() || now != mark || sent.elapsed() >= REFRESH {
                (mark, sent) = (now, Instant::now());
                if !send(self.model()) {
                    return;
                }
            }
            match requests.recv_timeout(if is_read { POLL } else { Duration::ZERO }) {
                Ok(request) => {
                    self.follow(request);
                    mark = None;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn follow(&mut self, request: Request) {
        self.followed = match request {
            Request::Table => Followed::Folder,
            Request::Open(path) => {
                let name = path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into_owned();
                Followed::Run(Box::new(RunSource::new(&path, &name, &self.tags)))
            }
        };
    }

    fn poll(&mut self, deadline: Instant) -> bool {
        let is_read = match &mut self.followed {
            Followed::Run(run) => return run.poll(deadline),
            Followed::Folder => self.folder.poll(deadline),
        };
        if self.folder.is_run() {
            let name = printable::path(&self.root);
            self.followed = Followed::Run(Box::new(RunSource::new(&self.root, &name, &self.tags)));
            return false;
        }
        is_read
    }

    /// Mark that changes with the run; `None` for a folder, whose model is always sent.
    fn mark(&self) -> Option<(u64, u64, u64)> {
        match &self.followed {
            Followed::Run(run) => Some(run.mark()),
            Followed::Folder => None,
        }
    }

    fn model(&self) -> Model {
        match &self.followed {
            Followed::Run(run) => Model::Run(Arc::new(run.model())),
            Followed::Folder => Model::Table(Arc::new(self.folder.model())),
        }
    }
}

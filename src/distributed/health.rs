//! Notices ranks that are gone, and says which ones.
//!
//! A thread of each rank counts up a key of the store twice a second. A rank whose count stands still has been killed
//! or stopped; one that only works for a long time still counts. The first rank that knows a cause leaves it in the
//! store: its own error, or which rank is gone. The threads of the others read it there, so that all ranks end with the
//! same cause, even those that are still computing when the store ends with rank 0.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{DistributedError, Topology, ranks::Members};
use crate::libtorch::{LibtorchError, Store};

const BEAT_EVERY: Duration = Duration::from_millis(500);
/// After a connection broke, a rank counts as gone if its count stands still for this time.
const STILL: Duration = Duration::from_millis(2_000);
/// Most time to find out which rank is gone.
const MOST_SEARCH: Duration = Duration::from_secs(5);
/// Most time that the server of the store waits for the others to read from it.
pub(super) const MOST_LINGER: Duration = Duration::from_secs(3);
const FAILURE: &str = "failure";

/// The latest look at the other ranks.
#[derive(Debug)]
pub(super) struct Health {
    /// Number of looks so far; stands still if the store does not answer.
    looks: Arc<AtomicU64>,
    /// The first loss that is known.
    loss: Arc<Mutex<Option<Loss>>>,
    limit: Duration,
}

impl Health {
    /// Starts the thread; `store` is a connection of its own. A rank without a sign of life counts as hung after
    /// `limit`. `names` are those of all ranks.
    pub(super) fn start(store: Store, rank: usize, names: Vec<String>, limit: Duration) -> Self {
        let health = Self { looks: Arc::default(), loss: Arc::default(), limit };
        let (looks, loss) = (Arc::clone(&health.looks), Arc::clone(&health.loss));
        let watch = move || {
            let mut others = Others::new(&names, rank);
            // An error means that the store is gone: the run has ended, or whoever waits will notice.
            while let Ok(found) = others.look(&store, limit) {
                looks.fetch_add(1, Ordering::Relaxed);
                if let Some(found) = found {
                    loss.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(found);
                    let _ = store.set(&told(rank), b"");
                }
                thread::sleep(BEAT_EVERY);
            }
        };
        thread::spawn(watch);
        health
    }

    /// The loss that is known so far.
    fn loss(&self) -> Option<Loss> {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts to watch the other ranks during a wait.
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch { health: self, looks: self.looks.load(Ordering::Relaxed), since: Instant::now() }
    }
}

/// The other ranks during a wait.
pub(super) struct Watch<'a> {
    health: &'a Health,
    looks: u64,
    since: Instant,
}

impl Watch<'_> {
    /// Returns the error of a rank that is gone, if any.
    pub(super) fn loss(&mut self, members: &Members) -> Option<DistributedError> {
        let looks = self.health.looks.load(Ordering::Relaxed);
        if looks != self.looks {
            (self.looks, self.since) = (looks, Instant::now());
        }
        if let Some(loss) = self.health.loss() {
            return Some(loss.tell(&members.store, &members.topology));
        }
        let limit = self.health.limit;
        (self.since.elapsed() > limit).then(|| DistributedError::Lost(members.silent_store(limit)))
    }
}

/// Counts of the other ranks.
struct Others<'a> {
    names: &'a [String],
    own: usize,
    /// Count of each rank, and the number of looks since it changed.
    counts: Vec<(i64, u32)>,
}

fn beat(rank: usize) -> String {
    format!("beat/{rank}")
}

impl<'a> Others<'a> {
    fn new(names: &'a [String], own: usize) -> Self {
        Self { names, own, counts: vec![(0, 0); names.len()] }
    }

    /// Counts looks, not time: a process that was stopped itself must not take the others for hung.
    fn look(&mut self, store: &Store, limit: Duration) -> Result<Option<Loss>, LibtorchError> {
        store.add(&beat(self.own), 1)?;
        if let Some(loss) = Loss::published(store)? {
            return Ok(Some(loss));
        }
        for rank in (0..self.names.len()).filter(|rank| *rank != self.own) {
            let count = store.add(&beat(rank), 0)?;
            let (last, looks) = &mut self.counts[rank];
            *looks = if *last == count { *looks + 1 } else { 0 };
            *last = count;
            let is_done = || store.has(&[done(rank)]);
            if BEAT_EVERY * *looks >= limit && !is_done()? {
                let text = format!("{} has given no sign of life for {} s", self.names[rank], limit.as_secs());
                return Ok(Some(Loss { ranks: vec![rank], text }));
            }
        }
        Ok(None)
    }
}

fn done(rank: usize) -> String {
    format!("done/{rank}")
}

/// The ranks that are gone, and what is known about them.
#[derive(Debug, Clone, PartialEq)]
struct Loss {
    ranks: Vec<usize>,
    text: String,
}

impl Loss {
    /// The loss that a rank has left in the store.
    fn published(store: &Store) -> Result<Option<Self>, LibtorchError> {
        if !store.has(&[FAILURE])? {
            return Ok(None);
        }
        let value = String::from_utf8_lossy(&store.get(FAILURE)?).into_owned();
        let (ranks, text) = value.split_once('\n').unwrap_or(("", &value));
        let ranks = ranks.split(',').filter_map(|rank| rank.parse().ok()).collect();
        Ok(Some(Self { ranks, text: text.to_owned() }))
    }

    /// Leaves the loss in the store for the other ranks, and returns it as an error. Only the first loss is the cause.
    /// Without a store there is nobody to tell. The server of the store waits until the others know.
    fn tell(self, store: &Store, topology: &Topology) -> DistributedError {
        if store.add("failures", 1).is_ok_and(|count| count == 1) {
            let ranks = self.ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            let _ = store.set(FAILURE, format!("{ranks}\n{}", self.text).as_bytes());
        }
        let _ = store.set(&told(topology.rank), b"");
        let others = (0..topology.world).filter(|rank| !self.ranks.contains(rank));
        serve_until(store, topology, MOST_LINGER, others.map(told));
        DistributedError::Lost(self.text)
    }
}

/// Finds the ranks that are gone: they have neither noticed the loss nor counted on.
fn find(store: &Store, names: &[String], own: usize) -> Result<Loss, LibtorchError> {
    store.set(&noticed(own), b"")?;
    let started = Instant::now();
    let mut counts = vec![(i64::MIN, started); names.len()];
    loop {
        if let Some(loss) = Loss::published(store)? {
            return Ok(loss);
        }
        let (mut gone, mut silent) = (Vec::new(), 0);
        for rank in (0..names.len()).filter(|rank| *rank != own) {
            if store.has(&[noticed(rank)])? {
                continue;
            }
            silent += 1;
            let count = store.add(&beat(rank), 0)?;
            let (last, since) = &mut counts[rank];
            if *last != count {
                (*last, *since) = (count, Instant::now());
            } else if since.elapsed() >= STILL {
                gone.push(rank);
            }
        }
        // Ranks that were killed together do not stand still together: their last counts were up to a beat apart.
        if !gone.is_empty() && (gone.len() == silent || started.elapsed() >= STILL + BEAT_EVERY) {
            let names: Vec<&str> = gone.iter().map(|rank| &*names[*rank]).collect();
            let text = format!("{} ended without a message: killed, perhaps for lack of memory", names.join(" and "));
            return Ok(Loss { ranks: gone, text });
        }
        if (silent == 0 && started.elapsed() >= STILL) || started.elapsed() >= MOST_SEARCH {
            let text = "the connection to another rank broke, but all ranks are alive: check the network".to_owned();
            return Ok(Loss { ranks: Vec::new(), text });
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn noticed(rank: usize) -> String {
    format!("noticed/{rank}")
}

fn told(rank: usize) -> String {
    format!("told/{rank}")
}

/// Who serves the store.
fn server(topology: &Topology, names: &[String]) -> String {
    let server = if topology.is_served_by_launcher { "the launcher" } else { &*names[0] };
    format!("{server}, which serves the store at {},", topology.address())
}

/// Finds out which rank is gone after an operation failed. Takes a few seconds at most.
pub(super) fn lost(
    store: &Arc<Store>,
    health: &Health,
    topology: &Topology,
    names: Vec<String>,
    error: &LibtorchError,
) -> DistributedError {
    if let Some(loss) = health.loss() {
        return loss.tell(store, topology);
    }
    let (server, own) = (server(topology, &names), topology.rank);
    let (sender, receiver) = mpsc::channel();
    let connection = Arc::clone(store);
    // In a thread, because a server that was stopped never answers.
    thread::spawn(move || sender.send(find(&connection, &names, own)));
    let found = receiver.recv_timeout(MOST_SEARCH + STILL);
    if let Ok(Ok(Loss { ranks, text })) = found {
        let text = if ranks.is_empty() { format!("{text} ({error})") } else { text };
        return Loss { ranks, text }.tell(store, topology);
    }
    // The server may have told the cause before it ended.
    DistributedError::Lost(match (health.loss(), found) {
        (Some(loss), _) => loss.text,
        (None, Ok(_)) => format!("{server} is gone"),
        (None, Err(_)) => format!("{server} does not answer: {error}"),
    })
}

impl Members {
    fn names(&self) -> Vec<String> {
        (0..self.topology.world).map(|rank| self.name(rank)).collect()
    }

    fn silent_store(&self, limit: Duration) -> String {
        format!("{} has given no sign of life for {} s", server(&self.topology, &self.names()), limit.as_secs())
    }

    pub(super) fn lost(&self, error: &LibtorchError) -> DistributedError {
        lost(&self.store, &self.health, &self.topology, self.names(), error)
    }

    /// Tells the other ranks why this one ends.
    pub(super) fn report_failure(&self, message: &str) {
        let rank = self.topology.rank;
        let text = format!("{} ended: {message}", self.name(rank));
        Loss { ranks: vec![rank], text }.tell(&self.store, &self.topology);
    }

    /// Says that this rank has done its work. The server of the store waits for the others.
    pub(super) fn leave(&self) {
        let _ = self.store.set(&done(self.topology.rank), b"");
        serve_until(&self.store, &self.topology, MOST_SEARCH, (0..self.topology.world).map(done));
    }
}

/// Waits for the keys if this rank serves the store.
pub(super) fn serve_until(store: &Store, topology: &Topology, limit: Duration, keys: impl Iterator<Item = String>) {
    let (started, keys) = (Instant::now(), keys.collect::<Vec<_>>());
    let is_over = || started.elapsed() >= limit || store.has(&keys).unwrap_or(true);
    while topology.serves_store() && !is_over() {
        thread::sleep(Duration::from_millis(20));
    }
}

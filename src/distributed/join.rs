//! Connects the ranks: a store, then process groups. Bounds every wait, and names the ranks that are missing.

use std::{
    fs,
    sync::{Arc, atomic::AtomicU64, mpsc},
    thread,
    time::{Duration, Instant},
};

use tch::Device;

use super::{
    DistributedError, Ranks, Topology,
    health::{Health, MOST_LINGER, lost, serve_until},
    ranks::Members,
};
use crate::config::DistributedConfig;
use crate::diagnosis::RankFacts;
use crate::libtorch::{Group, LibtorchError, Store, device_name, torch_version};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Key that a rank sets when it no longer waits for others.
const GIVEN_UP: &str = "given up";
/// Longest time of an operation. The health of the ranks ends a wait much earlier, and names the rank.
const MOST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest waits between ranks.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until all ranks have joined.
    pub start: Duration,
    /// Without a sign of life from a rank.
    pub hang: Duration,
}

impl Limits {
    /// The limits of a config.
    pub fn of(config: &DistributedConfig) -> Self {
        let &DistributedConfig { start_timeout_seconds, hang_timeout_seconds, .. } = config;
        Self { start: Duration::from_secs(start_timeout_seconds), hang: Duration::from_secs(hang_timeout_seconds) }
    }
}

impl Ranks {
    /// Connects to the other ranks of `topology`. Tensors of `device` can be summed and broadcast.
    ///
    /// # Errors
    /// If the store cannot be served or reached, ranks are missing after the limit, a rank has another version, or the
    /// device is a GPU and libtorch has no NCCL.
    pub fn join(topology: Topology, device: Device, limits: Limits) -> Result<Self, DistributedError> {
        let Topology { rank, world, .. } = topology;
        if world == 1 {
            return Ok(Self::alone());
        }
        if let Device::Cuda(_) = device {
            Group::check_nccl()?;
        }
        let started = Instant::now();
        let store = Arc::new(open(&topology, topology.serves_store(), limits.start)?);
        let own = Card::of(&topology, device);
        let cards = meet(&store, &topology, &own, started, limits.start).map_err(|error| match error {
            DistributedError::Libtorch(_) => DistributedError::Store {
                address: topology.address(),
                problem: "has closed the connection".into(),
                remedy: "see the error of rank 0 or the launcher, which serves it",
            },
            error => error,
        })?;
        cards.iter().enumerate().try_for_each(|(rank, card)| card.check(rank, &cards[0]))?;
        let names: Vec<String> =
            (0..world).map(|rank| format!("rank {rank} ({}, {})", cards[rank].host, cards[rank].device)).collect();
        // A connection of its own: a store serves one operation at a time, and some of them wait.
        let connection = open(&topology, false, limits.start)?;
        let health = Health::start(connection, rank, names.clone(), limits.hang);
        let left = limits.start.saturating_sub(started.elapsed()).max(Duration::from_secs(1));
        let address = topology.own_address().map(|address| address.to_string());
        let connect = || -> Result<[Group; 2], LibtorchError> {
            let group = |name| Group::gloo(&store.prefixed(name)?, rank, world, left, address.as_deref());
            let control = group("control")?;
            let tensors = match device {
                Device::Cuda(_) => Group::nccl(&store.prefixed("nccl")?, rank, world, MOST_WAIT)?,
                _ => group("tensors")?,
            };
            Ok([control, tensors])
        };
        let [control, tensors] = connect().map_err(|error| lost(&store, &health, &topology, names, &error))?;
        [control, tensors].iter().try_for_each(|group| group.set_limit(MOST_WAIT))?;
        let places = cards.into_iter().map(|Card { host, device, .. }| RankFacts { host, device }).collect();
        let waited = AtomicU64::new(0);
        Ok(Self::of(Members { topology, places, store, control, tensors, health, waited }))
    }
}

/// Opens the store with a limit of our own: a foreign server at the port may accept a connection and never answer.
fn open(topology: &Topology, is_server: bool, limit: Duration) -> Result<Store, DistributedError> {
    let (host, port, prefix) = (topology.master_host.clone(), topology.master_port, topology.prefix());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let store = Store::open(&host, port, is_server, limit).and_then(|store| store.prefixed(&prefix));
        // Nobody receives it if the limit is over.
        let _ = sender.send(store);
    });
    let refuse = |problem: String, remedy| DistributedError::Store { address: topology.address(), problem, remedy };
    match receiver.recv_timeout(limit + Duration::from_secs(1)) {
        Ok(Ok(store)) => Ok(store),
        Ok(Err(error)) if is_server => {
            Err(refuse(format!("cannot be served ({error})"), "set MASTER_PORT to a free port of rank 0's machine"))
        }
        _ => Err(refuse(
            format!("has not answered for {} s", limit.as_secs()),
            "check that rank 0 was started, that MASTER_ADDR and MASTER_PORT are the same on all ranks, and that no \
             other program uses the port",
        )),
    }
}

/// What a rank says about itself.
struct Card {
    host: String,
    device: String,
    version: String,
}

impl Card {
    fn of(topology: &Topology, device: Device) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let host = if host.is_empty() { "unknown host".to_owned() } else { host };
        let (version, libtorch) = (env!("CARGO_PKG_VERSION"), torch_version());
        let version = format!("gradwatch {version} with libtorch {libtorch} on {} ranks", topology.world);
        Self { host, device: device_name(device), version }
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}", self.host, self.device, self.version)
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        Self { host: next(), device: next(), version: next() }
    }

    fn check(&self, rank: usize, first: &Self) -> Result<(), DistributedError> {
        if self.version == first.version {
            return Ok(());
        }
        let rank = format!("rank {rank} ({}, {})", self.host, self.device);
        let difference = format!("{}, and rank 0 has {}", self.version, first.version);
        Err(DistributedError::Differs { rank, what: "version or number of ranks", difference })
    }
}

fn given_up(rank: usize) -> String {
    format!("{GIVEN_UP}/{rank}")
}

/// Waits until all ranks have left their card.
fn meet(
    store: &Store,
    topology: &Topology,
    own: &Card,
    started: Instant,
    limit: Duration,
) -> Result<Vec<Card>, DistributedError> {
    let Topology { rank, world, .. } = *topology;
    if store.add(&format!("started/{rank}"), 1)? > 1 {
        return Err(DistributedError::Variable {
            name: "RANK",
            got: format!("\"{rank}\" in two processes"),
            want: "another number in each".into(),
        });
    }
    let key = |rank: usize| format!("card/{rank}");
    let read =
        |rank| -> Result<Card, LibtorchError> { Ok(Card::parse(&String::from_utf8_lossy(&store.get(&key(rank))?))) };
    store.set(&key(rank), own.text().as_bytes())?;
    let mut is_checked = false;
    while !store.has(&(0..world).map(key).collect::<Vec<_>>())? {
        // A rank that waits for others than rank 0 does must not wait in vain.
        if !is_checked && store.has(&[key(0)])? {
            own.check(rank, &read(0)?)?;
            is_checked = true;
        }
        // The others may have started later, but the store ends with the rank that serves it.
        if started.elapsed() >= limit || store.has(&[GIVEN_UP])? {
            store.set(GIVEN_UP, b"")?;
            let (present, missing): (Vec<usize>, Vec<usize>) =
                (0..world).partition(|rank| store.has(&[key(*rank)]).unwrap_or(true));
            store.set(&given_up(rank), b"")?;
            serve_until(store, topology, MOST_LINGER, present.into_iter().map(given_up));
            let numbers = missing.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            let ranks = format!("{} {numbers}", if missing.len() == 1 { "rank" } else { "ranks" });
            return Err(DistributedError::Missing { ranks, world, waited: limit });
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok((0..world).map(read).collect::<Result<_, _>>()?)
}

//! Ranks for tests.

use std::{thread, time::Duration};

use tch::Device;

use super::{Limits, Ranks, Topology};
use crate::libtorch::Store;

/// Longest wait between ranks.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Runs `work` on each rank, in threads of this process.
pub(crate) fn on_ranks<T: Send>(world: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let server = Store::open("127.0.0.1", 0, true, LIMIT).unwrap();
    let (master_port, work) = (server.port(), &work);
    thread::scope(|scope| {
        let rank = |rank| {
            scope.spawn(move || {
                let topology = Topology {
                    rank,
                    world,
                    local_rank: rank,
                    master_host: "127.0.0.1".into(),
                    master_port,
                    is_served_by_launcher: true,
                    attempt: 0,
                };
                let ranks = Ranks::join(topology, Device::Cpu, Limits { start: LIMIT, hang: LIMIT }).unwrap();
                let result = work(ranks.clone());
                ranks.leave();
                result
            })
        };
        let ranks: Vec<_> = (0..world).map(rank).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

//! Every image comes once per epoch, on one of the ranks.

use std::collections::BTreeMap;

use super::{
    comparison::{COMMON, IMAGES},
    team::{Meeting, Team},
};
use crate::harness::{Outcome, Workplace, checkpoints::MicroBatch};

const TOML: &str = r#"
model = { name = "mlp", width = 8, depth = 1 }
optimizer = { name = "sgd", learning_rate = 0.05, accumulation_steps = 5 }
"#;

/// The micro-batches of a log, in order.
fn micro_batches(log: &str) -> Vec<MicroBatch> {
    log.lines().filter_map(MicroBatch::of).collect()
}

/// The micro-batches of a rank: r, r + W, ... of each step.
fn share(all: &[MicroBatch], rank: usize, world: usize) -> Vec<&MicroBatch> {
    let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
    let is_own = |batch: &&MicroBatch| {
        let number = numbers.entry(batch.step).or_default();
        *number += 1;
        (*number - 1) % world == rank
    };
    all.iter().filter(is_own).collect()
}

#[test]
fn ranks_divide_the_micro_batches_of_each_step_and_see_every_image_once_per_epoch() {
    let workplace = Workplace::new(&format!("{COMMON}{IMAGES}{TOML}"));
    let trace = ("RUST_LOG", "gradwatch=trace");
    let plain = Outcome::of(workplace.command(&["train", "small.toml", "--run-name", "plain"]).envs([trace]));
    let plain = micro_batches(&plain.stderr);
    // Two epochs of 14 micro-batches, in steps of five.
    assert_eq!(plain.len(), 28);
    for world in 2..=4 {
        let name = format!("ranks{world}");
        let mut commands = Meeting::of(world).ranks(&workplace, &["train", "small.toml", "--run-name", &name]);
        commands.iter_mut().for_each(|command| {
            command.envs([trace]);
        });
        let logs: Vec<_> =
            Team::of(&workplace, commands).wait().iter().map(|rank| micro_batches(&rank.stderr)).collect();
        for (rank, log) in logs.iter().enumerate() {
            let share: Vec<&MicroBatch> = share(&plain, rank, world);
            assert!(log.iter().eq(share.iter().copied()), "rank {rank} of {world}: {log:?}, not {share:?}");
        }
        for epoch in 0..2 {
            let of_epoch = logs.iter().flatten().filter(|batch| batch.epoch == epoch);
            let mut images: Vec<u32> = of_epoch.flat_map(|batch| batch.images.clone()).collect();
            images.sort_unstable();
            assert!(images.iter().copied().eq(0..40), "epoch {epoch} of {world} ranks: {images:?}");
        }
    }
}

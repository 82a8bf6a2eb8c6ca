//! `distributed.reduction = "fast"`: sums stay near those of one process, and do not depend on chance.

use std::{fs, path::Path};

use super::{
    comparison::{COMMON, IMAGES, assert_equal, differences},
    team::train,
};
use crate::harness::Workplace;

/// Most difference of a weight after five steps, relative to the largest weight of its tensor.
const MOST: f64 = 1e-6;

/// Five steps without anything that amplifies roundings.
const TOML: &str = r#"
model = { name = "cnn", width = 4, depth = 2, normalization = "batch", dropout = 0.2 }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 6 }
"#;

const FAST: [&str; 6] =
    ["--set", "distributed.reduction=fast", "--set", "distributed.check_weights_every_steps=1", "--max-steps", "5"];

fn findings(run: &Path) -> String {
    fs::read_to_string(run.join("findings.jsonl")).unwrap()
}

#[test]
fn five_steps_on_any_number_of_ranks_stay_within_a_millionth_of_one_process() {
    let workplace = Workplace::new(&format!("{COMMON}{IMAGES}{TOML}"));
    let plain = workplace.train("plain", &["run.max_steps=5"]);
    for world in 2..=4 {
        let run = train(&workplace, world, &format!("ranks{world}"), &FAST);
        let weights = |run: &Path| run.join("weights/last.safetensors");
        let differences = differences(&weights(&run), &weights(&plain));
        assert!(differences.values().all(|difference| *difference <= MOST), "{world} ranks: {differences:#?}");
        assert!(!findings(&run).contains("weight_mismatch"), "{world} ranks: {}", findings(&run));
        // The order of the sums depends on the number of ranks alone.
        let again = train(&workplace, world, &format!("again{world}"), &FAST);
        assert_equal(&again, &run, &format!("{world} ranks, again"));
    }
}

#[test]
fn two_ranks_with_two_micro_batches_per_step_equal_one_process() {
    let workplace = Workplace::new(&format!("{COMMON}{IMAGES}{TOML}"));
    let plain = workplace.train("plain", &["optimizer.accumulation_steps=2"]);
    let settings = ["--set", "distributed.reduction=fast", "--set", "optimizer.accumulation_steps=2"];
    assert_equal(&train(&workplace, 2, "ranks", &settings), &plain, "two ranks");
}

#[test]
fn batch_normalization_over_all_ranks_is_that_of_one_batch_of_all_their_images() {
    let workplace = Workplace::new(&format!("{COMMON}{IMAGES}{TOML}"));
    let common = ["model.dropout=0", "run.max_steps=5"];
    // 40 images: the last batch of 12 has four, so that some ranks of four have none.
    let of_plain = ["data.batch_size=12", "optimizer.accumulation_steps=1"];
    let plain = workplace.train("plain", &[common, of_plain].concat());
    for world in [2, 3, 4] {
        let (size, count) =
            (format!("data.batch_size={}", 12 / world), format!("optimizer.accumulation_steps={world}"));
        let own = [&*size, &*count, "distributed.sync_batch_norm=true", "distributed.reduction=fast"];
        let more: Vec<&str> = common.iter().chain(&own).flat_map(|setting| ["--set", setting]).collect();
        let run = train(&workplace, world, &format!("ranks{world}"), &more);
        let weights = |run: &Path| run.join("weights/last.safetensors");
        let differences = differences(&weights(&run), &weights(&plain));
        // Means over the ranks are rounded in other places than those of one batch.
        assert!(differences.values().all(|difference| *difference <= 5.0 * MOST), "{world} ranks: {differences:#?}");
    }
}

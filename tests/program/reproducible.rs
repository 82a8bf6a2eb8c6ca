//! Same seed, same run: bit-identical, for any monitoring and loading settings.

use crate::harness::{SMALL, Workplace, last_weights, scalars, scalars_without_times};

#[test]
fn two_runs_of_one_seed_have_equal_weights_and_equal_events() {
    let workplace = Workplace::new(SMALL);
    let (first, second) = (workplace.train("first", &[]), workplace.train("second", &[]));
    assert_eq!(last_weights(&first), last_weights(&second));
    let events = scalars_without_times(&first);
    assert_eq!(events, scalars_without_times(&second));
    // 9 steps per epoch: 4 classes of 75 images, 67 of each for training, in batches of 32.
    assert_eq!(events.keys().filter(|(tag, _)| tag == "loss/step").count(), 18);
    let other = workplace.train("other", &["run.seed=43"]);
    assert_ne!(last_weights(&first), last_weights(&other));
}

#[test]
fn monitoring_full_light_with_everything_or_off_gives_equal_weights() {
    let workplace = Workplace::new(SMALL);
    let on = workplace.train("on", &[]);
    for (name, settings) in [
        ("light", "monitor={preset=\"light\", first_steps=1}"),
        ("sparse", "monitor={every_steps=5, first_steps=0}"),
        ("everything", "monitor={noise_scale_every_steps=2, previous_cosine=true, layers_every_steps=1}"),
        ("off", "monitor.preset=\"off\""),
    ] {
        let run = workplace.train(name, &[settings]);
        assert_eq!(last_weights(&on), last_weights(&run), "{name}");
    }
    let off = workplace.run_folder("off");
    let (on, off) = (scalars(&on), scalars(&off));
    assert!(on.keys().any(|(tag, _)| tag == "grad_norm/classifier.weight"));
    assert!(!off.keys().any(|(tag, _)| tag.starts_with("grad_norm/") && tag != "grad_norm/total"));
    assert!(off.iter().all(|(key, value)| on[key] == *value), "what both wrote differs");
}

#[test]
fn any_number_of_loader_threads_gives_equal_weights() {
    let workplace = Workplace::new(SMALL);
    let runs = ["0", "1", "2", "4"].map(|workers| workplace.train(workers, &[&format!("data.workers={workers}")]));
    for run in &runs[1..] {
        assert_eq!(last_weights(&runs[0]), last_weights(run));
    }
}

#[test]
fn the_config_of_a_run_trains_the_same_run_again() {
    let workplace = Workplace::new(SMALL);
    let first = workplace.train("first", &["optimizer.learning_rate=0.02"]);
    let config = first.join("config.toml");
    let outcome = workplace.call(&["train", config.to_str().unwrap(), "--run-name", "again"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(last_weights(&first), last_weights(&workplace.run_folder("again")));
}

#[test]
fn accumulated_micro_batches_take_the_step_of_one_large_batch_the_short_last_group_too() {
    // Without batch normalization, dropout, and augmentation, a step depends only on its images.
    let workplace = Workplace::new(SMALL);
    let plain = ["model.normalization=none", "model.dropout=0", "data.augment={}", "clipping.mode=none"];
    let one = [&plain[..], &["data.batch_size=64"]].concat();
    let many = [&plain[..], &["data.batch_size=16", "optimizer.accumulation_steps=4"]].concat();
    let losses = |run: &std::path::Path| -> Vec<f32> {
        let steps = scalars(run).into_iter().filter(|((tag, _), _)| tag == "loss/step");
        steps.map(|(_, bits)| f32::from_bits(bits)).collect()
    };
    let (one, many) = (losses(&workplace.train("one", &one)), losses(&workplace.train("many", &many)));
    // 268 images: four groups of 64 and a last one of 12, twice.
    assert_eq!((one.len(), many.len()), (10, 10));
    for (one, many) in one.iter().zip(&many) {
        // The order of the sums differs: f32 rounding, amplified over ten steps.
        assert!((one - many).abs() <= 1e-4 * one.abs(), "{one} {many}");
    }
}

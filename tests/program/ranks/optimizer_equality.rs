//! Optimizers, clipping, schedules, and averages: any number of ranks ends bit-identical to one process.

use super::comparison::{IMAGES, trains_alike};

/// A network without normalization of batches, so that gradients are large now and then.
fn on_mlp(toml: &str, settings: &[&[&str]]) {
    let model = "model = { name = \"mlp\", width = 16, depth = 2, dropout = 0.1 }\n";
    trains_alike(&format!("{IMAGES}{model}{toml}"), settings, |_| ());
}

#[test]
fn adamw_with_averaged_weights() {
    let toml = r#"
optimizer = { name = "adamw", accumulation_steps = 5 }
ema = { decay = 0.9 }
schedule = { name = "one_cycle" }
"#;
    on_mlp(toml, &[&["optimizer.learning_rate=0.01"]]);
}

#[test]
fn every_kind_of_clipping() {
    let toml = r#"
optimizer = { name = "sgd", learning_rate = 0.1, momentum = 0.9, accumulation_steps = 4 }
clipping = { max_norm = 0.2, zclip.warmup_steps = 3, adagc.warmup_steps = 3 }
"#;
    let modes = [
        &["clipping.mode=agc"][..],
        &["clipping.mode=norm"],
        &["clipping.mode=autoclip", "optimizer.name=lamb"],
        &["clipping.mode=zclip", "optimizer.name=rmsprop"],
        &["clipping.mode=adagc", "optimizer.name=nadam", "monitor.previous_cosine=true"],
    ];
    on_mlp(toml, &modes);
}

#[test]
fn a_head_that_is_trained_alone_first() {
    let toml = r#"
optimizer = { name = "adam", learning_rate = 0.01, head_only_epochs = 1, accumulation_steps = 4 }
ema = { decay = 0.9 }
"#;
    on_mlp(toml, &[&["run.max_epochs=3"]]);
}

/// A validation loss that no longer falls lowers the learning rate and ends the run.
#[test]
fn a_schedule_and_an_ending_that_follow_the_evaluations() {
    let toml = r#"
optimizer = { name = "sgd", learning_rate = 2.0, momentum = 0.9, accumulation_steps = 3 }
schedule = { name = "plateau", patience = 0, decay_rate = 0.5 }
early_stopping = { patience = 6 }
"#;
    on_mlp(toml, &[&["run.max_epochs=8", "evaluate.every_steps=2", "evaluate.metric=loss"]]);
}

/// An infinite gradient on one rank is infinite on all of them.
#[test]
fn skipped_and_repaired_steps() {
    let toml = r#"
optimizer = { name = "sgd", learning_rate = 1e15, momentum = 0.9, accumulation_steps = 4, max_skipped_steps = 1000 }
"#;
    on_mlp(toml, &[&["optimizer.non_finite=skip"], &["optimizer.non_finite=zero"]]);
}

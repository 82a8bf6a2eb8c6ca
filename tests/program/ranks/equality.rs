//! Networks, loss, and numerics: any number of ranks ends bit-identical to one process.
//!
//! The micro-batches of a step are not always a multiple of the ranks, and the last batch of an epoch has one image.

use super::comparison::{IMAGES, trains_alike};

fn on_images(toml: &str, settings: &[&[&str]]) {
    trains_alike(&format!("{IMAGES}{toml}"), settings, |_| ());
}

const CNN: &str = r#"
model = { name = "cnn", width = 4, depth = 2, normalization = "batch", dropout = 0.2 }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9 }
"#;

#[test]
fn batch_normalization_and_dropout_with_1_4_and_5_micro_batches_per_step() {
    let settings = [
        &["optimizer.accumulation_steps=1", "run.max_steps=6"][..],
        &["optimizer.accumulation_steps=4"],
        &["optimizer.accumulation_steps=5", "data.drop_last=true"],
    ];
    on_images(CNN, &settings);
}

#[test]
fn bfloat16_also_in_another_layout_of_memory() {
    let settings = [
        &["run.precision=bf16", "optimizer.accumulation_steps=4"][..],
        &["run.precision=bf16", "run.channels_last=true", "optimizer.accumulation_steps=5"],
    ];
    on_images(CNN, &settings);
}

/// The loss scale starts too high, so the first steps are skipped.
#[test]
fn float16_with_skipped_steps() {
    let toml = r#"
model = { name = "mlp", width = 16, depth = 2, normalization = "layer" }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 4 }
"#;
    on_images(toml, &[&["run.precision=fp16", "run.max_epochs=3"]]);
}

#[test]
fn a_residual_network_with_frozen_statistics_and_a_frozen_group() {
    let toml = r#"
model = { name = "resnet8", width = 4, freeze_batch_norm_statistics = ["layer1.*"] }
optimizer = { name = "sgd", momentum = 0.9, nesterov = true, accumulation_steps = 5, groups = [
    { parameters = ["layer2.*"], freeze = true }, { parameters = ["*.bias"], learning_rate_scale = 0.5 },
] }
"#;
    on_images(toml, &[&["run.deterministic=true"]]);
}

#[test]
fn group_normalization_with_class_weights_and_smoothed_labels() {
    let toml = r#"
model = { name = "cnn", width = 4, depth = 2, normalization = "group", groups = 2 }
loss = { name = "cross_entropy", label_smoothing = 0.1, class_balance = "given", class_weights = [0.3, 2.0, 0.7, 1.0] }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 4 }
"#;
    on_images(
        toml,
        &[&["loss.class_weights=[0.0, 2.0, 0.0, 1.0]"], &["loss.class_balance=balanced", "loss.class_weights=[]"]],
    );
}

#[test]
fn a_transformer_that_drops_whole_blocks() {
    let toml = r#"
model = { name = "vit_tiny", width = 8, patch_size = 4, dropout = 0.1, stochastic_depth = 0.3 }
optimizer = { name = "adamw", learning_rate = 0.001, layer_decay = 0.8, accumulation_steps = 3 }
"#;
    on_images(toml, &[&["run.max_epochs=1"]]);
}

#[test]
fn an_initialization_that_is_fitted_to_data() {
    let toml = r#"
model = { name = "cnn", width = 4, depth = 2, initialization.method = "lsuv" }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 2 }
"#;
    on_images(toml, &[&["run.max_epochs=1"]]);
}

/// Gradients of 1 MiB and more are sent in parts.
#[test]
fn a_model_of_several_buckets() {
    let toml = r#"
model = { name = "mlp", width = 600, depth = 3, normalization = "batch" }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 5 }
"#;
    on_images(toml, &[&["data.drop_last=true", "run.max_steps=4"]]);
}

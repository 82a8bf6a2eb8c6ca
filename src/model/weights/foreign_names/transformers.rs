//! Names of Hugging Face transformers, for models with the same arithmetic as gradwatch's.
//!
//! Its MobileNetV2 and EfficientNet pad like TensorFlow, so they are not supported.

use super::{Ours, number};

/// Removes the prefix that models with a head have.
fn inner<'s, 'n>(segments: &'s [&'n str], families: &[&str]) -> &'s [&'n str] {
    match segments {
        [family, inner @ ..] if families.contains(family) => inner,
        _ => segments,
    }
}

/// `ResNetForImageClassification`.
pub(super) fn resnet(segments: &[&str]) -> Option<String> {
    let place = |kind: &str| match kind {
        "convolution" => Some(("conv", 0)),
        "normalization" => Some(("bn", 1)),
        _ => None,
    };
    Some(match inner(segments, &["resnet"]) {
        ["embedder", "embedder", kind, leaf] => format!("{}1.{leaf}", place(kind)?.0),
        ["encoder", "stages", stage, "layers", block, inside @ ..] => {
            let block = format!("layer{}.{block}", number(stage)? + 1);
            match inside {
                ["layer", layer, kind, leaf] => format!("{block}.{}{}.{leaf}", place(kind)?.0, number(layer)? + 1),
                ["shortcut", kind, leaf] => format!("{block}.downsample.{}.{leaf}", place(kind)?.1),
                _ => return None,
            }
        }
        ["classifier", "1", leaf] => format!("fc.{leaf}"),
        _ => return None,
    })
}

/// `ConvNextForImageClassification`.
pub(super) fn convnext(segments: &[&str]) -> Option<String> {
    Some(match inner(segments, &["convnext"]) {
        ["embeddings", "patch_embeddings", leaf] => format!("features.0.0.{leaf}"),
        ["embeddings", "layernorm", leaf] => format!("features.0.1.{leaf}"),
        ["encoder", "stages", stage, "downsampling_layer", place, leaf] => {
            format!("features.{}.{place}.{leaf}", 2 * number(stage)?)
        }
        ["encoder", "stages", stage, "layers", block, inside @ ..] => {
            let block = format!("features.{}.{block}", 2 * number(stage)? + 1);
            match inside {
                ["layer_scale_parameter"] => format!("{block}.layer_scale"),
                ["dwconv", leaf] => format!("{block}.block.0.{leaf}"),
                ["layernorm", leaf] => format!("{block}.block.2.{leaf}"),
                ["pwconv1", leaf] => format!("{block}.block.3.{leaf}"),
                ["pwconv2", leaf] => format!("{block}.block.5.{leaf}"),
                _ => return None,
            }
        }
        ["layernorm", leaf] => format!("classifier.0.{leaf}"),
        ["classifier", leaf] => format!("classifier.2.{leaf}"),
        _ => return None,
    })
}

/// `ViTForImageClassification`, and `DeiTForImageClassificationWithTeacher`, whose logits are the mean of both heads.
/// Files use the names of transformers 4, also when version 5 writes them. The names inside a module of version 5 are
/// shorter.
pub(super) fn vit(segments: &[&str]) -> Option<Ours> {
    Some(Ours::Whole(match inner(segments, &["vit", "deit"]) {
        ["embeddings", "cls_token"] => "cls_token".into(),
        ["embeddings", "distillation_token"] => "dist_token".into(),
        ["embeddings", "position_embeddings"] => "pos_embed".into(),
        ["embeddings", "patch_embeddings", "projection", leaf] => format!("patch_embed.proj.{leaf}"),
        ["encoder", "layer", block, inside @ ..] | ["layers", block, inside @ ..] => return vit_block(block, inside),
        ["layernorm", leaf] => format!("norm.{leaf}"),
        ["classifier" | "cls_classifier", leaf] => format!("head.{leaf}"),
        ["distillation_classifier", leaf] => format!("head_dist.{leaf}"),
        _ => return None,
    }))
}

fn vit_block(block: &str, inside: &[&str]) -> Option<Ours> {
    let layer = |name: &str, leaf: &str| format!("blocks.{block}.{name}.{leaf}");
    Some(Ours::Whole(match inside {
        ["attention", "attention", third, leaf] | ["attention", third @ ("q_proj" | "k_proj" | "v_proj"), leaf] => {
            let part = match *third {
                "query" | "q_proj" => 0,
                "key" | "k_proj" => 1,
                "value" | "v_proj" => 2,
                _ => return None,
            };
            return Some(Ours::Third(layer("attn.qkv", leaf), part));
        }
        ["attention", "output", "dense", leaf] | ["attention", "o_proj", leaf] => layer("attn.proj", leaf),
        ["layernorm_before", leaf] => layer("norm1", leaf),
        ["layernorm_after", leaf] => layer("norm2", leaf),
        ["intermediate", "dense", leaf] | ["mlp", "fc1", leaf] => layer("mlp.fc1", leaf),
        ["output", "dense", leaf] | ["mlp", "fc2", leaf] => layer("mlp.fc2", leaf),
        _ => return None,
    }))
}

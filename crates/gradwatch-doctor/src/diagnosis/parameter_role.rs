//! Role of a parameter in its module, from its name and shape.
//!
//! Only weights mix inputs: symmetry, variance, and update ratios tell something about them alone. Gains, scales,
//! tokens, positions, and gates often start with equal elements on purpose.

use std::{collections::HashMap, sync::Arc};

use super::Facts;

/// Role of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterRole {
    /// Weight of a linear layer, a convolution, or an attention.
    Weight,
    /// Added to the output of a layer.
    Bias,
    /// Factor per channel of a normalization or a weight standardization.
    Gain,
    /// Factor per channel of a residual branch, such as ConvNeXt's layer scale.
    Scale,
    /// Vector that is added to the sequence, such as a class token.
    Token,
    /// Position embedding.
    Position,
    /// A single factor, such as that of SkipInit, or a weight that computes factors: of a squeeze-and-excitation, which
    /// may stay constant without harm.
    Gate,
}

impl ParameterRole {
    /// Derives the role from the name, as torch, torchvision, timm, transformers, and Keras name parameters, and from
    /// the shape.
    pub fn of(name: &str, shape: &[i64]) -> Self {
        let lowercase = name.to_ascii_lowercase();
        // Keras appends `:0`.
        let path = lowercase.split(':').next().unwrap_or_default();
        let last = path.rsplit(['.', '/']).next().unwrap_or_default();
        let has = |parts: &[&str]| parts.iter().any(|part| path.contains(part));
        let long_axes = shape.iter().filter(|axis| **axis > 1).count();
        let is_product = ["weight", "kernel", "weight_v", "weight_g"].contains(&last) || last.ends_with("proj_weight");
        if has(&["pos_emb", "position", "pos_bias", "rel_pos", "pos_encoding"]) {
            Self::Position
        } else if last.contains("token") || last.contains("query_embed") {
            Self::Token
        } else if has(&["layer_scale", "layerscale", "lambda_1", "lambda_2"]) || last == "scale" {
            Self::Scale
        } else if last.contains("bias") || last == "beta" {
            Self::Bias
        } else if shape.iter().product::<i64>() == 1 && !(is_product && shape.len() > 1) {
            Self::Gate
        } else if last.contains("gain") || last == "weight_g" {
            Self::Gain
        } else if last == "gamma" {
            // Of a normalization in Keras, of a residual branch in timm's ConvNeXt and transformers.
            if path.contains("norm") || path.contains("bn") { Self::Gain } else { Self::Scale }
        } else if shape.len() < 2 {
            if is_product || last.contains("weight") { Self::Gain } else { Self::Bias }
        } else if is_product && is_of_gate(path, shape) {
            Self::Gate
        } else if is_product || long_axes > 1 {
            Self::Weight
        } else {
            Self::Scale
        }
    }
}

/// Whether a weight belongs to a squeeze-and-excitation, as torchvision, timm, and Keras name them. A convolution
/// called fc is one of torchvision's.
fn is_of_gate(path: &str, shape: &[i64]) -> bool {
    let mut parts = path.rsplit(['.', '/']).skip(1);
    let is_fc = parts.next().is_some_and(|layer| matches!(layer, "fc1" | "fc2")) && shape.len() == 4;
    let names = ["se", "se_module", "squeeze_excite", "conv_reduce", "conv_expand", "se_reduce", "se_expand"];
    is_fc
        || path
            .split(['.', '/'])
            .any(|part| names.contains(&part) || part.ends_with("_se_reduce") || part.ends_with("_se_expand"))
}

/// Roles of all parameters of a run, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Roles(HashMap<Arc<str>, ParameterRole>);

impl Roles {
    pub(super) fn new(facts: &Facts) -> Self {
        Self(facts.parameters.iter().map(|parameter| (Arc::clone(&parameter.name), parameter.role())).collect())
    }

    /// Whether these are the roles of the parameters of `facts`.
    pub(super) fn fit(&self, facts: &Facts) -> bool {
        self.0.len() == facts.parameters.len()
    }

    /// Whether a parameter is the weight of a linear layer or a convolution. Uses the name alone if the shape is
    /// unknown, as in the event files of other programs.
    pub(super) fn is_weight(&self, name: &str) -> bool {
        let is_named_weight = || {
            let path = name.split(':').next().unwrap_or_default();
            let is_of_norm = ["norm", "bn", "ln_"].iter().any(|part| path.contains(part));
            !is_of_norm && (path.ends_with("weight") || path.ends_with("kernel"))
        };
        self.0.get(name).map_or_else(is_named_weight, |role| *role == ParameterRole::Weight)
    }
}

#[cfg(test)]
mod tests {
    use super::{ParameterRole::*, *};

    #[test]
    fn roles_follow_from_the_names_and_shapes_of_the_common_libraries() {
        let cases: &[(&str, &[i64], ParameterRole)] = &[
            ("layer1.0.conv1.weight", &[16, 3, 3, 3], Weight),
            // The first convolution of a network with one channel, and a 1x1 convolution from one channel to one.
            ("conv.weight", &[8, 1, 1, 1], Weight),
            ("conv.weight", &[1, 1, 1, 1], Weight),
            ("head.weight", &[1, 64], Weight),
            ("fc.bias", &[10], Bias),
            ("bn1.weight", &[16], Gain),
            ("bn1.bias", &[16], Bias),
            ("blocks.0.attn.in_proj_weight", &[192, 64], Weight),
            ("blocks.0.attn.in_proj_bias", &[192], Bias),
            // torchvision's and timm's ConvNeXt, timm's CaiT.
            ("features.1.0.layer_scale", &[8, 1, 1], Scale),
            ("stages.0.blocks.0.gamma", &[8], Scale),
            ("blocks.0.ls1.gamma", &[64], Scale),
            ("stages.0.blocks.0.conv1.gain", &[16, 1, 1, 1], Gain),
            ("class_token", &[1, 1, 64], Token),
            ("cls_token", &[1, 1, 64], Token),
            ("dist_token", &[1, 1, 64], Token),
            ("encoder.pos_embedding", &[1, 50, 64], Position),
            ("pos_embed", &[1, 50, 64], Position),
            ("features.1.0.attn.relative_position_bias_table", &[169, 3], Position),
            ("vit.embeddings.position_embeddings", &[1, 50, 64], Position),
            ("blocks.0.skip_gain", &[], Gate),
            ("alpha", &[1], Gate),
            // Squeeze-and-excitation in torchvision, timm, and Keras; a linear layer of the same name.
            ("features.4.block.2.fc1.weight", &[8, 32, 1, 1], Gate),
            ("blocks.1.0.se.conv_reduce.weight", &[8, 32, 1, 1], Gate),
            ("block2a_se_expand/kernel:0", &[1, 1, 8, 32], Gate),
            ("features.4.block.2.fc1.bias", &[8], Bias),
            ("encoder.mlp.fc1.weight", &[64, 32], Weight),
            ("blocks.0.mlp.fc1.weight", &[64, 32], Weight),
            // Keras.
            ("dense/kernel:0", &[784, 64], Weight),
            ("dense/bias:0", &[64], Bias),
            ("batch_normalization/gamma:0", &[64], Gain),
            ("batch_normalization/beta:0", &[64], Bias),
            // A loop of its own.
            ("w1", &[64, 784], Weight),
            ("b1", &[64], Bias),
        ];
        for (name, shape, want) in cases {
            assert_eq!(ParameterRole::of(name, shape), *want, "{name} {shape:?}");
        }
    }
}

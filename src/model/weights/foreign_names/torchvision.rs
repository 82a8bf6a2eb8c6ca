//! torchvision's names of models that have timm's names in gradwatch, and names in older torchvision files.

/// `vit_b_16` and similar models. Files from before torchvision 0.13 contain `linear_1` and `linear_2`.
pub(super) fn vit(segments: &[&str]) -> Option<String> {
    Some(match segments {
        ["class_token"] => "cls_token".into(),
        ["encoder", "pos_embedding"] => "pos_embed".into(),
        ["conv_proj", leaf] => format!("patch_embed.proj.{leaf}"),
        ["encoder", "ln", leaf] => format!("norm.{leaf}"),
        ["heads", "head", leaf] => format!("head.{leaf}"),
        ["encoder", "layers", layer, inside @ ..] => {
            let block = format!("blocks.{}", layer.strip_prefix("encoder_layer_")?);
            match inside {
                ["ln_1", leaf] => format!("{block}.norm1.{leaf}"),
                ["ln_2", leaf] => format!("{block}.norm2.{leaf}"),
                ["self_attention", "in_proj_weight"] => format!("{block}.attn.qkv.weight"),
                ["self_attention", "in_proj_bias"] => format!("{block}.attn.qkv.bias"),
                ["self_attention", "out_proj", leaf] => format!("{block}.attn.proj.{leaf}"),
                ["mlp", "0" | "linear_1", leaf] => format!("{block}.mlp.fc1.{leaf}"),
                ["mlp", "3" | "linear_2", leaf] => format!("{block}.mlp.fc2.{leaf}"),
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// DenseNet files from before torch 0.4, which torchvision still provides: `norm.1` instead of `norm1`.
pub(super) fn densenet(segments: &[&str]) -> Option<String> {
    match segments {
        ["features", block, layer, kind @ ("norm" | "conv"), place @ ("1" | "2"), leaf]
            if layer.starts_with("denselayer") =>
        {
            Some(format!("features.{block}.{layer}.{kind}{place}.{leaf}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(name: &str) -> Vec<&str> {
        name.split('.').collect()
    }

    #[test]
    fn older_files_have_other_names_of_the_same() {
        let vit = |name: &str| vit(&segments(&format!("encoder.layers.encoder_layer_7.{name}"))).unwrap();
        assert_eq!(vit("mlp.linear_1.weight"), vit("mlp.0.weight"));
        assert_eq!(vit("mlp.linear_2.bias"), "blocks.7.mlp.fc2.bias");
        let densenet = |name: &str| densenet(&segments(name));
        let layer = "features.denseblock4.denselayer16";
        assert_eq!(densenet(&format!("{layer}.norm.2.running_var")).unwrap(), format!("{layer}.norm2.running_var"));
        assert_eq!(densenet(&format!("{layer}.conv.1.weight")).unwrap(), format!("{layer}.conv1.weight"));
        assert_eq!(densenet("features.transition1.conv.weight"), None);
        assert_eq!(densenet("features.denseblock4.transition.norm.2.weight"), None);
    }
}

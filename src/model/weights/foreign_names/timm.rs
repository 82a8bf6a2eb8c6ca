//! timm's names of models that have torchvision's names in gradwatch. The mobile networks have a module of their own.

use super::number;

/// VGG, whose classifier consists of three convolutions in timm.
pub(super) fn vgg(segments: &[&str]) -> Option<String> {
    Some(match segments {
        ["pre_logits", "fc1", leaf] => format!("classifier.0.{leaf}"),
        ["pre_logits", "fc2", leaf] => format!("classifier.3.{leaf}"),
        ["head", "fc", leaf] => format!("classifier.6.{leaf}"),
        _ => return None,
    })
}

/// ConvNeXt (the first version).
pub(super) fn convnext(segments: &[&str]) -> Option<String> {
    Some(match segments {
        ["stem", place, leaf] => format!("features.0.{place}.{leaf}"),
        ["stages", stage, "downsample", place, leaf] => format!("features.{}.{place}.{leaf}", 2 * number(stage)?),
        ["stages", stage, "blocks", block, inside @ ..] => {
            let block = format!("features.{}.{block}", 2 * number(stage)? + 1);
            match inside {
                ["gamma"] => format!("{block}.layer_scale"),
                ["conv_dw", leaf] => format!("{block}.block.0.{leaf}"),
                ["norm", leaf] => format!("{block}.block.2.{leaf}"),
                ["mlp", "fc1", leaf] => format!("{block}.block.3.{leaf}"),
                ["mlp", "fc2", leaf] => format!("{block}.block.5.{leaf}"),
                _ => return None,
            }
        }
        ["head", "norm", leaf] => format!("classifier.0.{leaf}"),
        ["head", "fc", leaf] => format!("classifier.2.{leaf}"),
        _ => return None,
    })
}

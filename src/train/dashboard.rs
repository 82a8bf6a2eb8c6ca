//! Charts for TensorBoard's Custom Scalars page.

use crate::events::{Band, Category, Chart, Layout, exact_tag};

/// The layout: first an overview of the whole model, then a closed category with one chart per statistic of all layers.
pub(super) fn layout() -> Layout {
    let lines = |title: &str, tags: &[&str]| Chart::Lines {
        title: title.into(),
        tags: tags.iter().map(|tag| tag.to_string()).collect(),
    };
    let exactly = |title: &str, tags: &[&str]| Chart::Lines {
        title: title.into(),
        tags: tags.iter().map(|tag| exact_tag(*tag)).collect(),
    };
    let bands = |title: &str, name: &str| {
        let tag = |percentile: &str| format!("{name}_{percentile}").into();
        let band = Band { value: tag("p50"), lower: tag("p5"), upper: tag("p95") };
        Chart::Bands { title: title.into(), series: vec![band] }
    };
    let category = |title: &str, charts, closed| Category { title: title.into(), charts, closed };
    Layout {
        categories: vec![
            category(
                "overview",
                vec![
                    exactly("loss", &["loss/step", "loss/train", "loss/validation"]),
                    exactly("accuracy", &["accuracy/train", "accuracy/validation"]),
                    exactly("gradient norm of the whole model", &["grad_norm/total"]),
                    bands("gradient RMS: median, 5 % and 95 % of the parameters", "gradients/rms"),
                    bands("update ratio: median, 5 % and 95 % of the parameters", "updates/ratio"),
                    exactly("log2 of the gradient per layer, going back", &["gradients/depth_slope"]),
                ],
                false,
            ),
            category(
                "every layer",
                vec![
                    lines("RMS of dLoss/dz", &["layer_grad_rms/"]),
                    lines("gradient RMS of the weights", &["grad_rms/.*weight$"]),
                    lines("update ratio of the weights", &["update_ratio/.*weight$"]),
                    lines("RMS of the activations", &["activation_rms/"]),
                    lines("share of activations at or below 0", &["activation_nonpositive/"]),
                    lines("share of saturated activations", &["activation_saturated/"]),
                ],
                true,
            ),
        ],
    }
}

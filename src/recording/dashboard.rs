//! Charts for TensorBoard's Custom Scalars page.

use crate::events::{
    Band, Category, Chart, Layout, exact_tag,
    tags::{self, BandTag, GroupTag, SeriesTag},
};

/// The layout: first an overview of the whole model, then a closed category with one chart per statistic of all layers.
pub(super) fn layout(is_multi_label: bool) -> Layout {
    let lines = |title: &str, group: GroupTag, names: &str| Chart::Lines {
        title: title.into(),
        tags: vec![group.prefix() + names],
    };
    let exactly = |title: &str, tags: &[SeriesTag]| Chart::Lines {
        title: title.into(),
        tags: tags.iter().map(|tag| exact_tag(tag.name())).collect(),
    };
    let bands = |title: &str, BandTag { p5, p50, p95 }: BandTag| {
        let band = Band { value: p50.name().into(), lower: p5.name().into(), upper: p95.name().into() };
        Chart::Bands { title: title.into(), series: vec![band] }
    };
    let metrics = match is_multi_label {
        false => exactly("accuracy", &[tags::TRAIN_ACCURACY, tags::VALIDATION_ACCURACY]),
        true => Chart::Lines {
            title: "mean average precision and F1".into(),
            tags: ["mean_average_precision", "f1"].map(|name| exact_tag(tags::metric(name, "validation"))).into(),
        },
    };
    let category = |title: &str, charts, closed| Category { title: title.into(), charts, closed };
    Layout {
        categories: vec![
            category(
                "overview",
                vec![
                    exactly("loss", &[tags::LOSS, tags::TRAIN_LOSS, tags::VALIDATION_LOSS]),
                    metrics,
                    exactly("gradient norm of the whole model", &[tags::TOTAL_NORM]),
                    bands("gradient RMS: median, 5 % and 95 % of the parameters", tags::GRADIENT_RMS),
                    bands("update ratio: median, 5 % and 95 % of the parameters", tags::UPDATE_RATIOS),
                    exactly("log2 of the gradient per layer, going back", &[tags::DEPTH_SLOPE]),
                ],
                false,
            ),
            category(
                "every layer",
                vec![
                    lines("RMS of dLoss/dz", tags::LAYER_GRAD_RMS, ""),
                    lines("gradient RMS of the weights", tags::GRAD_RMS, ".*weight$"),
                    lines("update ratio of the weights", tags::UPDATE_RATIO, ".*weight$"),
                    lines("RMS of the activations", tags::ACTIVATION_RMS, ""),
                    lines("share of activations at or below 0", tags::ACTIVATION_NONPOSITIVE, ""),
                    lines("share of saturated activations", tags::ACTIVATION_SATURATED, ""),
                ],
                true,
            ),
        ],
    }
}

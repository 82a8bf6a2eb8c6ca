//! Charts for TensorBoard's Custom Scalars page.

use crate::events::{
    Band, Category, Chart, Layout, exact_tag,
    tags::{self, BandTag, GroupTag, SeriesTag},
};

/// Names of the series of ranks, without the numbers of the ranks at the ends.
const RANKS: &str = "([0-9]+|min|median|max)$";

/// The layout: first an overview of the whole model, then closed categories with one chart per statistic of all layers,
/// and of all ranks if there are several.
pub(super) fn layout(is_multi_label: bool, has_ranks: bool) -> Layout {
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
    let ranks = || {
        let charts = vec![
            lines("seconds until the backward passes are done", tags::RANK_BUSY_SECS, RANKS),
            lines("seconds spent waiting for other ranks", tags::RANK_WAIT_SECS, RANKS),
            lines("norm of each rank's own gradient", tags::RANK_GRAD_NORM, RANKS),
            lines("loss of each rank's own images", tags::RANK_LOSS, RANKS),
            exactly("mean cosine between the gradients of the ranks", &[tags::RANK_COSINE]),
        ];
        category("ranks", charts, true)
    };
    let of_model = [
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
                lines("share of dormant units", tags::ACTIVATION_DORMANT, ""),
            ],
            true,
        ),
    ];
    Layout { categories: of_model.into_iter().chain(has_ranks.then(ranks)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_with_several_ranks_have_a_category_more() {
        let titles = |has_ranks| {
            let Layout { categories } = layout(false, has_ranks);
            categories.into_iter().map(|category| category.title).collect::<Vec<_>>()
        };
        assert_eq!(titles(false), ["overview", "every layer"]);
        assert_eq!(titles(true), ["overview", "every layer", "ranks"]);
    }
}

//! The layout of TensorBoard's Custom Scalars page, which groups series into charts.

use prost::Message;

use super::{
    Tag,
    proto::{
        BandProto, BandsProto, CategoryProto, ChartContent, ChartProto, DT_STRING, LayoutProto, LinesProto, PluginData,
        SummaryMetadata, TensorProto, TensorShape,
    },
};

/// Contents of TensorBoard's Custom Scalars page. TensorBoard merges the layouts of several runs, joining categories
/// with the same title.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// Categories from top to bottom.
    pub categories: Vec<Category>,
}

/// Charts under one heading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Category {
    /// Heading.
    pub title: String,
    /// Charts. TensorBoard 2.21 shows line charts first, in this order, and then band charts in reverse order.
    pub charts: Vec<Chart>,
    /// Whether TensorBoard hides the charts, and does not load them, until the user clicks the heading.
    pub closed: bool,
}

/// One chart of scalars over steps.
#[derive(Debug, Clone, PartialEq)]
pub enum Chart {
    /// One line per series. All series of a run have the same color and differ only by marker symbol, so only a few can
    /// be told apart.
    Lines {
        /// Title above the chart.
        title: String,
        /// Regular expressions in Python syntax. A series is shown if one of them matches the start of its tag
        /// (`re.match`), so `loss` also shows `loss/train`; see [`exact_tag`].
        tags: Vec<String>,
    },
    /// One line in a shaded band per series.
    Bands {
        /// Title above the chart.
        title: String,
        /// Lines with their bands.
        series: Vec<Band>,
    },
}

/// A line and the band around it. The three series need values at the same steps: if one of them has a step that
/// another lacks, TensorBoard does not show the band at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// Tag of the line, such as a median. It identifies the band, so a chart can contain it only once.
    pub value: Tag,
    /// Tag of the lower edge.
    pub lower: Tag,
    /// Tag of the upper edge.
    pub upper: Tag,
}

/// Returns a regular expression for [`Chart::Lines`] that matches only `tag`.
///
/// ```
/// assert_eq!(gradwatch_events::exact_tag("lr (group 0)"), r"lr \(group 0\)$");
/// ```
pub fn exact_tag(tag: impl Into<Tag>) -> String {
    let tag = tag.into();
    let mut pattern = String::with_capacity(tag.as_str().len() + 8);
    for character in tag.as_str().chars() {
        if r".*+?^${}()|[]\".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('$');
    pattern
}

impl Layout {
    /// The tag that TensorBoard reads layouts from.
    pub const TAG: &'static str = "custom_scalars__config__";

    /// The metadata and tensor that contain the layout.
    pub(super) fn into_tensor(self) -> (SummaryMetadata, TensorProto) {
        let plugin_data = PluginData { plugin_name: "custom_scalars".into(), content: Vec::new() };
        let string_val = vec![self.into_proto().encode_to_vec()];
        // A shape without dimensions, for a single string.
        let tensor_shape = Some(TensorShape::default());
        (
            SummaryMetadata { plugin_data: Some(plugin_data) },
            TensorProto { dtype: DT_STRING, tensor_shape, string_val, ..TensorProto::default() },
        )
    }

    fn into_proto(self) -> LayoutProto {
        let category = |Category { title, charts, closed }| CategoryProto {
            title,
            chart: charts.into_iter().map(Chart::into_proto).collect(),
            closed,
        };
        LayoutProto { version: 0, category: self.categories.into_iter().map(category).collect() }
    }
}

impl Chart {
    fn into_proto(self) -> ChartProto {
        let (title, content) = match self {
            Self::Lines { title, tags } => (title, ChartContent::Multiline(LinesProto { tag: tags })),
            Self::Bands { title, series } => {
                let series = series.into_iter().map(Band::into_proto).collect();
                (title, ChartContent::Margin(BandsProto { series }))
            }
        };
        ChartProto { title, content: Some(content) }
    }
}

impl Band {
    fn into_proto(self) -> BandProto {
        BandProto { value: self.value.to_string(), lower: self.lower.to_string(), upper: self.upper.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        EventFile, SummaryWriter,
        proto::{Content, What},
    };

    #[test]
    fn a_layout_comes_back_from_the_file_as_the_plugin_wants_it() {
        let layout = Layout {
            categories: vec![Category {
                title: "gradients".into(),
                charts: vec![
                    Chart::Lines { title: "norms".into(), tags: vec!["grad/norm/.*".into(), exact_tag("lr")] },
                    Chart::Bands {
                        title: "fc".into(),
                        series: vec![Band { value: "p50".into(), lower: "p5".into(), upper: "p95".into() }],
                    },
                ],
                closed: true,
            }],
        };
        let logdir = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(logdir.path()).unwrap();
        writer.layout(&layout).unwrap();
        let path = writer.path().to_owned();
        writer.close().unwrap();

        let event = EventFile::open(&path).unwrap().nth(1).unwrap().unwrap();
        assert_eq!(event.step, 0);
        let Some(What::Summary(mut summary)) = event.what else { panic!("{event:?}") };
        let value = summary.value.pop().unwrap();
        assert_eq!(value.tag, "custom_scalars__config__");
        assert_eq!(value.metadata.unwrap().plugin_data.unwrap().plugin_name, "custom_scalars");
        let Some(Content::Tensor(tensor)) = value.content else { panic!("{:?}", value.content) };
        assert_eq!((tensor.dtype, tensor.tensor_shape), (DT_STRING, Some(TensorShape::default())));
        let got = LayoutProto::decode(&tensor.string_val[0][..]).unwrap();
        let lines = LinesProto { tag: vec!["grad/norm/.*".into(), "lr$".into()] };
        let band = BandProto { value: "p50".into(), lower: "p5".into(), upper: "p95".into() };
        let chart = vec![
            ChartProto { title: "norms".into(), content: Some(ChartContent::Multiline(lines)) },
            ChartProto { title: "fc".into(), content: Some(ChartContent::Margin(BandsProto { series: vec![band] })) },
        ];
        let category = CategoryProto { title: "gradients".into(), chart, closed: true };
        assert_eq!(got, LayoutProto { version: 0, category: vec![category] });
    }

    #[test]
    fn a_tag_with_every_special_character_is_escaped() {
        assert_eq!(exact_tag(r"a.*+?^${}()|[]\/ü-b"), r"a\.\*\+\?\^\$\{\}\(\)\|\[\]\\/ü-b$");
    }
}

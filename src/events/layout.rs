//! The layout of TensorBoard's Custom Scalars page: which series share a chart.

use prost::Message;

use super::{
    Tag,
    proto::{
        BandProto, BandsProto, CategoryProto, ChartContent, ChartProto, DT_STRING, LayoutProto, LinesProto, PluginData,
        SummaryMetadata, TensorProto, TensorShape,
    },
};

/// What TensorBoard shows under Custom Scalars. The layouts of several runs are shown as one: categories of one title
/// are joined.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// From top to bottom.
    pub categories: Vec<Category>,
}

/// Charts under one heading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Category {
    /// The heading.
    pub title: String,
    /// The charts. TensorBoard 2.21 shows those of lines first, in this order, and then those of bands, the last one
    /// first.
    pub charts: Vec<Chart>,
    /// Whether the charts are hidden, and not loaded, until the heading is clicked.
    pub closed: bool,
}

/// One chart of scalars over steps.
#[derive(Debug, Clone, PartialEq)]
pub enum Chart {
    /// A line for each series. Series of one run have one colour and differ by their symbols, so few are told apart.
    Lines {
        /// Above the chart.
        title: String,
        /// Regular expressions, of Python's kind. A series is shown if one of them matches the beginning of its tag
        /// (`re.match`), so `loss` shows `loss/train` too; see [`exact_tag`].
        tags: Vec<String>,
    },
    /// A line in a shaded band for each series.
    Bands {
        /// Above the chart.
        title: String,
        /// The lines and their bands.
        series: Vec<Band>,
    },
}

/// A line and the band around it. The three series need values at the same steps: TensorBoard shows no part of a band
/// where one has a step that another lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// The line, e.g. a median. It also names the band, so a chart holds it once.
    pub value: Tag,
    /// The lower edge.
    pub lower: Tag,
    /// The upper edge.
    pub upper: Tag,
}

/// A regular expression for [`Chart::Lines`] that matches `tag` and nothing else.
///
/// ```
/// assert_eq!(gradwatch::events::exact_tag("lr (group 0)"), r"lr \(group 0\)$");
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
    /// The tag under which TensorBoard looks for a layout.
    pub const TAG: &'static str = "custom_scalars__config__";

    /// The metadata and the tensor that hold the layout.
    pub(super) fn into_tensor(self) -> (SummaryMetadata, TensorProto) {
        let plugin_data = PluginData { plugin_name: "custom_scalars".into(), content: Vec::new() };
        let string_val = vec![self.into_proto().encode_to_vec()];
        // A shape without dimensions: a single string.
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
    use crate::events::{
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

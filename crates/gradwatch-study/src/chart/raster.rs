//! Rasterizes charts as PNG files.

use std::sync::{Arc, LazyLock};

use resvg::{
    render,
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb},
};

use super::tone::dark_style;

/// Pixels of the file per pixel of the chart, for high-resolution screens and print.
const SCALE: f32 = 2.0;

/// The fonts of the program itself, so that the same chart gives the same pixels on every machine.
static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    for font in [epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::HACK_REGULAR] {
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
    }
    fonts.set_sans_serif_family("Ubuntu");
    Arc::new(fonts)
});

/// Reason why a chart cannot be rasterized.
#[derive(Debug, thiserror::Error)]
pub enum RasterError {
    /// The SVG cannot be parsed.
    #[error("the SVG of a chart cannot be parsed: {0}")]
    Parse(#[from] resvg::usvg::Error),
    /// The picture is too large for memory.
    #[error("a chart of {width} x {height} pixels is too large; draw fewer panels or rows")]
    Size {
        /// Width in pixels.
        width: f32,
        /// Height in pixels.
        height: f32,
    },
    /// The PNG file cannot be encoded.
    #[error("a chart cannot be encoded as PNG: {0}")]
    Encode(String),
}

/// Renders the SVG file of a chart as a PNG file with its light colors, at twice its size in pixels.
///
/// # Errors
/// If the SVG is invalid or too large.
pub fn png(svg: &str) -> Result<Vec<u8>, RasterError> {
    let options = Options { fontdb: Arc::clone(&FONTS), font_family: "Ubuntu".into(), ..Options::default() };
    // The parser warns about each rule for dark screens.
    let tree = Tree::from_str(&svg.replace(&dark_style(), ""), &options)?;
    let (width, height) = (SCALE * tree.size().width(), SCALE * tree.size().height());
    let pixmap = Pixmap::new(width.ceil() as u32, height.ceil() as u32);
    let mut pixmap = pixmap.ok_or(RasterError::Size { width, height })?;
    render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| RasterError::Encode(error.to_string()))
}

//! Draws rectangles, lines, and text into pixels.

use std::{io::Cursor, sync::LazyLock};

use ab_glyph::{Font, FontRef, GlyphId, PxScale, point};
use image::{
    Rgb, RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};

use super::{Picture, PictureError, axis::shorten, color::Color};

/// Text sizes in pixels per em. TensorBoard's cards show only two of five pixels, so strokes must be about 2.5 pixels
/// wide.
pub(super) const TITLE: f32 = 25.0;
pub(super) const LABEL: f32 = 22.0;
pub(super) const TICK: f32 = 20.0;

/// Height of a line of tick labels, in pixels.
pub(super) const TICK_LINE: u32 = 24;

/// A monospaced font, so that the length of a name gives its width.
static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR).expect("the font is a constant that a test draws with")
});

/// Width of a character in em.
const ADVANCE: f32 = 0.602;

/// Height of a capital letter in em.
const CAPITAL: f32 = 0.73;

/// Width of `count` characters, in pixels.
pub(super) fn text_width(count: usize, size: f32) -> u32 {
    (count as f32 * ADVANCE * size).ceil() as u32
}

/// Number of characters that fit into `width` pixels.
pub(super) fn characters_in(width: u32, size: f32) -> usize {
    (width as f32 / (ADVANCE * size)) as usize
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Area {
    pub(super) fn right(&self) -> u32 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> u32 {
        self.top + self.height
    }

    /// Grows by one pixel on each side.
    fn outline(&self) -> Self {
        Self { left: self.left - 1, top: self.top - 1, width: self.width + 2, height: self.height + 2 }
    }
}

/// Part of a text at the given point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Direction of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Rightwards,
    Upwards,
}

/// Text style.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) size: f32,
    pub(super) anchor: Anchor,
    pub(super) direction: Direction,
}

impl Style {
    pub(super) fn new(size: f32, anchor: Anchor) -> Self {
        Self { size, anchor, direction: Direction::Rightwards }
    }

    pub(super) fn upwards(self) -> Self {
        Self { direction: Direction::Upwards, ..self }
    }
}

/// White canvas. Ignores pixels outside its area.
#[derive(Debug)]
pub(super) struct Canvas(RgbImage);

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self(RgbImage::from_pixel(width, height, Rgb([255; 3])))
    }

    pub(super) fn pixel(&mut self, x: u32, y: u32, color: Color) {
        if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
            pixel.0 = color;
        }
    }

    /// Blends a color into a pixel with an opacity from 0 to 1.
    fn blend(&mut self, x: i64, y: i64, color: Color, cover: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
            for (under, over) in pixel.0.iter_mut().zip(color) {
                *under =
                    (f32::from(*under) + cover.clamp(0.0, 1.0) * (f32::from(over) - f32::from(*under))).round() as u8;
            }
        }
    }

    pub(super) fn fill(&mut self, area: Area, color: Color) {
        for y in area.top..area.bottom() {
            for x in area.left..area.right() {
                self.pixel(x, y, color);
            }
        }
    }

    /// Draws a frame of one pixel around an area.
    pub(super) fn frame(&mut self, area: Area, color: Color) {
        let Area { left, top, width, height } = area.outline();
        self.fill(Area { left, top, width, height: 1 }, color);
        self.fill(Area { left, top: area.bottom(), width, height: 1 }, color);
        self.fill(Area { left, top, width: 1, height }, color);
        self.fill(Area { left: area.right(), top, width: 1, height }, color);
    }

    /// Draws a triangle, 11 pixels wide and 6 high, that points down or left to `(x, y)`.
    pub(super) fn pointer(&mut self, (x, y): (u32, u32), direction: Direction, color: Color) {
        for row in 0..6i64 {
            for offset in -row..=row {
                let (dx, dy) = if direction == Direction::Upwards { (offset, -row) } else { (row, offset) };
                self.blend(i64::from(x) + dx, i64::from(y) + dy, color, 1.0);
            }
        }
    }

    /// Draws a straight line, 3 pixels thick, from height `ends[0]` at the left edge of an area to `ends[1]` at its
    /// right edge. Heights may be outside the area.
    pub(super) fn line(&mut self, area: Area, ends: [f64; 2], color: Color) {
        let slope = (ends[1] - ends[0]) / f64::from(area.width);
        let half = 1.5 * slope.hypot(1.0);
        for x in 0..area.width {
            let middle = ends[0] + slope * (f64::from(x) + 0.5);
            let (from, to) = (f64::from(area.top), f64::from(area.bottom()));
            let (from, to) = ((middle - half).clamp(from, to), (middle + half).clamp(from, to));
            for y in from as u32..to.ceil() as u32 {
                let cover = (to.min(f64::from(y) + 1.0) - from.max(f64::from(y))) as f32;
                self.blend(i64::from(area.left + x), i64::from(y), color, cover);
            }
        }
    }

    /// Draws a straight line, `thickness` pixels thick with round ends, between two points. Points may be outside the
    /// area; pixels outside stay.
    pub(super) fn segment(&mut self, area: Area, [from, to]: [(f64, f64); 2], thickness: f64, color: Color) {
        let reach = 0.5 * thickness + 1.0;
        let span = |one: f64, other: f64, start: u32, end: u32| {
            let (start, end) = (f64::from(start), f64::from(end));
            let (low, high) = (one.min(other) - reach, one.max(other) + reach);
            low.clamp(start, end) as u32..high.clamp(start, end).ceil() as u32
        };
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length_squared = (dx * dx + dy * dy).max(f64::MIN_POSITIVE);
        for y in span(from.1, to.1, area.top, area.bottom()) {
            for x in span(from.0, to.0, area.left, area.right()) {
                let (px, py) = (f64::from(x) + 0.5 - from.0, f64::from(y) + 0.5 - from.1);
                let along = ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0);
                let distance = (px - along * dx).hypot(py - along * dy);
                self.blend(i64::from(x), i64::from(y), color, (0.5 * thickness + 0.5 - distance) as f32);
            }
        }
    }

    /// Draws one line of text, with capitals centered on `(x, y)` across the text direction.
    pub(super) fn text(&mut self, (x, y): (u32, u32), style: Style, color: Color, text: &str) {
        let advance = ADVANCE * style.size;
        let start = match style.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -0.5,
            Anchor::End => -1.0,
        } * advance
            * text.chars().count() as f32;
        let baseline = (0.5 * CAPITAL * style.size).round();
        let font = &*FONT;
        let scale = PxScale::from(style.size * font.height_unscaled() / font.units_per_em().unwrap_or(2048.0));
        for (index, character) in text.chars().enumerate() {
            let glyph: GlyphId = font.glyph_id(character);
            let at = point(start + advance * index as f32, baseline);
            let Some(outline) = font.outline_glyph(glyph.with_scale_and_position(scale, at)) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, cover| {
                let (dx, dy) = (corner.x as i64 + i64::from(dx), corner.y as i64 + i64::from(dy));
                // Widens the font's strokes, which are 2 pixels wide, by part of a pixel.
                for (dx, dy, cover) in [(dx, dy, cover), (dx + 1, dy, 0.6 * cover), (dx, dy + 1, 0.6 * cover)] {
                    let (dx, dy) = if style.direction == Direction::Upwards { (dy, -dx) } else { (dx, dy) };
                    self.blend(i64::from(x) + dx, i64::from(y) + dy, color, cover);
                }
            });
        }
    }

    /// Draws the title at the top.
    pub(super) fn title(&mut self, title: &str, color: Color) {
        let width = self.0.width();
        let title = shorten(title, characters_in(width - 24, TITLE));
        self.text((width / 2, 24), Style::new(TITLE, Anchor::Middle), color, &title);
    }

    /// Draws a legend of colored squares in the lower left corner.
    pub(super) fn legend(&mut self, entries: &[(Color, &str)], ink: Color) {
        let y = self.0.height() - 16;
        let mut left = 14;
        for (color, meaning) in entries {
            let square = Area { left, top: y - 8, width: 16, height: 16 };
            self.fill(square, *color);
            self.frame(square, ink);
            self.text((left + 24, y), Style::new(TICK, Anchor::Start), ink, meaning);
            left += 24 + text_width(meaning.chars().count(), TICK) + 16;
        }
    }

    pub(super) fn encode(self) -> Result<Picture, PictureError> {
        let (width, height) = self.0.dimensions();
        let mut png = Cursor::new(Vec::new());
        // Most rows of pixels repeat the previous one. Adaptive filters use that and halve the file size compared to
        // the defaults.
        let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive);
        let encoded = self.0.write_with_encoder(encoder);
        encoded.map_err(|cause| PictureError::Encode { width, height, cause })?;
        Ok(Picture { png: png.into_inner(), width, height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_font_is_as_wide_as_it_is_taken_for() {
        for character in "iMW0.…±−/_∂".chars() {
            let width = FONT.h_advance_unscaled(FONT.glyph_id(character)) / FONT.units_per_em().unwrap();
            assert_ne!(FONT.glyph_id(character), GlyphId(0), "{character}");
            assert!((width - ADVANCE).abs() < 1e-3, "{character}: {width}");
        }
    }

    #[test]
    fn a_text_that_runs_upwards_is_the_same_text_turned() {
        let style = Style::new(TICK, Anchor::Middle);
        let (mut across, mut upwards) = (Canvas::new(101, 101), Canvas::new(101, 101));
        across.text((50, 50), style, [0; 3], "fc1.µ");
        upwards.text((50, 50), style.upwards(), [0; 3], "fc1.µ");
        assert_ne!(across.0, Canvas::new(101, 101).0);
        assert_eq!(image::imageops::rotate270(&across.0), upwards.0);
    }

    #[test]
    fn a_flat_line_covers_the_three_rows_around_its_height() {
        let mut canvas = Canvas::new(4, 9);
        canvas.line(Area { left: 0, top: 0, width: 4, height: 9 }, [4.5, 4.5], [0; 3]);
        let column: Vec<_> = (0..9).map(|y| canvas.0.get_pixel(2, y)[0]).collect();
        assert_eq!(column, [255, 255, 255, 0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn a_line_stays_in_its_area() {
        let mut canvas = Canvas::new(20, 20);
        let area = Area { left: 5, top: 5, width: 10, height: 10 };
        canvas.line(area, [-1e300, 1e300], [0; 3]);
        let is_inside = |x, y| (5..15).contains(&x) && (5..15).contains(&y);
        assert!(canvas.0.enumerate_pixels().all(|(x, y, pixel)| is_inside(x, y) || pixel[0] == 255));
    }
}

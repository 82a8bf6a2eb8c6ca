//! Shape of an image.

use std::fmt;

use super::augment::Size;

/// Shape of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// 1 (gray) or 3 (RGB) for files; any number for images in memory.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    pub(super) fn size(self) -> Size {
        Size { height: self.height, width: self.width }
    }

    /// Number of pixels per channel.
    pub fn plane(self) -> usize {
        self.height * self.width
    }

    /// Channels, rows, and columns, in libtorch's type.
    pub fn sizes(self) -> [i64; 3] {
        [self.channels, self.height, self.width].map(|size| size as i64)
    }

    /// Number of values per image, over all channels.
    pub fn values(self) -> usize {
        self.channels * self.plane()
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

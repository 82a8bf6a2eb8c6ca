//! Confusion matrix, stored as its nonzero cells.
//!
//! With thousands of classes, nearly all cells are 0, and the full matrix grows with their square.

use serde::Serialize;

/// Images with one label and one prediction. In JSON: `[label, prediction, images]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "(usize, usize, u64)")]
pub struct Cell {
    /// Index of the label.
    pub label: usize,
    /// Index of the predicted class.
    pub prediction: usize,
    /// Number of images, at least 1.
    pub images: u64,
}

impl From<Cell> for (usize, usize, u64) {
    fn from(Cell { label, prediction, images }: Cell) -> Self {
        (label, prediction, images)
    }
}

/// A confusion matrix as its nonzero cells, sorted by label, then by prediction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    cells: Vec<Cell>,
}

/// Counts per class from which precision and recall follow: images, predictions, and hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    /// Images of the class.
    pub support: Vec<u64>,
    /// Images predicted as the class.
    pub predicted: Vec<u64>,
    /// Images of the class predicted as the class.
    pub hits: Vec<u64>,
}

impl Confusion {
    /// Converts `matrix[label][prediction]`, which has a row and a column for each class.
    pub fn of_matrix(matrix: &[Vec<u64>]) -> Self {
        let cell = |label, (prediction, &images): (usize, &u64)| Cell { label, prediction, images };
        let row = |(label, row): (usize, &Vec<u64>)| {
            row.iter().enumerate().map(|images| cell(label, images)).collect::<Vec<_>>()
        };
        let cells = matrix.iter().enumerate().flat_map(row).filter(|cell| cell.images > 0).collect();
        Self { classes: matrix.len(), cells }
    }

    /// Counts images by their position in the matrix of `classes` rows and columns: `label * classes + prediction`.
    pub(super) fn of_cell_indices(classes: usize, mut indices: Vec<u64>) -> Self {
        indices.sort_unstable();
        let cell = |run: &[u64]| {
            let (index, images) = (run[0] as usize, run.len() as u64);
            Cell { label: index / classes, prediction: index % classes, images }
        };
        Self { classes, cells: indices.chunk_by(|one, other| one == other).map(cell).collect() }
    }

    /// The nonzero cells, sorted by label, then by prediction.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The full matrix, `[label][prediction]`. Its size is the square of the number of classes.
    pub fn matrix(&self) -> Vec<Vec<u64>> {
        let mut matrix = vec![vec![0; self.classes]; self.classes];
        for &Cell { label, prediction, images } in &self.cells {
            matrix[label][prediction] = images;
        }
        matrix
    }

    /// Row sums, column sums, and diagonal.
    pub fn counts(&self) -> ClassCounts {
        let zeros = || vec![0; self.classes];
        let mut counts = ClassCounts { support: zeros(), predicted: zeros(), hits: zeros() };
        for &Cell { label, prediction, images } in &self.cells {
            counts.support[label] += images;
            counts.predicted[prediction] += images;
            if label == prediction {
                counts.hits[label] += images;
            }
        }
        counts
    }

    /// At most `most` of the most frequent mistakes, most frequent first.
    pub fn most_confused(&self, most: usize) -> Vec<Cell> {
        let mut mistakes: Vec<Cell> = self.cells.iter().copied().filter(|cell| cell.label != cell.prediction).collect();
        // Stable: ties go to the first class.
        mistakes.sort_by_key(|cell| std::cmp::Reverse(cell.images));
        mistakes.truncate(most);
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_most_frequent_mistakes_come_first_and_hits_are_none() {
        let confusion = Confusion::of_matrix(&[vec![9, 2, 0], vec![5, 8, 2], vec![0, 0, 7]]);
        let mistakes: Vec<(usize, usize, u64)> = confusion.most_confused(2).into_iter().map(Cell::into).collect();
        assert_eq!(mistakes, [(1, 0, 5), (0, 1, 2)]);
        assert_eq!(serde_json::to_string(&confusion.most_confused(9)).unwrap(), "[[1,0,5],[0,1,2],[1,2,2]]");
    }

    /// Random labels and predictions with up to 40 classes.
    fn images() -> impl Strategy<Value = (usize, Vec<(usize, usize)>)> {
        (1..40usize).prop_flat_map(|classes| (Just(classes), prop::collection::vec((0..classes, 0..classes), 0..300)))
    }

    proptest! {
        #[test]
        fn sparse_counts_are_those_of_the_whole_matrix((classes, images) in images()) {
            let mut matrix = vec![vec![0u64; classes]; classes];
            images.iter().for_each(|&(label, prediction)| matrix[label][prediction] += 1);
            let indices = images.iter().map(|&(label, prediction)| (label * classes + prediction) as u64).collect();
            let confusion = Confusion::of_cell_indices(classes, indices);
            prop_assert_eq!(&confusion, &Confusion::of_matrix(&matrix));
            prop_assert_eq!(confusion.matrix(), &matrix[..]);
            let counts = confusion.counts();
            for class in 0..classes {
                prop_assert_eq!(counts.support[class], matrix[class].iter().sum::<u64>());
                prop_assert_eq!(counts.predicted[class], matrix.iter().map(|row| row[class]).sum::<u64>());
                prop_assert_eq!(counts.hits[class], matrix[class][class]);
            }
        }
    }
}

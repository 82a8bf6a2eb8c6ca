//! A table of a model's parameters, for inspection before a run.

use std::fmt;

use super::{Parameter, ParameterName, Parameters};
use crate::printable;

/// A parameter or buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryRow {
    /// Name in the `state_dict`.
    pub name: ParameterName,
    /// Shape; empty for a scalar.
    pub shape: Vec<i64>,
    /// Number of elements.
    pub count: usize,
    /// Whether the optimizer trains it.
    pub is_trainable: bool,
}

/// All parameters and buffers, in the order of `state_dict`. Displays as a table with the totals at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// One row per parameter or buffer.
    pub rows: Vec<SummaryRow>,
}

impl Summary {
    /// Reads names and shapes, but no values.
    pub fn of(parameters: &Parameters) -> Self {
        let row = |Parameter { name, tensor, is_trainable }: &Parameter| SummaryRow {
            name: name.clone(),
            shape: tensor.size(),
            count: tensor.numel(),
            is_trainable: *is_trainable,
        };
        Self { rows: parameters.iter().map(row).collect() }
    }

    /// Number of trainable elements.
    pub fn trainable_count(&self) -> usize {
        self.rows.iter().filter(|row| row.is_trainable).map(|row| row.count).sum()
    }

    /// Number of elements that are saved but not trained.
    pub fn buffer_count(&self) -> usize {
        self.rows.iter().filter(|row| !row.is_trainable).map(|row| row.count).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names from a TorchScript file can contain any characters.
        let names: Vec<_> = self.rows.iter().map(|row| printable::line(row.name.as_str())).collect();
        let column = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("parameter".len());
        writeln!(f, "{:<column$}  {:>16}  {:>11}  trainable", "parameter", "shape", "count")?;
        for (name, SummaryRow { shape, count, is_trainable, .. }) in names.iter().zip(&self.rows) {
            let sides: Vec<_> = shape.iter().map(i64::to_string).collect();
            let trainable = if *is_trainable { "yes" } else { "no" };
            writeln!(f, "{name:<column$}  {:>16}  {count:>11}  {trainable}", sides.join("x"))?;
        }
        write!(f, "{} trainable parameters, {} values in buffers", self.trainable_count(), self.buffer_count())
    }
}

#[cfg(test)]
mod tests {
    use crate::{config::Architecture, model::fixture};

    #[test]
    fn the_table_has_a_line_for_each_parameter_and_the_totals() {
        let network = fixture::network(&fixture::config(Architecture::Lenet5));
        let summary = network.summary();
        // 6 x 3 x 25 + 6, 16 x 6 x 25 + 16, 120 x 400 + 120, 84 x 120 + 84, 10 x 84 + 10.
        assert_eq!(summary.trainable_count(), 456 + 2416 + 48_120 + 10_164 + 850);
        let table = summary.to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 12);
        assert_eq!(lines[0], "parameter                shape        count  trainable");
        assert_eq!(lines[1], "conv1.weight           6x3x5x5          450  yes");
        assert_eq!(lines[11], "62006 trainable parameters, 0 values in buffers");
    }
}

//! The labels of a file.

use std::collections::HashMap;

/// A label as it is stored.
#[derive(Debug)]
pub(super) enum Label {
    Number(i64),
    Text(String),
}

/// The labels of all rows of a file, as indices of class names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Labels {
    pub names: Vec<String>,
    /// Whether the file lists its classes. Numbers are indices of this list.
    pub is_listed: bool,
    /// Whether a label is a number.
    pub has_numbers: bool,
    /// `None` for a label that cannot be used.
    pub of_rows: Vec<Option<u32>>,
    /// The first row whose label cannot be used, with the reason.
    pub fault: Option<(usize, String)>,
    indices: HashMap<String, u32>,
}

impl Labels {
    pub(super) fn new(names: Option<Vec<String>>) -> Self {
        let is_listed = names.is_some();
        let names = names.unwrap_or_default();
        let indices = names.iter().cloned().zip(0..).collect();
        Self { names, is_listed, indices, ..Self::default() }
    }

    /// Adds the label of the next row.
    pub(super) fn push(&mut self, label: Option<Label>) {
        let index = self.index(label).map_err(|cause| {
            let row = self.of_rows.len();
            self.fault.get_or_insert((row, cause));
        });
        self.of_rows.push(index.ok());
    }

    fn index(&mut self, label: Option<Label>) -> Result<u32, String> {
        self.has_numbers |= matches!(label, Some(Label::Number(_)));
        let text = match label {
            None => return Err("its label is null".into()),
            Some(Label::Number(number)) if self.is_listed => {
                let index = u32::try_from(number).ok().filter(|index| (*index as usize) < self.names.len());
                let most = self.names.len().saturating_sub(1);
                return index.ok_or_else(|| format!("its label is {number}, want 0..={most}"));
            }
            Some(Label::Number(number)) => number.to_string(),
            Some(Label::Text(text)) if text.is_empty() => return Err("its label is empty".into()),
            Some(Label::Text(text)) => text,
        };
        match self.indices.get(&text) {
            Some(index) => Ok(*index),
            None if self.is_listed => {
                Err(format!("its label `{text}` is not one of the classes in the file's metadata"))
            }
            None => {
                let index = self.names.len() as u32;
                self.names.push(text.clone());
                self.indices.insert(text, index);
                Ok(index)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: Option<&[&str]>, given: Vec<Option<Label>>) -> Labels {
        let mut labels = Labels::new(names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()));
        given.into_iter().for_each(|label| labels.push(label));
        labels
    }

    #[test]
    fn values_are_numbered_as_they_come_if_the_file_lists_no_classes() {
        let found = labels(None, vec![Some(Label::Number(7)), Some(Label::Text("cat".into())), Some(Label::Number(7))]);
        assert_eq!((found.names, found.of_rows), (vec!["7".into(), "cat".into()], vec![Some(0), Some(1), Some(0)]));
        assert_eq!(found.fault, None);
    }

    #[test]
    fn numbers_are_indices_of_the_classes_that_the_file_lists() {
        let given = vec![Some(Label::Number(1)), Some(Label::Text("b".into())), Some(Label::Number(2)), None];
        let found = labels(Some(&["b", "a"]), given);
        assert_eq!(found.of_rows, [Some(1), Some(0), None, None]);
        assert_eq!(found.fault.unwrap(), (2, "its label is 2, want 0..=1".into()));
        let found = labels(Some(&["a"]), vec![Some(Label::Number(-1)), Some(Label::Text("x".into()))]);
        assert_eq!(found.fault.unwrap(), (0, "its label is -1, want 0..=0".into()));
        let found = labels(Some(&["a"]), vec![Some(Label::Text("x".into()))]);
        assert_eq!(found.fault.unwrap().1, "its label `x` is not one of the classes in the file's metadata");
        assert_eq!(labels(None, vec![None]).fault.unwrap(), (0, "its label is null".into()));
    }
}

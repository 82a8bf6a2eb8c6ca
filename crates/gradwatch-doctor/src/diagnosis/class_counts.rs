//! Serializes the number of images per class as JSON that stays short for tens of thousands of classes.
//!
//! With many classes, the JSON is a list of `[images, classes]`: the number of classes that have that many images, in
//! ascending order of images. No rule needs to know which classes they are. The length of the list is the number of
//! distinct counts, which grows at most with the square root of the number of images.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Most classes to list one by one.
pub const LISTED: usize = 1000;
/// Most classes to read from a file: 128 MB of numbers.
const MOST: u64 = 1 << 24;

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    OfEach(Vec<u64>),
    HowMany(Vec<(u64, u64)>),
}

pub(super) fn serialize<S: Serializer>(counts: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    if counts.len() <= LISTED {
        return counts.serialize(serializer);
    }
    let mut how_many = BTreeMap::new();
    counts.iter().for_each(|&images| *how_many.entry(images).or_insert(0u64) += 1);
    serializer.collect_seq(how_many)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    let how_many = match Counts::deserialize(deserializer)? {
        Counts::OfEach(counts) => return Ok(counts),
        Counts::HowMany(how_many) => how_many,
    };
    let classes = how_many.iter().try_fold(0u64, |sum, (_, classes)| sum.checked_add(*classes));
    match classes.filter(|&classes| classes <= MOST) {
        Some(_) => Ok(how_many.into_iter().flat_map(|(images, classes)| (0..classes).map(move |_| images)).collect()),
        None => Err(D::Error::custom(format!("class_counts: want at most {MOST} classes"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::Facts;

    fn facts(class_counts: Vec<u64>) -> Facts {
        Facts { classes: class_counts.len(), class_counts, ..Facts::default() }
    }

    fn text(facts: &Facts) -> String {
        serde_json::to_string(facts).unwrap()
    }

    #[test]
    fn few_classes_are_listed_and_of_many_it_is_told_how_many_have_how_many_images() {
        assert!(text(&facts(vec![3, 1, 3])).contains("\"class_counts\":[3,1,3]"));
        let many = facts((0..21_841).map(|class| 5 + class % 3).collect());
        let want = "\"class_counts\":[[5,7281],[6,7280],[7,7280]]";
        assert!(text(&many).contains(want), "{}", text(&many));
        assert_eq!(serde_json::from_str::<Facts>(&text(&facts(vec![]))).unwrap().class_counts, Vec::<u64>::new());
        for facts in [facts(vec![3, 1, 3]), many] {
            let back: Facts = serde_json::from_str(&text(&facts)).unwrap();
            let mut sorted = facts.class_counts.clone();
            if sorted.len() > super::LISTED {
                sorted.sort_unstable();
            }
            assert_eq!(back.class_counts, sorted);
            // The entropy adds up in another order.
            assert!((back.guess() - facts.guess()).abs() < 1e-9);
        }
    }

    #[test]
    fn more_classes_than_memory_holds_are_refused() {
        let refused = serde_json::from_str::<Facts>("{\"class_counts\":[[1,9000000000],[2,1]]}").unwrap_err();
        assert!(refused.to_string().contains("at most 16777216 classes"), "{refused}");
    }
}

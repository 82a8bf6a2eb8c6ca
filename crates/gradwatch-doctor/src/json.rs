//! Non-finite numbers in JSON, which cannot represent them.

use serde::{Deserialize, Deserializer};

/// Reads null as NaN, because serde_json writes null for non-finite numbers.
pub fn nan_from_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Rows of numbers as space-separated text, which distinguishes NaN from the infinities: `"0.5 NaN -inf"`.
pub mod exact_rows {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the rows.
    pub fn serialize<S: Serializer>(rows: &[Vec<f64>], serializer: S) -> Result<S::Ok, S::Error> {
        // `to_string` gives the shortest text that reads back as the same number.
        serializer.collect_seq(rows.iter().map(|row| row.iter().map(f64::to_string).collect::<Vec<_>>().join(" ")))
    }

    /// Reads the rows.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<f64>>, D::Error> {
        let rows = Vec::<String>::deserialize(deserializer)?;
        let row = |text: String| text.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        rows.into_iter().map(row).collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Numbers {
        #[serde(deserialize_with = "nan_from_null")]
        one: f64,
        #[serde(with = "exact_rows")]
        rows: Vec<Vec<f64>>,
    }

    #[test]
    fn what_is_not_finite_comes_back() {
        let rows = vec![vec![0.1 + 0.2, f64::NEG_INFINITY, -0.0, 5e-324], vec![], vec![f64::NAN, f64::INFINITY]];
        let text = serde_json::to_string(&Numbers { one: f64::NAN, rows: rows.clone() }).unwrap();
        let back: Numbers = serde_json::from_str(&text).unwrap();
        let bits = |rows: &[Vec<f64>]| rows.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(back.one.is_nan());
        assert_eq!((back.rows.len(), bits(&back.rows)), (3, bits(&rows)));
        assert!(serde_json::from_str::<Numbers>("{\"one\":1,\"rows\":[\"x\"]}").is_err());
    }
}

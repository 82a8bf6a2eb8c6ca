//! A stronger or weaker change after one that did not help.

use super::Trial;
use crate::{
    config::override_value,
    diagnosis::{Change, Remedy},
};

/// The key whose change has a size.
const RATE: &str = "optimizer.learning_rate";

impl Trial {
    /// The next learning rate to try after this one has failed: a tenth if it was lowered, and halfway back, by factors,
    /// if it was raised. `None` if the trial did not change the learning rate.
    pub fn next_rate(&self) -> Option<Remedy> {
        let setting = self.settings.iter().find(|setting| setting.key == RATE)?;
        let number = |text: &Option<String>| {
            let value = override_value(text.as_deref()?);
            value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64))
        };
        let (before, after) = (number(&setting.before)?, number(&setting.after)?);
        let (next, why) = match after < before {
            true => (0.1 * after, "takes even smaller steps"),
            false => ((before * after).sqrt(), "takes steps between the two sizes"),
        };
        // More than two digits have no meaning.
        let next: f64 = format!("{next:.1e}").parse().ok()?;
        let is_new = next > 0.0 && next != before && next != after;
        is_new.then(|| Remedy { change: Change::from(&*format!("{RATE} = {next}")), why: why.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Setting, history::tests::trial};
    use crate::config::Config;

    fn next(before: &str, after: &str) -> Option<String> {
        let toml =
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\noptimizer.learning_rate = 0.1";
        let mut trial = trial(1, "clipping.mode = \"norm\"", &Config::parse(toml, "test").unwrap(), None);
        trial.settings.push(Setting {
            key: "optimizer.learning_rate".into(),
            before: Some(before.into()),
            after: Some(after.into()),
        });
        trial.next_rate().map(|remedy| remedy.change.to_string())
    }

    #[test]
    fn a_rate_that_was_lowered_is_lowered_further_and_one_that_was_raised_goes_halfway_back() {
        assert_eq!(next("20.0", "1.0").unwrap(), "optimizer.learning_rate = 0.1");
        assert_eq!(next("0.1", "0.00073").unwrap(), "optimizer.learning_rate = 0.000073");
        assert_eq!(next("0.0001", "1").unwrap(), "optimizer.learning_rate = 0.01");
        assert_eq!(next("1.0", "1.01"), None);
    }
}

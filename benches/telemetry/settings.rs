//! Settings from the environment. An empty variable counts as unset, because `make` passes empty variables on.

use std::env::{self, VarError};
use std::error::Error;

/// Reads a number of 1 or more.
pub(crate) fn setting(name: &str) -> Result<Option<u32>, Box<dyn Error>> {
    let Some(text) = text(name)? else { return Ok(None) };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!("{name}: got {text:?}, want a number from 1").into()),
    }
}

/// Reads a text.
pub(crate) fn text(name: &str) -> Result<Option<String>, VarError> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Selects the subjects whose names begin with `MODEL`, or all of them if it is unset.
pub(crate) fn asked<T>(subjects: &[T], name: impl Fn(&T) -> &'static str) -> Result<Vec<&T>, Box<dyn Error>> {
    let model = text("MODEL")?.unwrap_or_default();
    let asked: Vec<&T> = subjects.iter().filter(|&subject| name(subject).starts_with(&model)).collect();
    if asked.is_empty() {
        let names: Vec<&str> = subjects.iter().map(name).collect();
        return Err(format!("MODEL: got {model:?}, want the beginning of one of {names:?}").into());
    }
    Ok(asked)
}

//! Panics that are caught, such as those of an image decoder on a damaged file.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, and returns the message of its panic as the error. The panic hook of the programs reports nothing.
///
/// # Errors
/// If `work` panics. What it has changed may be inconsistent, so nothing that it changes may be used afterwards.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = EXPECTED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(before);
    outcome.map_err(|panic| message(panic.as_ref()))
}

/// Message of a panic, in one line.
pub fn message(panic: &(dyn Any + Send)) -> String {
    text(panic).unwrap_or("a panic without a message").replace('\n', " ")
}

/// Text of a panic, if it has one.
pub fn text(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied())
}

/// Whether this thread runs work whose panics are caught.
pub(crate) fn is_expected() -> bool {
    EXPECTED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_is_expected_only_during_the_work() {
        assert_eq!(caught(is_expected), Ok(true));
        assert_eq!(caught(|| -> u8 { panic!("no {}\nmore", "room") }), Err("no room more".into()));
        assert!(!is_expected());
    }
}

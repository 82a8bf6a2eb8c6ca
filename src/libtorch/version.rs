//! The libtorch version.

use super::ffi;

/// Returns the version of libtorch, such as `2.13.0`.
pub fn torch_version() -> &'static str {
    ffi::torch_version()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_version_that_set_up_fetches() {
        assert!(super::torch_version().starts_with("2.13."), "{}", super::torch_version());
    }
}

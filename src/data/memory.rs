//! Free memory of the system.

use std::path::Path;

use crate::disk;

/// Available memory in bytes, as estimated by Linux; `None` if unknown.
pub(super) fn free_bytes() -> Option<u64> {
    available(&disk::read_regular_text(Path::new("/proc/meminfo"), 1 << 20).ok()?)
}

/// Parses `MemAvailable` from the text of `/proc/meminfo`, in bytes.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_in_kilobytes() {
        assert_eq!(available("MemTotal:  9 kB\nMemAvailable:     1500 kB\n"), Some(1_536_000));
        assert_eq!(available("MemTotal:  9 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }
}

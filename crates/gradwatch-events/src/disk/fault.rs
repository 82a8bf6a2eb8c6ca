//! Fault injection for tests: kills the process at a given point, or simulates a full disk. Only in builds with debug
//! assertions. The `fail` crate cannot tear a write in half, and has had no release since 2022.
//!
//! `GRADWATCH_FAULT` is `kill NAME N`, which kills the process when it passes the point `NAME` for the N-th time (from
//! 1), or `full BYTES`, which fails all writes after so many bytes, except those of small files that replace others.

#[cfg(debug_assertions)]
mod armed {
    use std::{
        io,
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
    };

    enum Fault {
        None,
        Kill { name: String, at: u64 },
        Full { bytes: u64 },
    }

    /// Passes of the point, or bytes written.
    static SO_FAR: AtomicU64 = AtomicU64::new(0);

    fn fault() -> &'static Fault {
        static FAULT: OnceLock<Fault> = OnceLock::new();
        FAULT.get_or_init(|| {
            let text = std::env::var("GRADWATCH_FAULT").unwrap_or_default();
            let words: Vec<&str> = text.split(' ').collect();
            match words[..] {
                ["kill", name, at] => Fault::Kill { name: name.to_owned(), at: at.parse().unwrap_or(1) },
                ["full", bytes] => Fault::Full { bytes: bytes.parse().unwrap_or(0) },
                _ => Fault::None,
            }
        })
    }

    fn is_struck(place: &str) -> bool {
        matches!(fault(), Fault::Kill { name, at } if name == place && SO_FAR.fetch_add(1, Ordering::Relaxed) + 1 == *at)
    }

    /// Whether the fault kills the process at this point, at some pass.
    pub fn kills_at(name: &str) -> bool {
        matches!(fault(), Fault::Kill { name: armed, .. } if armed == name)
    }

    /// Kills the process if the fault names this point.
    pub fn point(name: &'static str) {
        if is_struck(name) {
            strike();
        }
    }

    pub(in crate::disk) fn before_write(name: &'static str, length: usize) -> io::Result<Option<usize>> {
        if let Fault::Full { bytes } = fault() {
            if name == "replace" {
                return Ok(None);
            }
            let end = SO_FAR.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
            return if end > *bytes { Err(io::ErrorKind::StorageFull.into()) } else { Ok(None) };
        }
        Ok(is_struck(name).then_some(length / 2))
    }

    /// Like a kill by the kernel: no code runs after this.
    pub(in crate::disk) fn strike() -> ! {
        let _ = signal_hook::low_level::raise(signal_hook::consts::SIGKILL);
        std::process::abort()
    }
}

#[cfg(debug_assertions)]
pub(super) use armed::{before_write, strike};
#[cfg(debug_assertions)]
pub use armed::{kills_at, point};

#[cfg(not(debug_assertions))]
mod unarmed {
    use std::io;

    /// False without debug assertions.
    pub fn kills_at(_name: &str) -> bool {
        false
    }

    /// Does nothing without debug assertions.
    pub fn point(_name: &'static str) {}

    pub(in crate::disk) fn before_write(_name: &'static str, _length: usize) -> io::Result<Option<usize>> {
        Ok(None)
    }

    pub(in crate::disk) fn strike() -> ! {
        unreachable!("no write is torn without debug assertions")
    }
}

#[cfg(not(debug_assertions))]
pub(super) use unarmed::{before_write, strike};
#[cfg(not(debug_assertions))]
pub use unarmed::{kills_at, point};

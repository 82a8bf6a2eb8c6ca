//! Threads of an operation on the CPU: of the run before it was stopped, and of this machine.

use std::{num::NonZero, thread};

/// Threads that an operation takes now.
pub(super) fn now() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// What becomes of the number of threads where a run is resumed that leaves it to the machine.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// It is the same by itself.
    Same,
    /// This machine can have as many.
    Set(usize),
    /// This machine has fewer cores.
    TooMany(usize),
    /// The checkpoint does not say how many there were.
    Unknown,
}

fn decide(before: Option<usize>, now: usize, cores: usize) -> Kept {
    match before {
        None => Kept::Unknown,
        Some(before) if before == now => Kept::Same,
        Some(before) if before <= cores => Kept::Set(before),
        Some(before) => Kept::TooMany(before),
    }
}

/// Takes as many threads as there were before, or says that the last bits may differ.
pub(super) fn keep(before: Option<usize>) {
    let (now, cores) = (now(), thread::available_parallelism().map_or(1, NonZero::get));
    match decide(before, now, cores) {
        Kept::Same => {}
        Kept::Set(before) => {
            tch::set_num_threads(i32::try_from(before).unwrap_or(i32::MAX));
            tracing::info!(
                "run.threads = 0: {before} threads, as the run had before, where this machine would take {now}"
            );
        }
        Kept::TooMany(before) => tracing::warn!(
            "run.threads = 0: the run had {before} threads before, this machine has {cores} cores and takes {now}: the last bits \
             may differ from here on; --threads {before} takes as many"
        ),
        Kept::Unknown => tracing::warn!(
            "run.threads = 0: this machine takes {now} threads; the checkpoint does not say how many the run had, and with another \
             number the last bits may differ from here on"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_threads_stays_where_there_are_cores_for_it() {
        assert_eq!(decide(Some(4), 4, 4), Kept::Same);
        assert_eq!(decide(Some(2), 8, 8), Kept::Set(2));
        assert_eq!(decide(Some(8), 2, 2), Kept::TooMany(8));
        assert_eq!(decide(None, 2, 2), Kept::Unknown);
    }
}

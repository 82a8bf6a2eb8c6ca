//! Number of threads per CPU operation, before a run stopped and on this machine.

use std::{num::NonZero, thread};

/// Current number of threads per operation.
pub(super) fn now() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Handling of the number of threads when a run resumes whose config leaves it to the machine.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// The default is the same.
    Same,
    /// This machine has enough cores for the previous number.
    Set(usize),
    /// This machine has fewer cores.
    TooMany(usize),
    /// The checkpoint does not contain the number.
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

/// Sets the previous number of threads, or warns that results may differ in the last bits.
pub(super) fn keep(before: Option<usize>) {
    let (now, cores) = (now(), thread::available_parallelism().map_or(1, NonZero::get));
    match decide(before, now, cores) {
        Kept::Same => {}
        Kept::Set(before) => {
            tch::set_num_threads(i32::try_from(before).unwrap_or(i32::MAX));
            tracing::info!("run.threads = 0: using {before} threads as before (default of this machine: {now})");
        }
        Kept::TooMany(before) => tracing::warn!(
            "run.threads = 0: the run used {before} threads before, but this machine has {cores} cores and uses {now}: \
             results may differ in the last bits; set --threads {before} to use as many"
        ),
        Kept::Unknown => tracing::warn!(
            "run.threads = 0: this machine uses {now} threads, and the checkpoint does not contain the previous \
             number: results may differ in the last bits"
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

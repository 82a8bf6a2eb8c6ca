//! Runs of many kinds, read back.

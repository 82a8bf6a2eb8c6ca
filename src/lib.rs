//! stub
pub mod config;
pub mod libtorch;

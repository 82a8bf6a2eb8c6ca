//! Crash-safe files, and tensors in safetensors files.

mod tensor_file;

pub use gradwatch_doctor::json::{exact_rows, nan_from_null};
pub use gradwatch_events::disk::{
    Folder, Output, OutputError, kills_at, open_regular, point, read_line, read_regular, read_regular_text, replace,
    write_all, write_hashed,
};
pub(crate) use tensor_file::list;
pub use tensor_file::{NamedTensors, TensorFile, TensorFileError, copy_named, read_tensors, write_into};

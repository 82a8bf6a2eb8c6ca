//! Compiles the C++ shim and leaves the binary a path to the libtorch it was linked with.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=src/libtorch/shim");
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    // torch-sys names only the lib folder, and only to crates that depend on it directly.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        eprintln!("torch-sys did not say where libtorch is; run `make setup`, or set LIBTORCH to a libtorch 2.13.0");
        std::process::exit(1);
    };
    let include = lib.with_file_name("include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .flag_if_supported("-Wno-unused-parameter")
        .warnings(false)
        .file("src/libtorch/shim/fused.cpp")
        .file("src/libtorch/shim/hooks.cpp")
        .file("src/libtorch/shim/tables.cpp")
        .file("src/libtorch/shim/tensors.cpp")
        .file("src/libtorch/shim/runtime.cpp")
        .compile("gradwatch_shim");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}

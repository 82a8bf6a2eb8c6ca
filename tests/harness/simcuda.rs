//! The simulated CUDA device of tests/simcuda, and its counts for a process.

use std::{
    collections::BTreeMap,
    fs,
    ops::Sub,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::limit;

/// The built device.
pub(crate) struct SimulatedGpu {
    folder: PathBuf,
    lib: PathBuf,
}

/// Work of a process on the device, by the names of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<String, i64>);

fn libtorch() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps.lines().filter_map(|line| line.split_once('/')).map(|(_, path)| Path::new("/").join(path));
    let found =
        library.into_iter().find(|path| path.ends_with("libtorch_cpu.so")).expect("libtorch is not in this process");
    found.parent().unwrap().to_owned()
}

impl SimulatedGpu {
    /// Builds the device, once per test program.
    pub(crate) fn get() -> &'static Self {
        static BUILT: OnceLock<SimulatedGpu> = OnceLock::new();
        BUILT.get_or_init(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("simcuda");
            let lib = libtorch();
            let gpu = Self { folder, lib };
            let built = gpu.script("build.sh");
            assert!(built.status.success(), "{built:?}");
            gpu
        })
    }

    /// Runs a script of tests/simcuda on the device.
    pub(crate) fn script(&self, name: &str) -> std::process::Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simcuda").join(name);
        limit::output(Command::new("bash").arg(script).arg(&self.lib).arg(&self.folder))
    }

    /// Makes the device visible to a process.
    pub(crate) fn show_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_LIBRARY_PATH", self.folder.join("torch/lib"))
            // Kernels compiled for this device must not be mixed with those of another.
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
    }

    /// Runs a process that sees the device, and checks that it succeeds.
    pub(crate) fn count(&self, command: &mut Command) -> Counts {
        let report = tempfile::NamedTempFile::new().unwrap();
        let output = limit::output(self.show_to(command).env("SIMCUDA_REPORT", report.path()));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(report.path()).unwrap();
        let line = |line: &str| {
            let (name, count) = line.strip_prefix("simcuda:")?.rsplit_once(' ')?;
            Some((name.trim().to_owned(), count.parse().ok()?))
        };
        Counts(text.lines().filter_map(line).collect())
    }
}

impl Counts {
    pub(crate) fn of(&self, name: &str) -> i64 {
        *self.0.get(name).unwrap_or_else(|| panic!("{name} is not counted: {self:?}"))
    }

    pub(crate) fn launches(&self) -> i64 {
        self.of("kernel launches, about")
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self(
            self.0
                .into_iter()
                .map(|(name, count)| (name.clone(), count - earlier.0.get(&name).unwrap_or(&0)))
                .collect(),
        )
    }
}

//! Names that are known to run code or to access resources outside of the process. No checkpoint needs them.
//!
//! Pickles are never executed here. But a file that asks for one of these names was made to harm users who load it with
//! Python, so it is rejected entirely, with the name.

/// Forbidden modules, including all their submodules.
const MODULES: [&str; 28] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "_posixsubprocess",
    "pty",
    "shutil",
    "sys",
    "socket",
    "importlib",
    "runpy",
    "ctypes",
    "_ctypes",
    "webbrowser",
    "marshal",
    "asyncio",
    "pickle",
    "_pickle",
    "cPickle",
    "ensurepip",
    "pip",
    "venv",
    "idlelib",
    "pydoc",
    "_osx_support",
    "_aix_support",
    "aiohttp",
    "torch.utils.cpp_extension",
];

/// Forbidden names by module, for modules with common names that a project may also use.
const NAMES: [(&str, &[&str]); 27] = [
    ("code", &["interact", "InteractiveInterpreter", "InteractiveConsole"]),
    ("codeop", &["compile_command", "Compile", "CommandCompiler"]),
    ("commands", &["getoutput", "getstatus", "getstatusoutput"]),
    ("imp", &["load_source", "load_module", "load_dynamic", "load_compiled", "load_package"]),
    ("pdb", &["run", "runeval", "runcall", "Pdb"]),
    ("bdb", &["Bdb"]),
    ("profile", &["run", "runctx", "Profile"]),
    ("cProfile", &["run", "runctx", "Profile"]),
    ("timeit", &["timeit", "repeat", "Timer"]),
    ("types", &["CodeType", "FunctionType"]),
    ("http.client", &["HTTPConnection", "HTTPSConnection"]),
    ("urllib.request", &["urlopen", "urlretrieve"]),
    ("urllib2", &["urlopen"]),
    ("requests", &["get", "post", "put", "delete", "request"]),
    ("requests.api", &["get", "post", "put", "delete", "request"]),
    ("io", &["open", "open_code", "FileIO"]),
    ("_io", &["open", "open_code", "FileIO"]),
    ("codecs", &["open"]),
    ("trace", &["Trace"]),
    ("torch", &["load"]),
    ("torch.serialization", &["load"]),
    ("torch.hub", &["load", "load_state_dict_from_url", "download_url_to_file"]),
    ("numpy.testing._private.utils", &["runstring"]),
    ("dill", &["load", "loads"]),
    ("dill._dill", &["load", "loads"]),
    ("cloudpickle", &["load", "loads"]),
    ("joblib", &["load"]),
];

/// Forbidden built-in functions of Python 2 and 3.
const BUILTINS: [&str; 14] = [
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "file",
    "apply",
    "breakpoint",
    "input",
    "raw_input",
    "__import__",
    "globals",
    "locals",
    "reload",
];

/// Maximum number of dots in a name to check.
const MOST_DOTS: usize = 16;

/// Whether a name is forbidden. `name` may contain dots: nested attributes, or modules imported by a module.
pub(super) fn is_forbidden(module: &str, name: &str) -> bool {
    let dots = name.match_indices('.').take(MOST_DOTS);
    let inner = dots.map(|(at, _)| (&name[..at], &name[at + 1..]));
    std::iter::once((module, name)).chain(inner).any(|(module, name)| is_known(module, name))
}

fn is_known(module: &str, name: &str) -> bool {
    let first = name.split('.').next().unwrap_or(name);
    let is_inside =
        |outer: &&str| module.strip_prefix(*outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    match module {
        "builtins" | "__builtin__" | "__builtins__" => BUILTINS.contains(&first),
        _ if MODULES.iter().any(is_inside) => true,
        _ => NAMES.iter().any(|(known, names)| *known == module && names.contains(&first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_code_is_forbidden_under_every_name_of_it_and_data_is_not() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("nt", "system"),
            ("os.path", "join"),
            ("subprocess", "Popen"),
            ("builtins", "eval"),
            ("__builtin__", "exec"),
            ("builtins", "eval.__call__"),
            ("importlib._bootstrap", "_call_with_frames_removed"),
            ("torch", "load"),
            ("code", "interact"),
            ("pickle", "loads"),
            ("torch.serialization", "os.system"),
            ("project", "builtins.eval"),
            ("io", "open"),
        ] {
            assert!(is_forbidden(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("builtins", "set"),
            ("builtins", "getattr"),
            ("oscar", "system"),
            ("code.config", "Args"),
            ("posixpath", "join"),
            ("types", "SimpleNamespace"),
            ("torch", "Size"),
            ("argparse", "Namespace"),
            ("project", "Outer.Inner"),
            ("io", "BytesIO"),
            ("_codecs", "encode"),
        ] {
            assert!(!is_forbidden(module, name), "{module}.{name}");
        }
    }
}

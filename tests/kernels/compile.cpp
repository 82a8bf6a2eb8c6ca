// Compiles kernels with NVRTC for every supported architecture; needs no GPU.
//
//   compile LIBRARY_FOLDER KERNEL.cu...
//
// Reads the headers from the folder of each kernel, and passes them to NVRTC by name, as the program does.

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

const int ARCHITECTURES[] = {75, 80, 86, 89, 90, 100, 120};

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "%s\n", what.c_str());
    std::exit(1);
}

// The part of nvrtc.h that this file uses.
using Program = struct OpaqueProgram*;
struct Nvrtc {
    int (*create)(Program*, const char* source, const char* name, int headers, const char* const* contents,
        const char* const* names);
    int (*compile)(Program, int options, const char* const* texts);
    int (*log_size)(Program, size_t*);
    int (*log)(Program, char*);
    int (*cubin_size)(Program, size_t*);
    int (*cubin)(Program, char*);
    int (*destroy)(Program*);
    const char* (*text_of)(int);
};

// Finds the newest file with this name: libnvrtc.so.13 or libnvrtc-builtins.so.13.0.
fs::path library(const fs::path& folder, const std::string& name) {
    fs::path found;
    if (fs::is_directory(folder))
        for (const auto& entry : fs::directory_iterator(folder))
            if (entry.path().filename().string().rfind(name + ".so", 0) == 0) found = entry.path();
    if (found.empty()) fail(folder.string() + " has no " + name + ".so; to fix it: make setup");
    return found;
}

void* open(const fs::path& path) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    return handle ? handle : (fail(std::string(dlerror())), nullptr);
}

Nvrtc load(const fs::path& folder) {
    const auto nvrtc = library(folder, "libnvrtc");
    // NVRTC loads its builtins by file name only, which finds libraries that are already loaded.
    open(library(folder, "libnvrtc-builtins"));
    void* handle = open(nvrtc);
    const auto find = [&](auto& function, const char* name) {
        function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(handle, name));
        if (!function) fail(nvrtc.string() + " has no " + name);
    };
    Nvrtc api;
    find(api.create, "nvrtcCreateProgram");
    find(api.compile, "nvrtcCompileProgram");
    find(api.log_size, "nvrtcGetProgramLogSize");
    find(api.log, "nvrtcGetProgramLog");
    find(api.cubin_size, "nvrtcGetCUBINSize");
    find(api.cubin, "nvrtcGetCUBIN");
    find(api.destroy, "nvrtcDestroyProgram");
    find(api.text_of, "nvrtcGetErrorString");
    return api;
}

std::string content(const fs::path& path) {
    std::ifstream file(path);
    if (!file) fail(path.string() + " cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string log_of(const Nvrtc& api, Program program) {
    size_t size = 0;
    api.log_size(program, &size);
    std::string log(size, '\0');
    if (size > 0) api.log(program, log.data());
    return log.c_str();
}

bool compiles(const Nvrtc& api, const fs::path& kernel, int architecture) {
    const auto source = content(kernel);
    std::vector<std::string> names, contents;
    for (const auto& entry : fs::directory_iterator(kernel.parent_path())) {
        if (entry.path().extension() != ".h") continue;
        names.push_back(entry.path().filename().string());
        contents.push_back(content(entry.path()));
    }
    std::vector<const char*> name_list, content_list;
    for (size_t i = 0; i < names.size(); ++i) {
        name_list.push_back(names[i].c_str());
        content_list.push_back(contents[i].c_str());
    }
    Program program = nullptr;
    int error = api.create(&program, source.c_str(), kernel.filename().c_str(), int(names.size()), content_list.data(),
        name_list.data());
    if (error) fail(std::string("nvrtcCreateProgram: ") + api.text_of(error));
    const auto target = "-arch=sm_" + std::to_string(architecture);
    const char* options[] = {target.c_str(), "-std=c++17"};
    error = api.compile(program, 2, options);
    const auto log = log_of(api, program);
    size_t size = 0;
    if (!error && api.cubin_size(program, &size) == 0 && size > 0) {
        // To inspect registers and instructions.
        if (const char* folder = std::getenv("CUBINS")) {
            std::string cubin(size, '\0');
            api.cubin(program, cubin.data());
            const auto name = kernel.stem().string() + "-sm_" + std::to_string(architecture) + ".cubin";
            std::ofstream(fs::path(folder) / name, std::ios::binary) << cubin;
        }
    } else {
        error = error ? error : -1;
    }
    // Warnings count as errors.
    if (error || !log.empty())
        std::fprintf(stderr, "%s for sm_%d: %s\n%s\n", kernel.c_str(), architecture,
            error > 0 ? api.text_of(error) : error ? "an empty cubin" : "warnings", log.c_str());
    api.destroy(&program);
    return !error && log.empty();
}

} // namespace

int main(int count, char** arguments) {
    if (count < 3) fail("usage: compile LIBRARY_FOLDER KERNEL.cu...");
    const auto api = load(arguments[1]);
    bool all = true;
    for (int i = 2; i < count; ++i)
        for (const int architecture : ARCHITECTURES) all = compiles(api, arguments[i], architecture) && all;
    return all ? 0 : 1;
}

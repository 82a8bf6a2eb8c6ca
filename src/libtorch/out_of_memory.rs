//! Recognizes libtorch's out-of-memory errors.

/// Remedies for the error message.
const REMEDIES: &str = "lower data.batch_size (and raise optimizer.accumulation_steps by the same factor, so that the \
                        effective batch size stays the same), set run.precision = \"bf16\", or choose a smaller model \
                        or data.image_size";

/// Whether a libtorch message, or one that quotes it, reports that memory ran out. libtorch's errors reach Rust as
/// text.
pub fn is_out_of_memory(message: &str) -> bool {
    ["CUDA out of memory", "CUDA error: out of memory", "DefaultCPUAllocator: "]
        .iter()
        .any(|words| message.contains(words))
}

/// Returns the first line of libtorch's message, without the C++ frames. For an out-of-memory error, returns the
/// sentences with the sizes, and the remedies.
pub(crate) fn in_one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if !is_out_of_memory(line) {
        return line.to_owned();
    }
    // CUDA's message continues with the allocator's settings; the CPU's starts with a location in libtorch's source.
    let start = line.find("CUDA ").or_else(|| line.find("DefaultCPUAllocator: ")).unwrap_or(0);
    let sizes = line[start..].split(" Of the allocated memory").next().unwrap_or_default();
    format!("{}: {REMEDIES}", sizes.trim_end_matches(['.', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_remedies_are_told_and_settings_of_the_allocator_are_not() {
        let cuda = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.20 GiB \
                    is free. Of the allocated memory 70.00 GiB is allocated by PyTorch. See documentation\nframe #0: c10";
        let told = in_one_line(cuda);
        assert!(told.starts_with("CUDA out of memory. Tried to allocate 2.00 GiB."), "{told}");
        assert!(told.contains("1.20 GiB is free: lower data.batch_size"), "{told}");
        assert!(!told.contains("documentation") && is_out_of_memory(&told), "{told}");
        let cpu = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to \
                   allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)\nframe #0";
        let told = in_one_line(cpu);
        assert!(told.starts_with("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4"), "{told}");
        assert!(told.contains("bf16") && is_out_of_memory(&told), "{told}");
    }

    #[test]
    fn other_messages_are_their_first_line() {
        assert_eq!(in_one_line("shape mismatch\nframe #0"), "shape mismatch");
        assert!(!is_out_of_memory("the disk is out of memory") && in_one_line("").is_empty());
    }

    #[test]
    fn an_allocation_that_no_machine_has_room_for_is_recognized() {
        let refused = tch::Tensor::f_empty([1i64 << 46], (tch::Kind::Float, tch::Device::Cpu)).unwrap_err().to_string();
        assert!(is_out_of_memory(&refused), "{refused}");
    }
}

//! Declarations of shim.h: names and signatures only.

use std::ffi::{c_char, c_int, c_void};

use torch_sys::C_tensor;

use super::codes::{ForeachCode, RuleCode, ScalarType};

#[repr(C)]
pub(super) struct RawHook {
    _private: [u8; 0],
}

#[repr(C)]
pub(super) struct RawEvent {
    _private: [u8; 0],
}

#[repr(C)]
pub(super) struct RawScript {
    _private: [u8; 0],
}

#[repr(C)]
pub(super) struct RawStore {
    _private: [u8; 0],
}

#[repr(C)]
pub(super) struct RawGroup {
    _private: [u8; 0],
}

#[repr(C)]
pub(super) struct RawWork {
    _private: [u8; 0],
}

/// gw_trace_callback of shim.h.
pub(super) type TraceCallback =
    extern "C" fn(*mut c_void, *const C_tensor, *mut *mut C_tensor, *mut c_char, usize) -> c_int;

/// GwHostSlice of shim.h.
#[repr(C)]
pub(super) struct RawSlice {
    pub data: *const c_void,
    pub length: i64,
    pub dtype: ScalarType,
}

/// GwLists of shim.h.
#[repr(C)]
pub(super) struct RawLists {
    pub params: *const *const C_tensor,
    pub grads: *const *const C_tensor,
    pub first_moments: *const *const C_tensor,
    pub second_moments: *const *const C_tensor,
    pub third_moments: *const *const C_tensor,
    pub steps: *const *const C_tensor,
    pub count: usize,
    pub product: *const C_tensor,
    pub grad_scale: *const C_tensor,
    pub found_inf: *const C_tensor,
    pub update_squares: *const C_tensor,
}

/// GwOptions of shim.h.
#[repr(C)]
pub(in crate::libtorch) struct RawOptions {
    pub rule: RuleCode,
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub dampening: f64,
    pub momentum_decay: f64,
    pub flag: c_int,
    pub is_first_step: c_int,
}

pub(super) type RawCallback =
    extern "C" fn(*mut c_void, *mut C_tensor, *mut *mut C_tensor, *mut c_char, usize) -> c_int;
pub(super) type RawRelease = extern "C" fn(*mut c_void);

unsafe extern "C" {
    pub(super) fn gw_message_free(message: *mut c_char);
    pub(super) fn gw_hook_register(
        tensor: *const C_tensor,
        before_accumulation: c_int,
        callback: RawCallback,
        release: RawRelease,
        context: *mut c_void,
        out: *mut *mut RawHook,
    ) -> *mut c_char;
    pub(super) fn gw_hook_remove(hook: *mut RawHook);
    pub(super) fn gw_event_record(device: c_int, out: *mut *mut RawEvent) -> *mut c_char;
    pub(super) fn gw_event_elapsed(from: *mut RawEvent, to: *mut RawEvent, millis: *mut f64) -> *mut c_char;
    pub(super) fn gw_event_wait(mark: *mut RawEvent) -> *mut c_char;
    pub(super) fn gw_event_free(mark: *mut RawEvent);
    pub(super) fn gw_upload(
        slices: *const RawSlice,
        count: usize,
        device: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_pinned_bytes(length: usize, out: *mut *mut C_tensor) -> *mut c_char;
    pub(super) fn gw_pinned_data(bytes: *const C_tensor) -> *mut c_void;
    pub(super) fn gw_copy_to_pinned(
        bytes: *const C_tensor,
        tensors: *const *const C_tensor,
        offsets: *const i64,
        count: usize,
    ) -> *mut c_char;
    pub(super) fn gw_step_outcome(
        found_inf: *const C_tensor,
        not_taken: *const C_tensor,
        failure: *const C_tensor,
        total_norm: *const C_tensor,
        skipped: *const C_tensor,
        in_a_row: *const C_tensor,
        norm: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_count_guesses(
        logits: *const C_tensor,
        labels: *const C_tensor,
        loss: *const C_tensor,
        totals: *const C_tensor,
        counts: *const C_tensor,
        is_matrix: c_int,
        places: *const C_tensor,
        is_done: *mut c_int,
    ) -> *mut c_char;
    pub(super) fn gw_normalize_pixels(
        pixels: *const C_tensor,
        tables: *const f32,
        boxes: *const C_tensor,
        channels_last: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_table_total(table: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    pub(super) fn gw_restore_buffers(
        live: *const *const C_tensor,
        saved: *const *const C_tensor,
        count: usize,
        found_inf: *const C_tensor,
        is_done: *mut c_int,
    ) -> *mut c_char;
    pub(super) fn gw_clip_units(
        params: *const *const C_tensor,
        grads: *const *const C_tensor,
        count: usize,
        units: *const i64,
        clip_factor: f64,
        eps: f64,
        total_norm: *const C_tensor,
        found_inf: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_kernels_architecture(device: c_int, major: *mut c_int, minor: *mut c_int) -> *mut c_char;
    pub(super) fn gw_kernels_compiler(major: *mut c_int, minor: *mut c_int) -> *mut c_char;
    pub(super) fn gw_kernels_compile(
        source: *const c_char,
        count: usize,
        names: *const *const c_char,
        texts: *const *const c_char,
        architecture: *const c_char,
        binary: *mut *mut c_char,
        size: *mut usize,
    ) -> *mut c_char;
    pub(super) fn gw_kernels_load(device: c_int, binary: *const c_void) -> *mut c_char;
    pub(super) fn gw_kernels_unload(device: c_int);
    pub(super) fn gw_foreach_norm(
        tensors: *const *const C_tensor,
        count: usize,
        norm_type: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_clip_values(
        tensors: *const *const C_tensor,
        count: usize,
        bound: f64,
        use_aten: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_foreach(
        operation: ForeachCode,
        tensors: *const *const C_tensor,
        others: *const *const C_tensor,
        count: usize,
        scalar: *const C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_table(
        tensors: *const *const C_tensor,
        count: usize,
        with_distribution: c_int,
        use_aten: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_unit_squares(
        tensors: *const *const C_tensor,
        count: usize,
        units: *const i64,
        use_aten: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_unit_minima(
        values: *const C_tensor,
        owners: *const C_tensor,
        tensors: i64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_scale_units(
        tensors: *const *const C_tensor,
        count: usize,
        units: *const i64,
        factors: *const C_tensor,
        use_aten: c_int,
    ) -> *mut c_char;
    pub(super) fn gw_activation_sums(
        inputs: *const C_tensor,
        outputs: *const C_tensor,
        low: f64,
        high: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_clear_grads(params: *const *const C_tensor, count: usize) -> *mut c_char;
    pub(super) fn gw_set_grad(param: *const C_tensor, grad: *const C_tensor) -> *mut c_char;
    pub(super) fn gw_copy_with_squares(to: *const C_tensor, from: *const C_tensor, squares: *mut f64) -> *mut c_char;
    pub(super) fn gw_quiet_c10d();
    pub(super) fn gw_store_open(
        host: *const c_char,
        port: c_int,
        is_server: c_int,
        timeout_ms: i64,
        out: *mut *mut RawStore,
    ) -> *mut c_char;
    pub(super) fn gw_store_prefix(store: *mut RawStore, prefix: *const c_char, out: *mut *mut RawStore) -> *mut c_char;
    pub(super) fn gw_store_port(store: *mut RawStore) -> c_int;
    pub(super) fn gw_store_set(
        store: *mut RawStore,
        key: *const c_char,
        bytes: *const u8,
        length: usize,
    ) -> *mut c_char;
    pub(super) fn gw_store_add(store: *mut RawStore, key: *const c_char, amount: i64, out: *mut i64) -> *mut c_char;
    pub(super) fn gw_store_has(
        store: *mut RawStore,
        keys: *const *const c_char,
        count: usize,
        out: *mut c_int,
    ) -> *mut c_char;
    pub(super) fn gw_store_wait(
        store: *mut RawStore,
        keys: *const *const c_char,
        count: usize,
        timeout_ms: i64,
    ) -> *mut c_char;
    pub(super) fn gw_store_get(
        store: *mut RawStore,
        key: *const c_char,
        out: *mut *mut u8,
        length: *mut usize,
    ) -> *mut c_char;
    pub(super) fn gw_store_free(store: *mut RawStore);
    pub(super) fn gw_group_gloo(
        store: *mut RawStore,
        rank: c_int,
        world: c_int,
        timeout_ms: i64,
        host: *const c_char,
        out: *mut *mut RawGroup,
    ) -> *mut c_char;
    pub(super) fn gw_check_nccl() -> *mut c_char;
    pub(super) fn gw_group_nccl(
        store: *mut RawStore,
        rank: c_int,
        world: c_int,
        timeout_ms: i64,
        out: *mut *mut RawGroup,
    ) -> *mut c_char;
    pub(super) fn gw_group_set_limit(group: *mut RawGroup, timeout_ms: i64) -> *mut c_char;
    pub(super) fn gw_group_allreduce(
        group: *mut RawGroup,
        tensor: *const C_tensor,
        out: *mut *mut RawWork,
    ) -> *mut c_char;
    pub(super) fn gw_group_broadcast(
        group: *mut RawGroup,
        tensor: *const C_tensor,
        root: c_int,
        out: *mut *mut RawWork,
    ) -> *mut c_char;
    pub(super) fn gw_group_allgather(
        group: *mut RawGroup,
        output: *const C_tensor,
        input: *const C_tensor,
        out: *mut *mut RawWork,
    ) -> *mut c_char;
    pub(super) fn gw_group_alltoall(
        group: *mut RawGroup,
        output: *const C_tensor,
        input: *const C_tensor,
        out: *mut *mut RawWork,
    ) -> *mut c_char;
    pub(super) fn gw_work_wait(work: *mut RawWork, timeout_ms: i64, done: *mut c_int) -> *mut c_char;
    pub(super) fn gw_work_free(work: *mut RawWork);
    pub(super) fn gw_optimizer_step(lists: *const RawLists, options: *const RawOptions) -> *mut c_char;
    pub(super) fn gw_autocast_enter(is_cuda: c_int, is_half: c_int, previous: *mut c_int) -> *mut c_char;
    pub(super) fn gw_autocast_leave(is_cuda: c_int, previous: c_int);
    pub(super) fn gw_amp_unscale(
        grads: *const *const C_tensor,
        count: usize,
        found_inf: *const C_tensor,
        inverse_scale: *const C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_amp_update_scale(
        scale: *const C_tensor,
        growth_tracker: *const C_tensor,
        found_inf: *const C_tensor,
        growth_factor: f64,
        backoff_factor: f64,
        growth_interval: i64,
    ) -> *mut c_char;
    pub(super) fn gw_backend(tf32: c_int, benchmark: c_int, deterministic: c_int);
    pub(super) fn gw_script_load(
        bytes: *const c_void,
        size: usize,
        device: c_int,
        extra_names: *const *const c_char,
        extra_count: usize,
        out: *mut *mut RawScript,
    ) -> *mut c_char;
    pub(super) fn gw_script_extra(
        script: *const RawScript,
        name: *const c_char,
        content: *mut *const c_char,
        size: *mut usize,
    );
    pub(super) fn gw_script_save(
        script: *const RawScript,
        extra_names: *const *const c_char,
        extra_contents: *const *const c_char,
        extra_count: usize,
        bytes: *mut *mut c_char,
        size: *mut usize,
    ) -> *mut c_char;
    pub(super) fn gw_trace(
        names: *const *const c_char,
        tensors: *const *const C_tensor,
        are_parameters: *const c_int,
        count: usize,
        images: *const C_tensor,
        forward: TraceCallback,
        context: *mut c_void,
        out: *mut *mut RawScript,
    ) -> *mut c_char;
    pub(super) fn gw_script_free(script: *mut RawScript);
    pub(super) fn gw_script_count(script: *const RawScript) -> usize;
    pub(super) fn gw_script_tensor(
        script: *const RawScript,
        index: usize,
        name: *mut *const c_char,
        is_parameter: *mut c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_script_forward(
        script: *mut RawScript,
        images: *const C_tensor,
        train: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn gw_generator_state(device: c_int, out: *mut *mut C_tensor) -> *mut c_char;
    pub(super) fn gw_generator_set_state(device: c_int, state: *const C_tensor) -> *mut c_char;
    pub(super) fn gw_load_cuda() -> *mut c_char;
    pub(super) fn gw_keep_freed_memory();
    pub(super) fn gw_torch_version() -> *const c_char;
    #[cfg(test)]
    pub(super) fn gw_constant(name: *const c_char) -> i64;
    pub(super) fn gw_op_counter_start() -> *mut c_char;
    pub(super) fn gw_op_counter_stop(out: *mut *mut c_char) -> *mut c_char;
}

//! FFI for process groups.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr, slice,
};

use tch::Tensor;

use super::{check, raw::*};
use crate::libtorch::LibtorchError;

/// A store owned by the shim; freed on drop.
#[derive(Debug)]
pub(in crate::libtorch) struct Store(*mut RawStore);

// SAFETY: c10d's stores lock their connection, so any thread may use them.
unsafe impl Send for Store {}
unsafe impl Sync for Store {}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the pointer came from gw_store_open or gw_store_prefix and is returned once.
        unsafe { gw_store_free(self.0) };
    }
}

fn addresses(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

impl Store {
    pub(in crate::libtorch) fn open(
        host: &CStr,
        port: c_int,
        is_server: bool,
        timeout_ms: i64,
    ) -> Result<Self, LibtorchError> {
        let mut out = ptr::null_mut();
        // SAFETY: the text is valid for the call and copied; on success the shim stored a pointer that we own.
        unsafe { gw_quiet_c10d() };
        check("TCPStore", unsafe { gw_store_open(host.as_ptr(), port, is_server.into(), timeout_ms, &mut out) })?;
        Ok(Self(out))
    }

    pub(in crate::libtorch) fn prefixed(&self, prefix: &CStr) -> Result<Self, LibtorchError> {
        let mut out = ptr::null_mut();
        // SAFETY: as for open.
        check("PrefixStore", unsafe { gw_store_prefix(self.0, prefix.as_ptr(), &mut out) })?;
        Ok(Self(out))
    }

    pub(in crate::libtorch) fn port(&self) -> c_int {
        // SAFETY: the store is alive.
        unsafe { gw_store_port(self.0) }
    }

    pub(in crate::libtorch) fn set(&self, key: &CStr, value: &[u8]) -> Result<(), LibtorchError> {
        // SAFETY: key and value are valid for the call and copied.
        check("Store::set", unsafe { gw_store_set(self.0, key.as_ptr(), value.as_ptr(), value.len()) })
    }

    pub(in crate::libtorch) fn add(&self, key: &CStr, amount: i64) -> Result<i64, LibtorchError> {
        let mut out = 0;
        // SAFETY: as for set; the shim stores an integer.
        check("Store::add", unsafe { gw_store_add(self.0, key.as_ptr(), amount, &mut out) })?;
        Ok(out)
    }

    pub(in crate::libtorch) fn has(&self, keys: &[CString]) -> Result<bool, LibtorchError> {
        let (keys, mut out) = (addresses(keys), 0);
        // SAFETY: the list holds `count` texts that are valid for the call.
        check("Store::check", unsafe { gw_store_has(self.0, keys.as_ptr(), keys.len(), &mut out) })?;
        Ok(out != 0)
    }

    pub(in crate::libtorch) fn wait(&self, keys: &[CString], timeout_ms: i64) -> Result<(), LibtorchError> {
        let keys = addresses(keys);
        // SAFETY: as for has.
        check("Store::wait", unsafe { gw_store_wait(self.0, keys.as_ptr(), keys.len(), timeout_ms) })
    }

    pub(in crate::libtorch) fn get(&self, key: &CStr) -> Result<Vec<u8>, LibtorchError> {
        let (mut bytes, mut length) = (ptr::null_mut(), 0);
        // SAFETY: on success the shim stored `length` bytes from malloc that are ours to free, once.
        unsafe {
            check("Store::get", gw_store_get(self.0, key.as_ptr(), &mut bytes, &mut length))?;
            let value = slice::from_raw_parts(bytes, length).to_vec();
            gw_message_free(bytes.cast());
            Ok(value)
        }
    }
}

/// A process group. The shim keeps it until the process ends.
#[derive(Debug, Clone, Copy)]
pub(in crate::libtorch) struct Group(*mut RawGroup);

// SAFETY: c10d locks a group's queue; the order of operations is up to the caller.
unsafe impl Send for Group {}
unsafe impl Sync for Group {}

impl Group {
    pub(in crate::libtorch) fn gloo(
        store: &Store,
        [rank, world]: [c_int; 2],
        timeout_ms: i64,
        host: Option<&CStr>,
    ) -> Result<Self, LibtorchError> {
        let (host, mut out) = (host.map_or(ptr::null(), CStr::as_ptr), ptr::null_mut());
        // SAFETY: the store is alive for the call, and the group keeps a reference of its own.
        check("ProcessGroupGloo", unsafe { gw_group_gloo(store.0, rank, world, timeout_ms, host, &mut out) })?;
        Ok(Self(out))
    }

    pub(in crate::libtorch) fn check_nccl() -> Result<(), LibtorchError> {
        // SAFETY: only looks up symbols.
        check("ProcessGroupNCCL", unsafe { gw_check_nccl() })
    }

    pub(in crate::libtorch) fn nccl(
        store: &Store,
        [rank, world]: [c_int; 2],
        timeout_ms: i64,
    ) -> Result<Self, LibtorchError> {
        let mut out = ptr::null_mut();
        // SAFETY: as for gloo.
        check("ProcessGroupNCCL", unsafe { gw_group_nccl(store.0, rank, world, timeout_ms, &mut out) })?;
        Ok(Self(out))
    }

    pub(in crate::libtorch) fn set_limit(self, timeout_ms: i64) -> Result<(), LibtorchError> {
        // SAFETY: the group lives until the process ends.
        check("Backend::setTimeout", unsafe { gw_group_set_limit(self.0, timeout_ms) })
    }

    pub(in crate::libtorch) fn all_reduce(self, tensor: &Tensor) -> Result<Work, LibtorchError> {
        // SAFETY: the operation keeps references to the tensor; c10d.rs has checked the tensors.
        Work::start("allreduce", |out| unsafe { gw_group_allreduce(self.0, tensor.as_ptr(), out) })
    }

    pub(in crate::libtorch) fn broadcast(self, tensor: &Tensor, root: c_int) -> Result<Work, LibtorchError> {
        // SAFETY: as for all_reduce.
        Work::start("broadcast", |out| unsafe { gw_group_broadcast(self.0, tensor.as_ptr(), root, out) })
    }

    pub(in crate::libtorch) fn all_gather(self, output: &Tensor, input: &Tensor) -> Result<Work, LibtorchError> {
        // SAFETY: as for all_reduce.
        Work::start("allgather", |out| unsafe { gw_group_allgather(self.0, output.as_ptr(), input.as_ptr(), out) })
    }

    pub(in crate::libtorch) fn all_to_all(self, output: &Tensor, input: &Tensor) -> Result<Work, LibtorchError> {
        // SAFETY: as for all_reduce.
        Work::start("alltoall", |out| unsafe { gw_group_alltoall(self.0, output.as_ptr(), input.as_ptr(), out) })
    }
}

/// An operation in progress; freed on drop, without ending the operation.
#[derive(Debug)]
pub(in crate::libtorch) struct Work(*mut RawWork);

// SAFETY: c10d locks the state of an operation.
unsafe impl Send for Work {}
unsafe impl Sync for Work {}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the shim and is returned once.
        unsafe { gw_work_free(self.0) };
    }
}

impl Work {
    fn start(
        operation: &'static str,
        call: impl FnOnce(*mut *mut RawWork) -> *mut c_char,
    ) -> Result<Self, LibtorchError> {
        let mut out = ptr::null_mut();
        check(operation, call(&mut out))?;
        Ok(Self(out))
    }

    pub(in crate::libtorch) fn wait(&self, timeout_ms: i64) -> Result<bool, LibtorchError> {
        let mut done = 0;
        // SAFETY: the operation is alive for the call; the shim stores an integer.
        check("Work::wait", unsafe { gw_work_wait(self.0, timeout_ms, &mut done) })?;
        Ok(done != 0)
    }
}

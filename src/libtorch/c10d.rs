//! Process groups of libtorch's c10d: a key-value store, and collective operations over Gloo or NCCL.

use std::{
    ffi::{CString, c_int},
    time::Duration,
};

use tch::{Device, Kind, Tensor};

use super::{LibtorchError, ffi};

/// A key-value store: a server in this process, or a connection to one. Any thread may use it, one operation at a time.
#[derive(Debug)]
pub struct Store(ffi::Store);

fn text(operation: &'static str, text: &str) -> Result<CString, LibtorchError> {
    let refuse = |_| LibtorchError::Argument { operation, got: format!("{text:?}"), want: "text without NUL" };
    CString::new(text).map_err(refuse)
}

fn texts(operation: &'static str, list: &[impl AsRef<str>]) -> Result<Vec<CString>, LibtorchError> {
    list.iter().map(|key| text(operation, key.as_ref())).collect()
}

fn millis(limit: Duration) -> i64 {
    i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)
}

fn int(number: usize) -> c_int {
    c_int::try_from(number).unwrap_or(c_int::MAX)
}

impl Store {
    /// Starts a server on `port` of this machine, or connects to the one at `host` and `port`. A server on port 0 takes
    /// a free [`port`](Self::port). `limit` bounds the connection and every later [`get`](Self::get).
    ///
    /// # Errors
    /// If the port is taken, or no server answers within the limit.
    pub fn open(host: &str, port: u16, is_server: bool, limit: Duration) -> Result<Self, LibtorchError> {
        Ok(Self(ffi::Store::open(&text("TCPStore", host)?, port.into(), is_server, millis(limit))?))
    }

    /// The same connection with a prefix before every key.
    ///
    /// # Errors
    /// If the prefix contains NUL.
    pub fn prefixed(&self, prefix: &str) -> Result<Self, LibtorchError> {
        Ok(Self(self.0.prefixed(&text("PrefixStore", prefix)?)?))
    }

    /// The port of the server.
    pub fn port(&self) -> u16 {
        u16::try_from(self.0.port()).unwrap_or_default()
    }

    /// Sets a key.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), LibtorchError> {
        self.0.set(&text("Store::set", key)?, value)
    }

    /// Adds to a key that holds a number, which starts at 0, and returns the sum.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64, LibtorchError> {
        self.0.add(&text("Store::add", key)?, amount)
    }

    /// Whether all keys exist.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn has(&self, keys: &[impl AsRef<str>]) -> Result<bool, LibtorchError> {
        self.0.has(&texts("Store::check", keys)?)
    }

    /// Waits until all keys exist.
    ///
    /// # Errors
    /// If a key is missing after the limit, or the server is gone.
    pub fn wait(&self, keys: &[impl AsRef<str>], limit: Duration) -> Result<(), LibtorchError> {
        self.0.wait(&texts("Store::wait", keys)?, millis(limit))
    }

    /// Returns the value of a key; waits for it as long as the limit of the store.
    ///
    /// # Errors
    /// If the key is missing after the limit, or the server is gone.
    pub fn get(&self, key: &str) -> Result<Vec<u8>, LibtorchError> {
        self.0.get(&text("Store::get", key)?)
    }
}

/// A group of processes. All of them must start the same operations in the same order. Operations run in the
/// background; the tensors must not be used until they are finished.
///
/// The group lives until the process ends, because its destructor would wait for processes that are gone.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    group: ffi::Group,
    world: usize,
}

impl Group {
    /// Joins a group of `world` processes over Gloo, for tensors on the CPU. Waits for the others. `host` is the address
    /// of this machine to bind to; `None` takes GLOO_SOCKET_IFNAME, or the address of the host name.
    ///
    /// # Errors
    /// If another process does not join within the limit, or the address cannot be bound to.
    pub fn gloo(
        store: &Store,
        rank: usize,
        world: usize,
        limit: Duration,
        host: Option<&str>,
    ) -> Result<Self, LibtorchError> {
        let host = host.map(|host| text("ProcessGroupGloo", host)).transpose()?;
        let group = ffi::Group::gloo(&store.0, [int(rank), int(world)], millis(limit), host.as_deref())?;
        Ok(Self { group, world })
    }

    /// Checks that libtorch has NCCL.
    ///
    /// # Errors
    /// If it does not.
    pub fn check_nccl() -> Result<(), LibtorchError> {
        ffi::Group::check_nccl()
    }

    /// Joins a group of `world` processes over NCCL, for tensors on CUDA devices; each process has a device of its own.
    ///
    /// # Errors
    /// If libtorch has no NCCL, or it finds no GPU.
    pub fn nccl(store: &Store, rank: usize, world: usize, limit: Duration) -> Result<Self, LibtorchError> {
        let group = ffi::Group::nccl(&store.0, [int(rank), int(world)], millis(limit))?;
        Ok(Self { group, world })
    }

    /// Sets the longest time of an operation. After it, the connections are closed.
    ///
    /// # Errors
    /// If the group has no such limit.
    pub fn set_limit(&self, limit: Duration) -> Result<(), LibtorchError> {
        self.group.set_limit(millis(limit))
    }

    /// Replaces `tensor` by the sum over all processes. The order of the additions depends on the number of processes.
    ///
    /// # Errors
    /// If the tensor is not contiguous, or libtorch reports an error.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<Work, LibtorchError> {
        check("allreduce", tensor)?;
        Ok(Work(self.group.all_reduce(tensor)?))
    }

    /// Replaces `tensor` by that of the process `root`.
    ///
    /// # Errors
    /// As for [`all_reduce`](Self::all_reduce).
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Work, LibtorchError> {
        check("broadcast", tensor)?;
        Ok(Work(self.group.broadcast(tensor, int(root))?))
    }

    /// Collects `input`, shape `[1, n]`, of every process in `output`, shape `[world, n]`.
    ///
    /// # Errors
    /// If the shapes do not match; also as for [`all_reduce`](Self::all_reduce).
    pub fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Work, LibtorchError> {
        self.check_rows("allgather", output, output)?;
        check_same("allgather", &output.f_narrow(0, 0, 1)?, input)?;
        Ok(Work(self.group.all_gather(output, input)?))
    }

    /// Sends row r of `input`, shape `[world, n]`, to process r, which stores it in the row of the sender.
    ///
    /// # Errors
    /// As for [`all_gather`](Self::all_gather).
    pub fn all_to_all(&self, output: &Tensor, input: &Tensor) -> Result<Work, LibtorchError> {
        self.check_rows("alltoall", output, input)?;
        Ok(Work(self.group.all_to_all(output, input)?))
    }

    fn check_rows(&self, operation: &'static str, output: &Tensor, input: &Tensor) -> Result<(), LibtorchError> {
        check_same(operation, output, input)?;
        let size = output.size();
        if size.len() == 2 && usize::try_from(size[0]) == Ok(self.world) {
            return Ok(());
        }
        let got = format!("shape {size:?} for {} processes", self.world);
        Err(LibtorchError::Argument { operation, got, want: "a row per process" })
    }
}

fn check(operation: &'static str, tensor: &Tensor) -> Result<(), LibtorchError> {
    if tensor.defined() && tensor.is_contiguous() {
        return Ok(());
    }
    let got = if tensor.defined() { format!("strides {:?}", tensor.stride()) } else { "an undefined tensor".into() };
    Err(LibtorchError::Argument { operation, got, want: "a contiguous tensor" })
}

fn check_same(operation: &'static str, one: &Tensor, other: &Tensor) -> Result<(), LibtorchError> {
    check(operation, one)?;
    check(operation, other)?;
    let describe = |tensor: &Tensor| -> (Vec<i64>, Kind, Device) { (tensor.size(), tensor.kind(), tensor.device()) };
    if describe(one) == describe(other) {
        return Ok(());
    }
    let got = format!("{:?} and {:?}", describe(one), describe(other));
    Err(LibtorchError::Argument { operation, got, want: "tensors of one shape, dtype, and device" })
}

/// An operation of a [`Group`] in progress.
#[derive(Debug)]
#[must_use = "the tensors must not be used before the operation is finished"]
pub struct Work(ffi::Work);

impl Work {
    /// Waits until the operation is finished; returns false if it is not after the limit. It can be awaited again. On
    /// CUDA, only the current stream waits.
    ///
    /// # Errors
    /// If another process is gone. The group cannot be used any more.
    pub fn wait(&self, limit: Duration) -> Result<bool, LibtorchError> {
        self.0.wait(millis(limit))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Runs `work` on each rank of a group in threads of this process.
    fn on_ranks<T: Send>(world: usize, work: impl Fn(usize, Group) -> T + Sync) -> Vec<T> {
        let server = Store::open("127.0.0.1", 0, true, LIMIT).unwrap();
        let (port, work) = (server.port(), &work);
        thread::scope(|scope| {
            let rank = |rank| {
                scope.spawn(move || {
                    let store = Store::open("127.0.0.1", port, false, LIMIT).unwrap();
                    work(rank, Group::gloo(&store, rank, world, LIMIT, Some("127.0.0.1")).unwrap())
                })
            };
            let ranks: Vec<_> = (0..world).map(rank).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    fn finish(work: &Work) {
        assert!(work.wait(LIMIT).unwrap());
    }

    #[test]
    fn ranks_sum_gather_exchange_and_broadcast() {
        let seen = on_ranks(3, |rank, group| {
            let own = rank as f32;
            let sum = Tensor::from_slice(&[own, 1.0]);
            finish(&group.all_reduce(&sum).unwrap());
            let gathered = Tensor::zeros([3, 1], (Kind::Float, Device::Cpu));
            finish(&group.all_gather(&gathered, &Tensor::from_slice(&[own]).view([1, 1])).unwrap());
            let exchanged = Tensor::zeros([3, 1], (Kind::Float, Device::Cpu));
            let rows = Tensor::from_slice(&[0.0f32, 1.0, 2.0]).view([3, 1]) + f64::from(10.0 * own);
            finish(&group.all_to_all(&exchanged, &rows).unwrap());
            let told = Tensor::from_slice(&[own]);
            finish(&group.broadcast(&told, 2).unwrap());
            [sum, gathered, exchanged, told].map(|tensor| Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap())
        });
        for (rank, [sum, gathered, exchanged, told]) in seen.into_iter().enumerate() {
            let own = rank as f32;
            assert_eq!((sum, gathered), (vec![3.0, 3.0], vec![0.0, 1.0, 2.0]));
            assert_eq!((exchanged, told), (vec![own, own + 10.0, own + 20.0], vec![2.0]));
        }
    }

    #[test]
    fn an_operation_that_a_rank_has_not_started_is_not_finished_and_can_be_awaited_again() {
        let outcomes = on_ranks(2, |rank, group| {
            let sum = Tensor::from_slice(&[1.0f32]);
            if rank == 1 {
                thread::sleep(Duration::from_millis(300));
            }
            let work = group.all_reduce(&sum).unwrap();
            let at_first = rank == 1 || work.wait(Duration::from_millis(20)).unwrap();
            finish(&work);
            (at_first, sum.double_value(&[0]))
        });
        assert_eq!(outcomes, [(false, 2.0), (true, 2.0)]);
    }

    #[test]
    fn an_operation_that_ends_right_after_a_limit_has_not_failed() {
        on_ranks(2, |rank, group| {
            for round in 0..500 {
                // Rank 1 starts around the time at which a limit of rank 0 is over.
                thread::sleep(Duration::from_micros(if rank == 1 { 700 + round * 37 % 700 } else { 0 }));
                let sum = Tensor::from_slice(&[1.0f32]);
                let work = group.all_reduce(&sum).unwrap();
                while !work.wait(Duration::from_millis(1)).unwrap() {}
                assert_eq!(sum.double_value(&[0]), 2.0);
            }
        });
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused_before_an_operation_starts() {
        on_ranks(1, |_, group| {
            let matrix = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
            let error = group.all_reduce(&matrix.transpose(0, 1)).unwrap_err().to_string();
            assert!(error.contains("want a contiguous tensor"), "{error}");
            let error = group.all_to_all(&matrix, &matrix).unwrap_err().to_string();
            assert!(error.contains("want a row per process"), "{error}");
            let other = Tensor::zeros([1, 3], (Kind::Double, Device::Cpu));
            assert!(group.all_gather(&matrix.narrow(0, 0, 1), &other).is_err());
        });
    }

    #[test]
    fn a_store_has_values_sums_and_prefixes_and_a_limit() {
        let server = Store::open("127.0.0.1", 0, true, Duration::from_millis(300)).unwrap();
        let store = Store::open("127.0.0.1", server.port(), false, Duration::from_millis(300)).unwrap();
        store.set("key", &[0, 1, 255]).unwrap();
        assert_eq!(server.get("key").unwrap(), [0, 1, 255]);
        assert_eq!((store.add("count", 2).unwrap(), server.add("count", 3).unwrap()), (2, 5));
        let inner = store.prefixed("inner").unwrap();
        assert!(store.has(&["key", "count"]).unwrap() && !inner.has(&["key"]).unwrap());
        let error = inner.wait(&["key"], Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("libtorch error in Store::wait"), "{error}");
        assert!(inner.get("key").is_err() && store.set("a\0b", b"").is_err());
    }
}

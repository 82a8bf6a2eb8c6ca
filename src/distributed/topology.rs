//! The place of this process among the ranks, from the environment variables of a launcher.

use std::{
    env,
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
};

use super::DistributedError;

/// The place of this process among the ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub world: usize,
    /// Number of this process among those of its machine, which is the number of its GPU.
    pub local_rank: usize,
    /// Host name or address of the store.
    pub master_host: String,
    /// Port of the store.
    pub master_port: u16,
    /// Whether the launcher serves the store; otherwise rank 0 does.
    pub is_served_by_launcher: bool,
    /// Number of restarts by the launcher. A store of the launcher still has the keys of the earlier attempts.
    pub attempt: u64,
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Topology {
    /// Reads the variables of torchrun, which other launchers set too (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`,
    /// `MASTER_ADDR`, `MASTER_PORT`), or those of Slurm's `srun`. `None` if there are none.
    ///
    /// # Errors
    /// If a variable is missing or invalid.
    pub fn from_environment() -> Result<Option<Self>, DistributedError> {
        Self::from_variables(&|name| env::var(name).ok())
    }

    fn from_variables(lookup: Lookup<'_>) -> Result<Option<Self>, DistributedError> {
        let has = |name: &str| lookup(name).is_some();
        if has("RANK") || has("WORLD_SIZE") {
            return Self::of_torchrun(lookup).map(Some);
        }
        // A batch script has SLURM_PROCID too, but only the processes of srun have a step.
        if has("SLURM_STEP_ID") && has("SLURM_PROCID") && has("SLURM_STEP_NUM_TASKS") {
            return Self::of_slurm(lookup).map(Some);
        }
        Ok(None)
    }

    fn of_torchrun(lookup: Lookup<'_>) -> Result<Self, DistributedError> {
        let (rank, world) = (number(lookup, "RANK")?, number(lookup, "WORLD_SIZE")?);
        Self {
            rank,
            world,
            local_rank: number_or(lookup, "LOCAL_RANK", rank)?,
            master_host: text(lookup, "MASTER_ADDR")?,
            master_port: number(lookup, "MASTER_PORT")?,
            is_served_by_launcher: lookup("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            attempt: number_or(lookup, "TORCHELASTIC_RESTART_COUNT", 0)?,
        }
        .checked()
    }

    fn of_slurm(lookup: Lookup<'_>) -> Result<Self, DistributedError> {
        let rank = number(lookup, "SLURM_PROCID")?;
        let first_host = || lookup("SLURM_STEP_NODELIST").and_then(|list| first_host(&list));
        let job: u64 = number_or(lookup, "SLURM_JOB_ID", 0)?;
        let step: u64 = number_or(lookup, "SLURM_STEP_ID", 0)?;
        // All ranks derive the same port; those of two jobs on a machine rarely meet.
        let port = 20_000 + (job.wrapping_mul(7) + step) % 20_000;
        Self {
            rank,
            world: number(lookup, "SLURM_STEP_NUM_TASKS")?,
            local_rank: number(lookup, "SLURM_LOCALID")?,
            master_host: match lookup("MASTER_ADDR").or_else(first_host) {
                Some(host) => host,
                None => text(lookup, "MASTER_ADDR")?,
            },
            master_port: number_or(lookup, "MASTER_PORT", port as u16)?,
            is_served_by_launcher: false,
            attempt: number_or(lookup, "SLURM_RESTART_COUNT", 0)?,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, DistributedError> {
        let Self { rank, world, .. } = self;
        if rank < world {
            return Ok(self);
        }
        let want = format!("a number below {world}, the number of ranks");
        Err(DistributedError::Variable { name: "RANK", got: format!("{rank:?}"), want })
    }

    /// Whether this process serves the store.
    pub fn serves_store(&self) -> bool {
        self.rank == 0 && !self.is_served_by_launcher
    }

    /// Host and port of the store.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.master_host, self.master_port)
    }

    /// Prefix of the keys of this attempt.
    pub(super) fn prefix(&self) -> String {
        format!("gradwatch/{}", self.attempt)
    }

    /// The address of this machine on the network of the store, which the traffic between ranks binds to. `None` leaves
    /// the choice to Gloo, which takes GLOO_SOCKET_IFNAME, or the address of the host name.
    pub(super) fn own_address(&self) -> Option<IpAddr> {
        if env::var_os("GLOO_SOCKET_IFNAME").is_some() {
            return None;
        }
        let mut addresses = (&*self.master_host, self.master_port).to_socket_addrs().ok()?;
        let own = addresses.find_map(local_address)?;
        // A name may stand for the loopback interface on its own machine, where others cannot reach it.
        let is_meant = || self.master_host == "localhost" || self.master_host.parse::<IpAddr>().is_ok();
        (!own.is_loopback() || is_meant()).then_some(own)
    }
}

/// The address from which this machine reaches another one. Sends nothing.
fn local_address(other: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if other.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(other).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

fn text(lookup: Lookup<'_>, name: &'static str) -> Result<String, DistributedError> {
    let missing = || DistributedError::Variable {
        name,
        got: "nothing".into(),
        want: "a value, as torchrun sets it; or start the ranks with --ranks N".into(),
    };
    lookup(name).filter(|value| !value.is_empty()).ok_or_else(missing)
}

fn number<T: std::str::FromStr>(lookup: Lookup<'_>, name: &'static str) -> Result<T, DistributedError> {
    let value = text(lookup, name)?;
    let refuse = |_| DistributedError::Variable { name, got: format!("{value:?}"), want: "a number".into() };
    value.trim().parse().map_err(refuse)
}

fn number_or<T: std::str::FromStr>(lookup: Lookup<'_>, name: &'static str, default: T) -> Result<T, DistributedError> {
    if lookup(name).is_some_and(|value| !value.is_empty()) { number(lookup, name) } else { Ok(default) }
}

/// The first host of a list of Slurm, such as `node[03-05,9],gpu1`.
fn first_host(list: &str) -> Option<String> {
    let end = list.find([',', '[']).unwrap_or(list.len());
    let (name, rest) = list.split_at(end);
    let number = rest.strip_prefix('[').map(|rest| rest.split([',', '-', ']']).next().unwrap_or_default());
    let suffix = rest.split_once(']').map_or("", |(_, after)| after.split([',', '[']).next().unwrap_or_default());
    let host = format!("{name}{}{}", number.unwrap_or_default(), if number.is_some() { suffix } else { "" });
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(variables: &[(&str, &str)]) -> Result<Option<Topology>, String> {
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Topology::from_variables(&lookup).map_err(|error| error.to_string())
    }

    const TORCHRUN: [(&str, &str); 5] =
        [("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1"), ("MASTER_ADDR", "node-a"), ("MASTER_PORT", "29500")];

    #[test]
    fn without_a_launcher_there_is_no_topology() {
        assert_eq!(topology(&[]), Ok(None));
        // The shell of a Slurm job that did not call srun.
        assert_eq!(topology(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]), Ok(None));
    }

    #[test]
    fn the_variables_of_torchrun_are_read() {
        let mut want = Topology {
            rank: 3,
            world: 4,
            local_rank: 1,
            master_host: "node-a".into(),
            master_port: 29500,
            is_served_by_launcher: false,
            attempt: 0,
        };
        assert_eq!(topology(&TORCHRUN), Ok(Some(want.clone())));
        assert!(!want.serves_store());
        let first = [&TORCHRUN[1..], &[("RANK", "0")]].concat();
        want.rank = 0;
        assert_eq!(topology(&first), Ok(Some(want.clone())));
        assert!(want.serves_store());
        let agent =
            [&first[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True"), ("TORCHELASTIC_RESTART_COUNT", "2")]].concat();
        want = Topology { is_served_by_launcher: true, attempt: 2, ..want };
        assert_eq!(topology(&agent), Ok(Some(want.clone())));
        assert!(!want.serves_store());
    }

    #[test]
    fn a_variable_that_is_missing_or_wrong_is_named() {
        for (name, _) in TORCHRUN.into_iter().filter(|(name, _)| *name != "LOCAL_RANK") {
            let rest: Vec<_> = TORCHRUN.into_iter().filter(|(other, _)| *other != name).collect();
            let error = topology(&rest).unwrap_err();
            assert!(error.starts_with(&format!("environment variable {name}: got nothing, want a value")), "{error}");
        }
        let error = topology(&[&TORCHRUN[1..], &[("RANK", "x")]].concat()).unwrap_err();
        assert_eq!(error, "environment variable RANK: got \"x\", want a number");
        let error = topology(&[&TORCHRUN[1..], &[("RANK", "4")]].concat()).unwrap_err();
        assert!(error.ends_with("want a number below 4, the number of ranks"), "{error}");
    }

    #[test]
    fn the_variables_of_slurm_are_read() {
        let slurm = [
            ("SLURM_PROCID", "9"),
            ("SLURM_STEP_NUM_TASKS", "16"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_ID", "2"),
            ("SLURM_JOB_ID", "1000"),
            ("SLURM_STEP_NODELIST", "node[07-08]"),
        ];
        let want = Topology {
            rank: 9,
            world: 16,
            local_rank: 1,
            master_host: "node07".into(),
            master_port: 27_002,
            is_served_by_launcher: false,
            attempt: 0,
        };
        assert_eq!(topology(&slurm), Ok(Some(want)));
    }

    #[test]
    fn ranks_of_one_machine_talk_over_its_loopback_interface() {
        let mut own = topology(&TORCHRUN).unwrap().unwrap();
        let mut address_of = |host: &str| {
            own.master_host = host.into();
            own.own_address()
        };
        assert_eq!(address_of("127.0.0.1"), Some(IpAddr::from([127, 0, 0, 1])));
        assert!(address_of("localhost").unwrap().is_loopback());
        assert_eq!(address_of("not a host"), None);
    }

    #[test]
    fn the_first_host_of_a_list_has_its_number() {
        for (list, host) in [
            ("node7", "node7"),
            ("a,b", "a"),
            ("node[03-05,9],gpu1", "node03"),
            ("node[12]", "node12"),
            ("r[1-2]-gpu,x", "r1-gpu"),
            ("node1,node[3-4]", "node1"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(host), "{list}");
        }
        assert_eq!(first_host(""), None);
    }
}

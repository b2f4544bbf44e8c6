//! What the checks are made for: a container's mounts, limits and network as the host sees them.

use std::{fs, net::Ipv4Addr, path::Path};

use crate::{
    error::{Error, Result},
    probe::{Options, confinement::Plan, host},
    record::{InForce, Status},
    recording::{BytePath, printable},
    requirements::Requirements,
    seccomp::capabilities::Capabilities,
};

/// What a container is meant to have; the guide's container has none of it.
#[derive(Debug, Default)]
pub struct Expected {
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Families of sockets, by number.
    pub families: Vec<u16>,
    /// Addresses beyond loopback to which it connects.
    pub connects: usize,
}

impl Expected {
    /// What recordings used.
    pub fn from_requirements(needs: &Requirements) -> Self {
        let names: Vec<String> = needs.capabilities.keys().cloned().collect();
        let beyond = |address: &BytePath| {
            let text = address.to_string();
            !text.starts_with("unix:") && !text.starts_with("127.") && !text.starts_with("[::1]")
        };
        let uses = needs.runs.iter().flat_map(|run| &run.network);
        let connects = uses
            .filter(|one| {
                matches!(one.operation.as_str(), "connect" | "sendto" | "send") && one.error.is_none()
            })
            .filter(|one| matches!(one.family_nr, 2 | 10) && one.address.as_ref().is_some_and(beyond))
            .count();
        Self {
            // A name that this version does not know is nothing that it could expect.
            capabilities: Capabilities::parse(&names).unwrap_or_default(),
            families: needs.network.keys().map(|key| key.family.0).collect(),
            connects,
        }
    }
}

/// One mount, as the container's first process sees it.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where.
    pub point: Vec<u8>,
    /// The part of the file system that is mounted.
    pub root: Vec<u8>,
    /// The file system's device number.
    pub device: String,
    /// Its type.
    pub fs: String,
    /// `ro`, `noexec`, ….
    pub options: Vec<String>,
    /// Whether the file system itself is read-only.
    read_only_fs: bool,
}

impl Mount {
    /// Whether files on it can be written, as far as the mount decides.
    pub fn is_writable(&self) -> bool {
        !self.read_only_fs && !self.has("ro")
    }

    /// Whether it has an option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    /// Whether it is one of the kernel's own file systems, in which nobody makes files.
    pub fn is_kernels(&self) -> bool {
        const KERNELS: [&str; 14] = [
            "proc",
            "sysfs",
            "cgroup",
            "cgroup2",
            "devpts",
            "mqueue",
            "securityfs",
            "debugfs",
            "tracefs",
            "bpf",
            "pstore",
            "configfs",
            "fusectl",
            "binfmt_misc",
        ];
        KERNELS.contains(&self.fs.as_str())
    }

    /// Whether it can hold files of the host, and not only the container's own.
    pub fn is_hosts(&self) -> bool {
        !self.is_kernels() && !matches!(self.fs.as_str(), "tmpfs" | "overlay" | "ramfs" | "devtmpfs" | "nsfs")
    }
}

/// The container's network, as the host sees it.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// It has no network namespace of its own.
    pub is_hosts: bool,
    /// Interfaces beside loopback that routes lead to.
    pub interfaces: Vec<String>,
    /// The default route's gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Whether the gateway is this machine.
    pub gateway_is_here: bool,
    /// Whether its configuration publishes ports, for which it needs an interface.
    pub publishes: bool,
}

/// What the checks are made for.
#[derive(Debug)]
pub struct Subject {
    /// Its first process's status.
    pub status: Status,
    /// Its user id, in its own user namespace.
    pub inside_uid: u32,
    /// It has a user namespace of its own.
    pub own_user_namespace: bool,
    /// It shares the host's pid namespace.
    pub shares_pids: bool,
    /// The id of its first process in its own pid namespace.
    pub inside_pid: i32,
    /// Processes that are not the container's and that it could see.
    pub foreign: Vec<u32>,
    /// How many filters.
    pub filters: usize,
    /// Its label.
    pub label: Option<BytePath>,
    /// Its mounts, the last one of a place on top.
    pub mounts: Vec<Mount>,
    /// Its network.
    pub network: Network,
    /// Most tasks, and how many there are.
    pub tasks: (Option<u64>, u64),
    /// Its memory.
    pub memory: crate::probe::confinement::cgroups::Memory,
    /// Its CPU time, in thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// How many CPUs it may run on, of how many.
    pub cpus: (usize, usize),
    /// The host, as far as checks depend on it.
    pub host: host::Host,
    /// Large limits are filled too.
    pub full: bool,
    /// What it is meant to have.
    pub expected: Expected,
    /// What files of this probe are called.
    pub file_name: String,
}

impl Subject {
    /// Reads it.
    pub fn read(in_force: &InForce, plan: &Plan, options: &Options) -> Result<Self> {
        let pid = in_force.pid;
        let text = fs::read(format!("/proc/{pid}/mountinfo")).map_err(|e| {
            Error::incomplete(format!("the mounts of process {pid} could not be read"))
                .because(e)
                .hint("the container may have ended just now")
        })?;
        let shares_pids = !plan.owns("pid");
        let expected = Expected {
            capabilities: options.expected.capabilities.clone(),
            families: options.expected.families.clone(),
            connects: options.expected.connects,
        };
        Ok(Self {
            status: in_force.status.clone(),
            inside_uid: plan.uids[1],
            own_user_namespace: plan.owns("user"),
            shares_pids,
            inside_pid: plan.inside_pid,
            foreign: if shares_pids { host::processes_outside(&plan.cgroups.text) } else { Vec::new() },
            filters: plan.filters.len(),
            label: plan.label.clone(),
            mounts: mounts(&text),
            network: network(pid, plan, in_force),
            tasks: plan.cgroups.tasks(),
            memory: plan.cgroups.memory(),
            cpu_millis: plan.cgroups.cpu_millis(),
            cpus: host::cpus_of(pid),
            host: host::Host::read(),
            full: options.full,
            expected,
            file_name: file_name()?,
        })
    }

    /// A plain container, for the list of what there is.
    pub fn ordinary() -> Self {
        let mount = |point: &str, fs: &str| Mount {
            point: point.into(),
            root: b"/".to_vec(),
            device: "0:99".into(),
            fs: fs.into(),
            options: vec!["rw".into()],
            read_only_fs: false,
        };
        Self {
            status: Status::default(),
            inside_uid: 0,
            own_user_namespace: false,
            shares_pids: false,
            inside_pid: 1,
            foreign: Vec::new(),
            filters: 1,
            label: None,
            mounts: vec![mount("/", "overlay"), mount("/data", "ext4")],
            network: Network::default(),
            tasks: (None, 0),
            memory: crate::probe::confinement::cgroups::Memory::none(),
            cpu_millis: None,
            cpus: (1, 1),
            host: host::Host::default(),
            full: false,
            expected: Expected::default(),
            file_name: ".sandbox-trace-probe".into(),
        }
    }

    /// Whether its first process has a capability.
    pub fn has_capability(&self, number: u32) -> bool {
        self.status.effective >> number & 1 == 1
    }
}

/// A name that no file has, and that nobody can have put something under.
fn file_name() -> Result<String> {
    use std::io::Read as _;
    let mut random = [0u8; 8];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(|e| Error::host("could not read /dev/urandom").because(e).hint("mount a /dev with it"))?;
    Ok(format!(".sandbox-trace-probe-{:016x}", u64::from_le_bytes(random)))
}

/// The mounts of a `mountinfo`; of those on one place, the last.
fn mounts(text: &[u8]) -> Vec<Mount> {
    let mut out: Vec<Mount> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(mount) = mount(line) else { continue };
        out.retain(|other| other.point != mount.point);
        out.push(mount);
    }
    out
}

fn mount(line: &[u8]) -> Option<Mount> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = line.split(|byte| *byte == b' ');
    let device = text(fields.nth(2)?);
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    let options = text(fields.next()?).split(',').map(str::to_owned).collect();
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let fs = text(rest.next()?);
    let read_only_fs = text(rest.nth(1)?).split(',').any(|option| option == "ro");
    Some(Mount { point, root, device, fs, options, read_only_fs })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => out.push(*first),
        }
    }
    out
}

fn network(pid: u32, plan: &Plan, in_force: &InForce) -> Network {
    let read = |name: &str| {
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(name)).unwrap_or_default()
    };
    let (routes, routes6) = (read("net/route"), read("net/ipv6_route"));
    let gateway = default_gateway(&routes);
    Network {
        is_hosts: !plan.owns("net"),
        interfaces: interfaces(&routes, &routes6),
        gateway,
        gateway_is_here: gateway.is_some_and(host::is_own_address),
        publishes: !in_force.container.ports.is_empty(),
    }
}

/// The names that routes lead to, but loopback's.
fn interfaces(routes: &str, routes6: &str) -> Vec<String> {
    let four = routes.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let six = routes6.lines().filter_map(|line| line.split_whitespace().last());
    let mut names: Vec<String> = four.chain(six).filter(|name| *name != "lo").map(printable).collect();
    names.sort();
    names.dedup();
    names
}

/// The gateway of the default route in `/proc/net/route`, which has addresses as the machine's own words.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let mask = fields.nth(4)?;
        let is_default = destination == "00000000" && mask == "00000000";
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|word| is_default && *word != 0)?;
        Some(Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_the_kernel_writes_them() {
        let text = b"1 0 0:40 / / rw,relatime master:1 - overlay overlay rw,lowerdir=a\n\
            2 1 254:1 /srv/a\\040b /data\\011x ro,noexec - ext4 /dev/vda rw\n\
            3 1 0:41 / /tmp rw - tmpfs tmpfs ro\n4 1 0:42 / /tmp rw,noexec - tmpfs tmpfs rw,size=1k\nodd\n";
        let mounts = mounts(text);
        let points: Vec<&[u8]> = mounts.iter().map(|mount| mount.point.as_slice()).collect();
        assert_eq!(points, [&b"/"[..], b"/data\tx", b"/tmp"]);
        assert!(mounts[0].is_writable() && !mounts[1].is_writable() && mounts[2].is_writable());
        assert!(mounts[1].is_hosts() && !mounts[2].is_hosts() && mounts[2].has("noexec"));
        assert_eq!(mounts[1].root, b"/srv/a b");
    }

    #[test]
    fn the_gateway_is_that_of_the_default_route() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_gateway(routes), Some(Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!(default_gateway(""), None);
        assert_eq!(interfaces(routes, "0 0 0 lo\nfe80 40 00 eth1\n"), ["eth0", "eth1"]);
    }
}

//! Host tier: the programs load and attach on the running kernel. Needs root.

use std::{fs::File, path::Path};

use sandbox_trace::kernel::{layout::KERNEL_BTF, tracer};

#[test]
fn the_programs_load_and_attach() {
    let cgroup = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|path| Path::new(path).join("cgroup.procs").exists())
        .map(|path| File::open(path).unwrap())
        .unwrap();
    let options = tracer::Options { cgroup: &cgroup, begin_at_exec_of: 0, btf: Path::new(KERNEL_BTF) };
    let tracer = match tracer::Tracer::start(&options) {
        Ok(tracer) => tracer,
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    };
    std::fs::metadata("/proc/self").unwrap();
    assert!(tracer.counts().unwrap().iter().any(|(_, _, count)| *count > 0));
}

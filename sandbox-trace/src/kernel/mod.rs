//! What needs the running kernel: BTF offsets, loading programs, cgroups.

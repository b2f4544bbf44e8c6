//! The security hooks that this kernel has, checked against its type information: a hook whose parameters are others
//! than the program reads is not used.

use aya::{Ebpf, programs::FExit};
use sandbox_trace_ebpf::spec::kind;

use super::{
    btf::{Btf, NUMBER},
    specs,
    tracer::{self, How, Kernel, damaged, refused},
};
use crate::error::{Error, Result};

/// Slots of `SCRATCH`: the tracepoints' and three for hooks (`SLOTS` in the programs' `lsm/slot.rs`).
pub const SCRATCH_SLOTS: u32 = 4;

/// A hook, and the program that looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// The program.
    program: &'static str,
    /// The kernel's function.
    function: &'static str,
    /// Its parameters: the structure that one points to, [`NUMBER`], or [`ANY`].
    parameters: &'static [&'static str],
    /// Whether `record` can do without it: the kernel is too old for it, and asks another hook, or the calls in
    /// [`Hook::calls`] are looked at when they return.
    optional: bool,
    /// The calls that only this hook sees.
    calls: &'static [&'static str],
}

/// A parameter that the program does not read.
const ANY: &str = "anything";

const fn hook(program: &'static str, function: &'static str, parameters: &'static [&'static str]) -> Hook {
    Hook { program, function, parameters, optional: false, calls: &[] }
}

const fn optional(hook: Hook, calls: &'static [&'static str]) -> Hook {
    Hook { optional: true, calls, ..hook }
}

const FILE: &str = "file";
const PATH: &str = "path";
const DENTRY: &str = "dentry";
const SOCKET: &str = "socket";

/// Every hook. The capability hook is first: what can't load it can't load any.
const HOOKS: &[Hook] = &[
    hook("lsm_capable", "security_capable", &["cred", "user_namespace", NUMBER, NUMBER]),
    hook("lsm_file_open", "security_file_open", &[FILE]),
    hook("lsm_file_lock", "security_file_lock", &[FILE, NUMBER]),
    hook("lsm_mmap_file", "security_mmap_file", &[FILE, NUMBER, NUMBER]),
    hook("lsm_file_mprotect", "security_file_mprotect", &["vm_area_struct", NUMBER, NUMBER]),
    hook("lsm_exec", "security_bprm_creds_for_exec", &["linux_binprm"]),
    hook("lsm_path_truncate", "security_path_truncate", &[PATH]),
    hook("lsm_path_chmod", "security_path_chmod", &[PATH, NUMBER]),
    hook("lsm_path_unlink", "security_path_unlink", &[PATH, DENTRY]),
    hook("lsm_path_rmdir", "security_path_rmdir", &[PATH, DENTRY]),
    hook("lsm_path_mkdir", "security_path_mkdir", &[PATH, DENTRY, NUMBER]),
    hook("lsm_path_mknod", "security_path_mknod", &[PATH, DENTRY, NUMBER, NUMBER]),
    hook("lsm_path_symlink", "security_path_symlink", &[PATH, DENTRY, ANY]),
    hook("lsm_path_link", "security_path_link", &[DENTRY, PATH, DENTRY]),
    hook("lsm_path_rename", "security_path_rename", &[PATH, DENTRY, PATH, DENTRY, NUMBER]),
    hook("lsm_socket_create", "security_socket_create", &[NUMBER, NUMBER, NUMBER, NUMBER]),
    // The address is a `struct sockaddr` up to Linux 6.18, and a `struct sockaddr_unsized` after it.
    hook("lsm_socket_bind", "security_socket_bind", &[SOCKET, ANY, NUMBER]),
    hook("lsm_socket_connect", "security_socket_connect", &[SOCKET, ANY, NUMBER]),
    hook("lsm_socket_listen", "security_socket_listen", &[SOCKET, NUMBER]),
    hook("lsm_socket_accept", "security_socket_accept", &[SOCKET, SOCKET]),
    hook("lsm_socket_sendmsg", "security_socket_sendmsg", &[SOCKET, "msghdr", NUMBER]),
    hook("lsm_socket_recvmsg", "security_socket_recvmsg", &[SOCKET, "msghdr", NUMBER, NUMBER]),
    hook("lsm_socket_getsockname", "security_socket_getsockname", &[SOCKET]),
    hook("lsm_socket_getpeername", "security_socket_getpeername", &[SOCKET]),
    hook("lsm_socket_getsockopt", "security_socket_getsockopt", &[SOCKET, NUMBER, NUMBER]),
    hook("lsm_socket_setsockopt", "security_socket_setsockopt", &[SOCKET, NUMBER, NUMBER]),
    hook("lsm_socket_shutdown", "security_socket_shutdown", &[SOCKET, NUMBER]),
    // Linux 6.2; before it path_truncate is asked.
    optional(hook("lsm_file_truncate", "security_file_truncate", &[FILE]), &[]),
    // Its ids are structures, which a trampoline can pass from Linux 6.1 on.
    optional(
        hook("lsm_path_chown", "security_path_chown", &[PATH, ANY, ANY]),
        &["chown", "chown32", "lchown", "lchown32", "fchown", "fchown32", "fchownat"],
    ),
];

/// Whether the hooks see what a call that succeeds does.
pub fn sees(hooks: &[&Hook], call: &str) -> bool {
    let Some(spec) = specs::spec_of(call) else { return false };
    let looked_at = !matches!(spec.kind, kind::PLAIN | kind::EXEC | kind::CREDENTIALS | kind::CLONE3);
    let own = HOOKS.iter().find(|hook| hook.calls.contains(&call));
    !hooks.is_empty()
        && looked_at
        && own.is_none_or(|own| hooks.iter().any(|hook| hook.program == own.program))
}

/// Loads the object and the programs of all hooks that this kernel has. The error is the reason why it can't be done.
pub fn load(kernel: &Kernel, how: How) -> Result<(Ebpf, Vec<&'static Hook>)> {
    let mut hooks = match &kernel.hooks {
        Ok(hooks) => hooks.clone(),
        Err(error) => return Err(unusable(error.in_one_line())),
    };
    loop {
        let mut ebpf = tracer::load(kernel, &hooks, how)?;
        let failed = hooks.iter().copied().find_map(|hook| {
            let loaded = load_program(&mut ebpf, hook.program, hook.function, &kernel.anchors);
            loaded.err().map(|error| (hook, error))
        });
        match failed {
            None => return Ok((ebpf, hooks)),
            Some((hook, error)) if hook.optional => {
                // Once more without it: the table of calls, which is read-only by now, counts on it.
                tracing::info!("{} is not used: {}", hook.function, error.in_one_line());
                hooks.retain(|other| other.program != hook.program);
            }
            Some((_, error)) => {
                return Err(error.hint("use --hooks syscalls, which needs no such programs"));
            }
        }
    }
}

/// Attaches the programs of hooks that [`load`] loaded.
pub fn attach(ebpf: &mut Ebpf, hooks: &[&Hook]) -> Result<()> {
    for hook in hooks {
        program(ebpf, hook.program)?.attach().map_err(|e| refused(hook.program, e))?;
    }
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut FExit> {
    ebpf.program_mut(name).ok_or_else(|| damaged(name))?.try_into().map_err(|e| refused(name, e))
}

fn load_program(ebpf: &mut Ebpf, name: &str, function: &str, btf: &aya::Btf) -> Result<()> {
    program(ebpf, name)?.load(function, btf).map_err(|e| refused(name, e))
}

/// The hooks that this kernel has with the parameters that the programs read.
pub fn usable(btf: &Btf) -> Result<Vec<&'static Hook>> {
    let mut out = Vec::new();
    for hook in HOOKS {
        match btf.signature(hook.function) {
            Some(found) if fits(hook.parameters, &found) => out.push(hook),
            _ if hook.optional => {}
            None => return Err(unusable(format!("this kernel has no function {}", hook.function))),
            Some(found) => {
                let found = found.join(", ");
                return Err(unusable(format!("{}({found}) has other parameters here", hook.function)));
            }
        }
    }
    Ok(out)
}

fn unusable(message: String) -> Error {
    Error::host(message).hint("use --hooks syscalls; the hooks are tested on Linux 6.1")
}

fn fits(wanted: &[&str], found: &[String]) -> bool {
    wanted.len() == found.len()
        && wanted.iter().zip(found).all(|(wanted, found)| *wanted == ANY || wanted == found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::layout;

    #[test]
    fn the_running_kernels_hooks_are_as_expected() {
        let btf = layout::open(Path::new(layout::KERNEL_BTF)).unwrap();
        assert_eq!(btf.signature("security_file_lock").unwrap(), [FILE, NUMBER]);
        assert_eq!(btf.signature("no_such_function"), None);
        let hooks = usable(&btf).unwrap();
        assert!(hooks.iter().any(|hook| hook.program == "lsm_path_chown"));
    }

    #[test]
    fn another_signature_does_not_fit() {
        let found = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert!(fits(&[PATH, ANY], &found(&[PATH, "struct by value"])));
        assert!(!fits(&[PATH], &found(&[PATH, NUMBER])));
        assert!(!fits(&[FILE, NUMBER], &found(&["mnt_idmap", FILE])));
    }

    #[test]
    fn calls_that_only_a_missing_hook_sees_stay_with_the_tracepoint() {
        let all: Vec<&Hook> = HOOKS.iter().collect();
        let without: Vec<&Hook> = HOOKS.iter().filter(|hook| hook.program != "lsm_path_chown").collect();
        assert!(sees(&all, "chown") && sees(&all, "openat") && sees(&all, "connect"));
        assert!(!sees(&without, "chown") && sees(&without, "openat"));
        for call in ["execve", "setuid", "clone3", "read"] {
            assert!(!sees(&all, call), "{call}");
        }
        assert!(!sees(&[], "openat"));
    }
}

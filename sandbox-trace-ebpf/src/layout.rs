//! Where the running kernel keeps the members that the programs read: looked up in its BTF by user space before the
//! programs load, and written into their instructions (see [`FIRST_OFFSET`]). The constants of a recording are written
//! into their read-only data.

/// The offset of a member that the running kernel does not have; see [`OPTIONAL`].
pub const ABSENT: u32 = u32::MAX;

/// Members that not every supported kernel has.
pub const OPTIONAL: [&str; 5] = [
    // Since Linux 5.11.
    "task_struct.seccomp.filter_count",
    // Until Linux 6.0: there only these lead to a mapping without `bpf_find_vma`.
    "mm_struct.mm_rb.rb_node",
    "vm_area_struct.vm_rb",
    "rb_node.rb_left",
    "rb_node.rb_right",
];

/// A structure that begins with many bytes, which the verifier lets a program read in any width: what
/// `bpf_rdonly_cast` makes of an address. It stands for any memory, and its first member, of 65 bytes, is all that is
/// used.
pub const BYTES_TYPE: &str = "new_utsname";

/// The programs have offsets as immediate operands: the object holds this number and the offset's index in
/// [`KernelLayout::offsets`], and user space puts the kernel's own in their place. An offset that is loaded would make
/// every load through it wait for another one.
pub const FIRST_OFFSET: u32 = 0x6b5f_0000;

/// What stands for the offset that lies at this place in [`KernelLayout`].
#[expect(clippy::cast_possible_truncation, reason = "a structure of some hundred bytes")]
pub const fn offset_number(place: usize) -> u32 {
    FIRST_OFFSET + ((place - core::mem::offset_of!(KernelLayout, regs_orig_ax)) / size_of::<u32>()) as u32
}

macro_rules! layout {
    ($($(#[$doc:meta])* $field:ident: $path:literal,)*) => {
        /// Byte offsets into kernel structures, and constants of one recording.
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        pub struct KernelLayout {
            /// Makes the de-duplication keys of one recording unpredictable to the target.
            pub seed: u64,
            /// The reader is woken each time that the ring holds another such number of bytes; a power of two.
            pub wake_bytes: u64,
            /// Inode number of the mount namespace that counts as the host's.
            pub host_mnt_ns: u32,
            /// How many seccomp filters the recorder itself runs under.
            pub base_filters: u32,
            /// Bytes between the start of a kernel stack and its `pt_regs`, for kernels without `bpf_task_pt_regs`.
            pub stack_regs: u32,
            /// Device number of the host's root file system, as the kernel keeps it.
            pub root_dev: u32,
            /// BTF id of [`BYTES_TYPE`], for the edition that casts.
            pub bytes_type: u32,
            /// Not 0 if a task that ends has no image any more when that is told: until Linux 6.16.
            pub forgets_images: u32,
            /// Inode number of the host's root directory.
            pub root_ino: u64,
            $($(#[$doc])* #[doc = concat!("Offset of `", $path, "`.")] pub $field: u32,)*
        }

        impl KernelLayout {
            /// All zero: what the object file holds until user space fills it in.
            pub const ZERO: Self =
                Self {
                seed: 0,
                wake_bytes: 0,
                host_mnt_ns: 0,
                base_filters: 0,
                stack_regs: 0,
                root_dev: 0,
                bytes_type: 0,
                forgets_images: 0,
                root_ino: 0,
                $($field: 0,)*
            };

            /// Every offset: its BTF path (`struct.member.member`) and the place to write it to.
            pub fn offsets(&mut self) -> [(&'static str, &mut u32); layout!(@count $($field)*)] {
                [$(($path, &mut self.$field),)*]
            }
        }
    };
    (@count $($field:ident)*) => { 0 $(+ { let _ = stringify!($field); 1 })* };
}

layout! {
    regs_orig_ax: "pt_regs.orig_ax",
    regs_di: "pt_regs.di",
    regs_si: "pt_regs.si",
    regs_dx: "pt_regs.dx",
    regs_r10: "pt_regs.r10",
    regs_r8: "pt_regs.r8",
    regs_r9: "pt_regs.r9",
    regs_bx: "pt_regs.bx",
    regs_cx: "pt_regs.cx",
    regs_bp: "pt_regs.bp",
    task_status: "task_struct.thread_info.status",
    task_mm: "task_struct.mm",
    task_files: "task_struct.files",
    task_fs: "task_struct.fs",
    task_nsproxy: "task_struct.nsproxy",
    task_cred: "task_struct.cred",
    task_personality: "task_struct.personality",
    task_filter_count: "task_struct.seccomp.filter_count",
    mm_exe_file: "mm_struct.exe_file",
    file_inode: "file.f_inode",
    file_mnt: "file.f_path.mnt",
    file_dentry: "file.f_path.dentry",
    file_flags: "file.f_flags",
    file_private: "file.private_data",
    inode_ino: "inode.i_ino",
    inode_mode: "inode.i_mode",
    inode_uid: "inode.i_uid",
    inode_sb: "inode.i_sb",
    sb_flags: "super_block.s_flags",
    dentry_parent: "dentry.d_parent",
    dentry_hash_len: "dentry.d_name.hash_len",
    dentry_name: "dentry.d_name.name",
    vfsmount_root: "vfsmount.mnt_root",
    mount_mnt: "mount.mnt",
    mount_parent: "mount.mnt_parent",
    mount_mountpoint: "mount.mnt_mountpoint",
    mount_ns: "mount.mnt_ns",
    nsproxy_mnt_ns: "nsproxy.mnt_ns",
    mnt_ns_inum: "mnt_namespace.ns.inum",
    files_fdt: "files_struct.fdt",
    fdt_fd: "fdtable.fd",
    fdt_max: "fdtable.max_fds",
    fs_root_mnt: "fs_struct.root.mnt",
    fs_root_dentry: "fs_struct.root.dentry",
    fs_pwd_mnt: "fs_struct.pwd.mnt",
    fs_pwd_dentry: "fs_struct.pwd.dentry",
    cred_euid: "cred.euid",
    cred_egid: "cred.egid",
    cred_fsuid: "cred.fsuid",
    bprm_file: "linux_binprm.file",
    bprm_filename: "linux_binprm.filename",
    bprm_interp: "linux_binprm.interp",
    socket_sk: "socket.sk",
    sk_family: "sock.__sk_common.skc_family",
    sk_type: "sock.sk_type",
    sk_protocol: "sock.sk_protocol",
    vma_file: "vm_area_struct.vm_file",
    task_cgroups: "task_struct.cgroups",
    css_set_dfl_cgrp: "css_set.dfl_cgrp",
    cgroup_kn: "cgroup.kn",
    kernfs_id: "kernfs_node.id",
    task_stack: "task_struct.stack",
    task_filter: "task_struct.seccomp.filter",
    mm_rb: "mm_struct.mm_rb.rb_node",
    vma_rb: "vm_area_struct.vm_rb",
    rb_left: "rb_node.rb_left",
    rb_right: "rb_node.rb_right",
    vma_start: "vm_area_struct.vm_start",
    vma_end: "vm_area_struct.vm_end",
    task_exit_code: "task_struct.exit_code",
    filter_prev: "seccomp_filter.prev",
    filter_prog: "seccomp_filter.prog",
    prog_orig: "bpf_prog.orig_prog",
    fprog_len: "sock_fprog_kern.len",
    fprog_filter: "sock_fprog_kern.filter",
    sb_dev: "super_block.s_dev",
    dentry_inode: "dentry.d_inode",
    cgroup_root: "cgroup.root",
    cgroup_parent: "cgroup.self.parent",
    css_cgroup: "cgroup_subsys_state.cgroup",
    cgroup_root_hierarchy: "cgroup_root.hierarchy_id",
    dentry_sb: "dentry.d_sb",
    file_mode: "file.f_mode",
    msg_name: "msghdr.msg_name",
    msg_namelen: "msghdr.msg_namelen",
    task_flags: "task_struct.flags",
    cred_effective: "cred.cap_effective",
    cred_user_ns: "cred.user_ns",
    task_real_cred: "task_struct.real_cred",
    cred_permitted: "cred.cap_permitted",
}

// SAFETY: repr(C), integers only, and no padding: two u64, then an even number of u32 is checked below.
#[cfg(feature = "user")]
unsafe impl aya::Pod for KernelLayout {}

// The struct is written to the object as bytes: padding would make it a wrong write.
const _: () = assert!(size_of::<KernelLayout>().is_multiple_of(8));

//! Names that are made, removed, renamed, linked, and the attributes of what they name.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use sandbox_trace_ebpf::{record::access, spec::op};

use super::{object, object::Asked, recorded, slot};
use crate::{kernel::LOOPS, task};

const S_IFDIR: u64 = 0o040_000;

/// `int security_path_truncate(const struct path *path)`
#[fexit(function = "security_path_truncate")]
fn lsm_path_truncate(ctx: FExitContext) -> i32 {
    recorded(|| Asked::at(ctx.arg(0), access::SETATTR, op::SETATTR, ctx.arg(1)))
}

/// `int security_path_chmod(const struct path *path, umode_t mode)`
#[fexit(function = "security_path_chmod")]
fn lsm_path_chmod(ctx: FExitContext) -> i32 {
    recorded(|| Asked::at(ctx.arg(0), access::SETATTR, op::SETATTR, ctx.arg(2)))
}

/// `int security_path_chown(const struct path *path, kuid_t uid, kgid_t gid)`; a trampoline can pass structures by
/// value from Linux 6.1 on.
#[fexit(function = "security_path_chown")]
fn lsm_path_chown(ctx: FExitContext) -> i32 {
    recorded(|| Asked::at(ctx.arg(0), access::SETATTR, op::SETATTR, ctx.arg(3)))
}

/// `int security_path_unlink(const struct path *dir, struct dentry *dentry)`
#[fexit(function = "security_path_unlink")]
fn lsm_path_unlink(ctx: FExitContext) -> i32 {
    recorded(|| Asked::name(ctx.arg(0), ctx.arg(1), access::DELETE, op::UNLINK, ctx.arg(2)))
}

/// `int security_path_rmdir(const struct path *dir, struct dentry *dentry)`
#[fexit(function = "security_path_rmdir")]
fn lsm_path_rmdir(ctx: FExitContext) -> i32 {
    recorded(|| Asked::name(ctx.arg(0), ctx.arg(1), access::DELETE, op::RMDIR, ctx.arg(2)))
}

/// `int security_path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)`
#[fexit(function = "security_path_mkdir")]
fn lsm_path_mkdir(ctx: FExitContext) -> i32 {
    recorded(|| {
        let mut asked = Asked::name(ctx.arg(0), ctx.arg(1), access::CREATE, op::MKDIR, ctx.arg(3))?;
        asked.mode = S_IFDIR;
        Some(asked)
    })
}

/// `int security_path_mknod(const struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev)`: an open that
/// makes a file and a bind that makes a socket ask this too.
#[fexit(function = "security_path_mknod")]
fn lsm_path_mknod(ctx: FExitContext) -> i32 {
    recorded(|| Asked::name(ctx.arg(0), ctx.arg(1), access::CREATE, op::MKNOD, ctx.arg(4)))
}

/// `int security_path_symlink(const struct path *dir, struct dentry *dentry, const char *old_name)`
#[fexit(function = "security_path_symlink")]
fn lsm_path_symlink(ctx: FExitContext) -> i32 {
    recorded(|| Asked::name(ctx.arg(0), ctx.arg(1), access::CREATE, op::SYMLINK, ctx.arg(3)))
}

/// `int security_path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)`
#[fexit(function = "security_path_link")]
fn lsm_path_link(ctx: FExitContext) -> i32 {
    recorded(|| {
        let existing: u64 = ctx.arg(0);
        let mut asked = Asked::name(ctx.arg(1), ctx.arg(2), access::LINK, op::LINK, ctx.arg(3))?;
        asked.of = existing;
        asked.target = existing;
        Some(asked)
    })
}

/// `int security_path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir,
/// struct dentry *new_dentry, unsigned int flags)`
#[fexit(function = "security_path_rename")]
fn lsm_path_rename(ctx: FExitContext) -> i32 {
    const RENAME_EXCHANGE: u64 = 2;
    let both = access::READ | access::WRITE;
    if !task::is_recorded::<LOOPS>(task::current::<LOOPS>()) {
        return 0;
    }
    let flags: u64 = ctx.arg(4);
    let exchange = flags & RENAME_EXCHANGE != 0;
    let source = if exchange { both } else { both | access::DELETE };
    let destination = if exchange { both } else { access::WRITE | access::CREATE };
    let Some(old) = Asked::name(ctx.arg(0), ctx.arg(1), source, op::RENAME, ctx.arg(5)) else { return 0 };
    let Some(mut new) = Asked::name(ctx.arg(2), ctx.arg(3), destination, op::RENAME, ctx.arg(5)) else {
        return 0;
    };
    if !exchange {
        // The new name is asked about as what the old one is.
        new.of = old.of;
    }
    if slot::claim() {
        object::send(&old);
        object::send(&new);
        slot::release();
    }
    0
}

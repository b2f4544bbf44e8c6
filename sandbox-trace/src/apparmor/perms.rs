//! What the kernel makes of a walk's end: permissions on files by owner and others, execute transitions, link
//! pairs, sockets, capabilities. Source: `map_old_perms` and `profile_path_link` in `security/apparmor/file.c`,
//! `aa_compute_perms` in `lib.c`, `aa_profile_af_perm` in `net.c`, Linux 6.1.

use super::{
    dfa::State,
    policy::{Automaton, Profile},
};

/// `x`
pub const EXEC: u32 = 1;
/// `w`
pub const WRITE: u32 = 2;
/// `r`
pub const READ: u32 = 4;
/// `a`
pub const APPEND: u32 = 8;
/// `l`
pub const LINK: u32 = 0x10;
/// `k`; in the second half of a link pair: the link's permissions must be a subset of the target's. The compiler
/// (3.0.8) writes that into the owner's half only, so a link to someone else's file is not tested for it.
pub const LOCK: u32 = 0x20;
/// `m`
pub const MAP_EXEC: u32 = 0x40;

const PERMISSIONS: u32 = 0x7f;
const OTHER_SHIFT: u32 = 14;
/// The execute part of a half, above its permissions.
const EXEC_SHIFT: u32 = 7;
const EXEC_MASK: u32 = 0x7f;

// In the execute part, after the shift.
const X_UX_FALLBACK: u32 = 1;
const X_UNSAFE: u32 = 1 << 1;
const X_INHERIT: u32 = 1 << 2;
const X_TYPE_SHIFT: u32 = 3;

const CLASS_NET: u8 = 14;
/// Create, connect (as `open`), send, receive: what a network rule gives, in the user half.
const NET_ANY: u32 = 0x56;

/// Whose file it is: rules with `owner` hold for one of the two only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The task's file-system user id is the file's owner.
    Owner,
    /// It is not.
    Other,
}

/// What an execution does to the task's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// No rule says how: the execution is denied.
    None,
    /// The task keeps its profile (`ix`).
    Inherit,
    /// The task changes to something else, named here (`px`, `cx`, `ux`, with their fallbacks).
    Changes(String),
}

/// The permissions of one subject on one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilePerms {
    /// [`READ`], [`WRITE`], ….
    pub allow: u32,
    exec: u32,
}

impl FilePerms {
    fn of(accept: u32, subject: Subject) -> Self {
        let half = match subject {
            Subject::Owner => accept,
            Subject::Other => accept >> OTHER_SHIFT,
        };
        Self { allow: half & PERMISSIONS, exec: half >> EXEC_SHIFT & EXEC_MASK }
    }

    /// Whether all of `request` is allowed.
    pub fn allows(self, request: u32) -> bool {
        self.allow & request == request
    }

    /// Whether executing is allowed, in whatever profile it ends.
    pub fn executes(self) -> bool {
        self.allows(EXEC) && (self.exec >> X_TYPE_SHIFT != 0 || self.exec & (X_INHERIT | X_UX_FALLBACK) != 0)
    }

    /// What executing does, with the names that `profile` has for it.
    pub fn transition(self, profile: &Profile) -> Transition {
        if !self.allows(EXEC) {
            return Transition::None;
        }
        let fallback = match (self.exec & X_INHERIT != 0, self.exec & X_UX_FALLBACK != 0) {
            (true, _) => ", or the same profile if that is not loaded",
            (_, true) => ", or none if that is not loaded",
            _ => "",
        };
        match self.exec >> X_TYPE_SHIFT {
            0 if self.exec & X_INHERIT != 0 => Transition::Inherit,
            0 if self.exec & X_UX_FALLBACK != 0 => Transition::Changes("no profile (ux)".into()),
            0 => Transition::None,
            1 => Transition::Changes("no profile (ux)".into()),
            2 => Transition::Changes(format!("the profile of the executable (px){fallback}")),
            3 => Transition::Changes(format!("a child profile (cx){fallback}")),
            n => {
                let position = usize::try_from(n - 4).unwrap_or(usize::MAX);
                let name = profile.transitions.get(position).map_or_else(|| "?".into(), ToString::to_string);
                Transition::Changes(format!("{name}{fallback}"))
            }
        }
    }

    /// Whether executing through a link with these permissions gives no more than through `target`'s.
    fn exec_is_subset_of(self, target: Self) -> bool {
        self.exec & !X_UNSAFE == target.exec & !X_UNSAFE
            && (self.exec & X_UNSAFE == 0 || target.exec & X_UNSAFE != 0)
    }
}

impl Automaton {
    /// The permissions of a walk through file rules that ended in `state`.
    pub fn perms(&self, state: State, subject: Subject) -> FilePerms {
        FilePerms::of(self.dfa.accept(state), subject)
    }

    fn file(&self, path: &[u8], subject: Subject) -> (State, FilePerms) {
        let state = self.dfa.walk(self.start, path);
        (state, self.perms(state, subject))
    }
}

impl Profile {
    /// The permissions on `path`.
    pub fn file_perms(&self, path: &[u8], subject: Subject) -> FilePerms {
        self.files.as_ref().map_or_else(FilePerms::default, |files| files.file(path, subject).1)
    }

    /// Whether a hard link `link` to the existing name `target` may be made. `subject` is about the target,
    /// whose owner the new name has too.
    pub fn allows_link(&self, link: &[u8], target: &[u8], subject: Subject) -> bool {
        let Some(files) = &self.files else { return false };
        let (state, on_link) = files.file(link, subject);
        if !on_link.allows(LINK) {
            return false;
        }
        let pair_state = files.dfa.walk(files.dfa.step(state, 0), target);
        let pair = FilePerms::of(files.dfa.accept(pair_state), subject);
        if !pair.allows(LINK) {
            return false;
        }
        if !pair.allows(LOCK) {
            return true;
        }
        let on_target = files.file(target, subject).1;
        let wanted = on_link.allow & !LINK;
        on_target.allows(wanted) && (wanted & EXEC == 0 || on_link.exec_is_subset_of(on_target))
    }

    /// Whether sockets of this family and type may be used. Linux 6.1 asks for nothing else of a socket.
    pub fn allows_socket(&self, family: u16, socket_type: u16) -> bool {
        let Some(classes) = &self.classes else { return true };
        let class = classes.dfa.step(classes.start, CLASS_NET);
        if class == State::DEAD {
            return true;
        }
        let [f1, f2] = family.to_be_bytes();
        let [t1, t2] = socket_type.to_be_bytes();
        let end = classes.dfa.walk(class, &[f1, f2, t1, t2]);
        classes.dfa.accept(end) & NET_ANY == NET_ANY
    }

    /// Whether the capability with this number may be used.
    pub fn allows_capability(&self, number: u32) -> bool {
        1_u64.checked_shl(number).is_some_and(|bit| self.capabilities & bit != 0)
    }
}

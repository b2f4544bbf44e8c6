//! Single permissions as `AppArmor` divides them, when one holds another, and the comparison of two sets of them.
//! Knows nothing of where they come from: the text of a profile, or recordings.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{About, Change, Diff, Kind, Risk, risk};
use crate::{
    apparmor::glob::{Glob, Variables},
    recording::{Access, printable},
};

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// A letter of a file rule, or a way to execute such as `ix`.
    File { path: Glob, owner: bool, letter: String },
    /// A hard link from one path to another.
    Link { new: Glob, existing: Glob, owner: bool },
    /// Sockets: of any family, or of any type, where it is not named.
    Network { family: Option<String>, socket: Option<String> },
    /// A capability, or all.
    Capability(Option<String>),
    /// A signal to or from other processes; what is not named is any.
    Signal { letter: String, signal: Option<String>, peer: Option<String> },
    /// Looking into other processes.
    Ptrace { letter: String, peer: Option<String> },
    /// A rule of a class that is known to give something, without the class's name; empty for all of the class.
    Class { class: String, rest: String },
    /// What is known to take something away, or is not known at all.
    Other { line: String, takes: bool },
}

/// A permission in its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Atom {
    /// The profile within the file, where there are several.
    pub profile: String,
    /// Whether it is denied.
    pub deny: bool,
    /// What.
    pub grant: Grant,
}

/// What one side permits.
#[derive(Debug, Default)]
pub struct Grants {
    /// Every permission.
    pub atoms: BTreeSet<Atom>,
    /// What its variables stand for.
    pub variables: Variables,
}

impl Grant {
    /// Whether all that `other` permits is permitted by this.
    fn holds(&self, other: &Self, variables: &Variables) -> bool {
        fn any<T: PartialEq>(own: Option<&T>, other: Option<&T>) -> bool {
            own.is_none() || own == other
        }
        match (self, other) {
            (
                Self::File { path, owner, letter },
                Self::File { path: other_path, owner: other_owner, letter: other_letter },
            ) => {
                (!*owner || *other_owner)
                    && letter_holds(letter, other_letter)
                    && path.holds(other_path, variables)
            }
            (
                Self::Link { new, existing, owner },
                Self::Link { new: other_new, existing: other_existing, owner: other_owner },
            ) => {
                (!*owner || *other_owner)
                    && new.holds(other_new, variables)
                    && existing.holds(other_existing, variables)
            }
            (Self::Network { family, socket }, Self::Network { family: other_family, socket: other }) => {
                any(family.as_ref(), other_family.as_ref()) && any(socket.as_ref(), other.as_ref())
            }
            (Self::Capability(own), Self::Capability(other)) => any(own.as_ref(), other.as_ref()),
            (
                Self::Signal { letter, signal, peer },
                Self::Signal { letter: other_letter, signal: other_signal, peer: other_peer },
            ) => {
                letter == other_letter
                    && any(signal.as_ref(), other_signal.as_ref())
                    && any(peer.as_ref(), other_peer.as_ref())
            }
            (Self::Ptrace { letter, peer }, Self::Ptrace { letter: other_letter, peer: other_peer }) => {
                letter == other_letter && any(peer.as_ref(), other_peer.as_ref())
            }
            (Self::Class { class, rest }, Self::Class { class: other_class, rest: other_rest }) => {
                class == other_class && (rest.is_empty() || rest == other_rest)
            }
            // `file,` is all files, whoever they belong to, and runs them under this profile.
            (Self::Class { class, rest }, Self::File { letter, .. }) => {
                class == "file" && rest.is_empty() && (letter == "ix" || letter.len() == 1)
            }
            (Self::Class { class, rest }, Self::Link { .. }) => class == "file" && rest.is_empty(),
            (one, other) => one == other,
        }
    }

    /// What permissions are looked for together: one that holds another has the same.
    fn class(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Link { .. } => 0,
            Self::Class { class, .. } if class == "file" => 0,
            Self::Network { .. } => 1,
            Self::Capability(_) => 2,
            Self::Signal { .. } => 3,
            Self::Ptrace { .. } => 4,
            Self::Class { .. } => 5,
            Self::Other { .. } => 6,
        }
    }

    /// Whether it could hold more than itself.
    fn is_wide(&self) -> bool {
        match self {
            Self::File { path, .. } => path.literal().is_none(),
            Self::Other { .. } => false,
            _ => true,
        }
    }
}

/// `w` holds `a`; what executes without confinement holds every other way; `ix` holds `m`.
fn letter_holds(own: &str, other: &str) -> bool {
    own == other
        || matches!((own, other), ("w", "a") | ("ix", "m"))
        || matches!(own, "ux") && other.ends_with('x')
}

/// A permission that may hold others, and what its paths begin with.
type Wide<'a> = (&'a Grant, Vec<u8>);

/// What holds a permission can be asked of, quickly for paths without wildcards.
struct Index<'a> {
    of: &'a Grants,
    /// By profile, denial and path.
    exact: HashMap<(&'a str, bool, &'a Glob), Vec<&'a Grant>>,
    /// By profile, denial and class, with what its paths begin with.
    wide: HashMap<(&'a str, bool, u8), Vec<Wide<'a>>>,
}

impl<'a> Index<'a> {
    fn new(of: &'a Grants) -> Self {
        let mut out = Self { of, exact: HashMap::new(), wide: HashMap::new() };
        for atom in &of.atoms {
            if let Grant::File { path, .. } = &atom.grant {
                out.exact.entry((&atom.profile, atom.deny, path)).or_default().push(&atom.grant);
            }
            if atom.grant.is_wide() {
                let prefix =
                    if let Grant::File { path, .. } = &atom.grant { path.prefix() } else { Vec::new() };
                let key = (atom.profile.as_str(), atom.deny, atom.grant.class());
                out.wide.entry(key).or_default().push((&atom.grant, prefix));
            }
        }
        out
    }

    fn holds(&self, atom: &Atom) -> bool {
        if self.of.atoms.contains(atom) {
            return true;
        }
        let variables = &self.of.variables;
        let mut start = Vec::new();
        if let Grant::File { path, .. } = &atom.grant {
            let same = self.exact.get(&(atom.profile.as_str(), atom.deny, path));
            if same.into_iter().flatten().any(|grant| grant.holds(&atom.grant, variables)) {
                return true;
            }
            start = path.prefix();
        }
        let key = (atom.profile.as_str(), atom.deny, atom.grant.class());
        self.wide
            .get(&key)
            .into_iter()
            .flatten()
            .any(|(grant, prefix)| start.starts_with(prefix) && grant.holds(&atom.grant, variables))
    }
}

/// What `new` permits and `old` did not, and the reverse. What changed its text and is held by the other side is
/// cosmetic.
pub fn compare(old: &Grants, new: &Grants) -> Diff {
    let (before, after) = (Index::new(old), Index::new(new));
    let (mut gained, mut lost, mut same) = (Vec::new(), Vec::new(), Vec::new());
    for (own, other, is_new) in [(&new.atoms, &before, true), (&old.atoms, &after, false)] {
        for atom in own.iter().filter(|atom| !other.of.atoms.contains(*atom)) {
            let held = other.holds(atom);
            // A denial that is gone, and what took something away, gives.
            let gives = atom.deny || matches!(&atom.grant, Grant::Other { takes: true, .. });
            let unknown = matches!(&atom.grant, Grant::Other { takes: false, .. });
            match (held, is_new == gives) {
                (true, _) => same.push((atom, is_new)),
                // Not known: it may give when it comes, and when it goes.
                (false, _) if unknown => gained.push((atom, is_new)),
                (false, false) => gained.push((atom, is_new)),
                (false, true) => lost.push((atom, is_new)),
            }
        }
    }
    let mut diff = Diff {
        added: described(&gained, true),
        removed: described(&lost, false),
        cosmetic: described(&same, false),
        notes: Vec::new(),
    };
    for change in &mut diff.cosmetic {
        if change.detail.is_empty() {
            change.detail = "is held by another rule".into();
        }
    }
    diff.sort();
    diff
}

/// The permissions of one path, or one peer, together.
type Key<'a> = (&'a str, bool, bool, Kind, String, String);

fn described(atoms: &[(&Atom, bool)], gives: bool) -> Vec<Change> {
    let mut together: BTreeMap<Key<'_>, Vec<&Atom>> = BTreeMap::new();
    for (atom, is_new) in atoms {
        let (kind, what, access) = subject(&atom.grant);
        let prefix = if letters_of(&atom.grant).is_some() { access } else { String::new() };
        together.entry((&atom.profile, atom.deny, *is_new, kind, what, prefix)).or_default().push(atom);
    }
    let mut out = Vec::new();
    for ((profile, deny, is_new, kind, what, prefix), atoms) in together {
        let letters: BTreeSet<&str> = atoms.iter().filter_map(|atom| letters_of(&atom.grant)).collect();
        let access = match atoms.first() {
            Some(atom) if letters.is_empty() => subject(&atom.grant).2,
            _ => format!("{prefix}{}", in_order(&letters)),
        };
        let executes = letters.iter().any(|letter| letter.ends_with('x'));
        let kind = if kind == Kind::File && executes { Kind::Exec } else { kind };
        let mut detail = Vec::new();
        if deny {
            detail.push(if is_new { "is denied now" } else { "is not denied any more" }.to_owned());
        }
        if let Some(Grant::Other { takes, .. }) = atoms.first().map(|atom| &atom.grant) {
            let gone = if is_new { "is new" } else { "is gone" };
            let may = if *takes { "" } else { ", and what it does is not known here" };
            detail.push(format!("{gone}{may}"));
        }
        if !profile.is_empty() {
            detail.push(format!("in the profile {}", printable(profile)));
        }
        let (risk, reason) = if gives { judged(&atoms, &letters) } else { Default::default() };
        out.push(Change {
            kind,
            what,
            access,
            detail: detail.join(", "),
            risk,
            reason,
            file: None,
            evidence: None,
            about: about(&atoms, &letters),
        });
    }
    out
}

/// Kind, what it is about, and the access, for what has no letters, or what stands before the letters.
fn subject(grant: &Grant) -> (Kind, String, String) {
    let any = |text: Option<&String>| text.map_or_else(|| "any".to_owned(), |text| printable(text));
    let owned = |owner: bool| if owner { "owner ".to_owned() } else { String::new() };
    match grant {
        Grant::File { path, owner, .. } => (Kind::File, path.text(), owned(*owner)),
        Grant::Link { new, existing, owner } => (
            Kind::Link,
            format!("{} -> {}", new.text(), existing.text()),
            owned(*owner).trim_end().to_owned(),
        ),
        Grant::Network { family: None, .. } => (Kind::Network, "any".into(), String::new()),
        Grant::Network { family, socket: None } => (Kind::Network, any(family.as_ref()), String::new()),
        Grant::Network { family, socket } => {
            (Kind::Network, format!("{} {}", any(family.as_ref()), any(socket.as_ref())), String::new())
        }
        Grant::Capability(name) => (Kind::Capability, any(name.as_ref()), String::new()),
        Grant::Signal { signal, peer, .. } => {
            let set = signal.as_ref().map(|signal| format!("{} ", printable(signal))).unwrap_or_default();
            (Kind::Signal, format!("peer={}", any(peer.as_ref())), set)
        }
        Grant::Ptrace { peer, .. } => (Kind::Ptrace, format!("peer={}", any(peer.as_ref())), String::new()),
        Grant::Class { class, rest } => {
            (Kind::Rule, printable(format!("{class} {rest}").trim_end()), String::new())
        }
        Grant::Other { line, .. } => (Kind::Rule, printable(line), String::new()),
    }
}

fn letters_of(grant: &Grant) -> Option<&str> {
    match grant {
        Grant::File { letter, .. } | Grant::Signal { letter, .. } | Grant::Ptrace { letter, .. } => {
            Some(letter)
        }
        _ => None,
    }
}

/// `rwk`, `mrix`: as rules have them; words with a comma between them.
fn in_order(letters: &BTreeSet<&str>) -> String {
    const ORDER: [&str; 6] = ["m", "r", "w", "a", "k", "l"];
    let known: Vec<&str> = ORDER.into_iter().filter(|letter| letters.contains(letter)).collect();
    let others: Vec<&str> = letters.iter().copied().filter(|letter| !ORDER.contains(letter)).collect();
    if others.iter().all(|other| other.ends_with('x')) {
        // `w` holds `a`, and the two stand in no rule together.
        let append = |letter: &&str| *letter != "a" || !letters.contains("w");
        known.into_iter().filter(append).chain(others).map(printable).collect()
    } else {
        known.into_iter().chain(others).map(printable).collect::<Vec<_>>().join(", ")
    }
}

/// The access that the letters stand for, as recordings have it: one of the ways of writing is enough.
fn access(letters: &BTreeSet<&str>) -> Access {
    let one = |letter: &&str| match *letter {
        "r" => Access::READ,
        "w" => Access::WRITE | Access::APPEND | Access::CREATE | Access::DELETE | Access::SETATTR,
        "a" => Access::APPEND,
        "k" => Access::LOCK,
        "l" => Access::LINK,
        "m" => Access::MAP_EXEC,
        other if other.ends_with('x') => Access::EXEC,
        _ => Access::none(),
    };
    letters.iter().map(one).fold(Access::none(), Access::union)
}

fn about(atoms: &[&Atom], letters: &BTreeSet<&str>) -> About {
    match atoms.first().map(|atom| &atom.grant) {
        Some(Grant::File { path, owner, .. }) => {
            About::Path { path: path.clone(), access: access(letters), owner: *owner }
        }
        Some(Grant::Link { new, existing, .. }) => {
            About::Link { new: new.clone(), existing: existing.clone() }
        }
        Some(Grant::Network { family, socket }) => {
            About::Socket { family: family.clone(), socket: socket.clone() }
        }
        Some(Grant::Capability(Some(name))) => About::Capability(name.clone()),
        _ => About::Nothing,
    }
}

fn judged(atoms: &[&Atom], letters: &BTreeSet<&str>) -> (Risk, String) {
    let Some(atom) = atoms.first() else { return Default::default() };
    match &atom.grant {
        Grant::File { path, .. } => {
            if let Some(way) = letters.iter().find(|letter| letter.eq_ignore_ascii_case("ux")) {
                return (Risk::Critical, format!("{way} executes without confinement"));
            }
            risk::path(path, access(letters))
        }
        Grant::Link { .. } => (Risk::Low, "gives a file another name".into()),
        Grant::Network { family, socket } => risk::socket(family.as_deref(), socket.as_deref()),
        Grant::Capability(name) => risk::capability(name.as_deref()),
        Grant::Signal { peer: None, .. } => (Risk::Medium, "signals to or from any process".into()),
        Grant::Signal { .. } => (Risk::Low, "signals to or from named profiles".into()),
        Grant::Ptrace { letter, peer } => {
            let looks = letter == "read" || letter == "readby";
            match (looks, peer) {
                (true, Some(_)) => (Risk::Low, "sees processes of named profiles".into()),
                _ => (Risk::High, "reads and writes other processes".into()),
            }
        }
        Grant::Class { class, .. } => risk::class(class),
        Grant::Other { takes: true, .. } => (Risk::Medium, "it was a restriction".into()),
        Grant::Other { .. } => (Risk::Medium, "it can't be proven that this gives nothing".into()),
    }
}

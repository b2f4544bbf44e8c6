//! Ring bytes → [`Fact`]. The bytes come from the kernel side, but names in them are the target's choice, and a
//! damaged record must not take the recorder down: every length is checked, nothing panics.

use sandbox_trace_ebpf::{
    Header,
    record::{FilterPart, flag, kind},
};

/// One thing that the target did, as the kernel side saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Who, when, with what outcome.
    pub header: Header,
    /// What.
    pub body: Body,
}

/// What a fact says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A system call with an outcome and arguments that this executable had not had before.
    Call,
    /// The path of the executable with the header's key.
    Executable(Vec<u8>),
    /// An access to the object at this path; for a hard link, the existing name's path.
    File(Vec<u8>, Option<Vec<u8>>),
    /// An operation on names.
    Names {
        /// The first name, where it has one.
        first: Option<Name>,
        /// The second name, where it has one.
        second: Option<Name>,
    },
    /// A successful exec of the image at `path`; for a script, `script` is its own name.
    Exec {
        /// Path of the image that runs.
        path: Vec<u8>,
        /// The script's name.
        script: Option<Name>,
    },
    /// A use of a socket, with the address if it has one, and where a relative socket path starts.
    Network {
        /// The bytes of the `struct sockaddr`.
        address: Vec<u8>,
        /// The directory that a path in the address starts from.
        base: Vec<u8>,
    },
    /// The kernel asked for a capability.
    Capability,
    /// A cgroup was made, at this path below the root of the hierarchy.
    Cgroup(Vec<u8>),
    /// How often the fact with the header's key happened since it was last told.
    Count,
    /// A part of a seccomp filter.
    FilterPart(Vec<u8>),
    /// The seccomp filters of a task, newest first, and whether there are more of them.
    FilterChain(Vec<FilterPart>, bool),
}

/// A string from the target, and the absolute path of the directory that it starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The directory.
    pub base: Vec<u8>,
    /// The string.
    pub name: Vec<u8>,
}

/// Reads one record; `None` if it is not one.
pub fn decode(bytes: &[u8]) -> Option<Fact> {
    let header: Header = bytemuck::try_pod_read_unaligned(bytes.get(..Header::SIZE)?).ok()?;
    let mut rest = Parts { rest: bytes.get(Header::SIZE..)? };
    let lengths = header.args;
    let body = match header.kind {
        kind::CALL => Body::Call,
        kind::CAPABILITY => Body::Capability,
        kind::COUNT => Body::Count,
        kind::EXECUTABLE => Body::Executable(join(rest.rest)?),
        kind::FILE => {
            let [.., target] = lengths;
            let end = rest.rest.len().checked_sub(usize::try_from(target).ok()?)?;
            let (path, target) = rest.rest.split_at_checked(end)?;
            Body::File(join(path)?, (!target.is_empty()).then(|| join(target)).flatten())
        }
        kind::NAMES => {
            let [name1, name2, base1, base2, ..] = lengths;
            let (first, second) = (rest.padded(name1)?, rest.padded(name2)?);
            let (base1, base2) = (rest.exact(base1)?, rest.exact(base2)?);
            let name = |name: &[u8], base: &[u8]| {
                Some(if name.is_empty() && base.is_empty() {
                    None
                } else {
                    Some(Name { base: join(base)?, name: name.to_vec() })
                })
            };
            Body::Names { first: name(first, base1)?, second: name(second, base2)? }
        }
        kind::EXEC => {
            let [name, base, path, ..] = lengths;
            let (name, base, path) = (rest.padded(name)?, rest.exact(base)?, rest.exact(path)?);
            let script = (header.flags & flag::SCRIPT != 0)
                .then(|| Some(Name { base: join(base)?, name: name.to_vec() }));
            Body::Exec { path: join(path)?, script: script.flatten() }
        }
        kind::NETWORK => {
            let [_, _, _, address, base, _] = lengths;
            let (address, base) = (rest.padded(address)?, rest.exact(base)?);
            Body::Network { address: address.to_vec(), base: join(base)? }
        }
        kind::FILTER_PART => Body::FilterPart(rest.rest.to_vec()),
        kind::FILTER_CHAIN => {
            let (parts, odd) = rest.rest.as_chunks::<{ size_of::<FilterPart>() }>();
            let parts = parts.iter().map(|part| bytemuck::pod_read_unaligned(part)).collect();
            let [_, truncated, ..] = lengths;
            odd.is_empty().then_some(Body::FilterChain(parts, truncated != 0))?
        }
        kind::CGROUP => {
            let [_, length, ..] = lengths;
            Body::Cgroup(rest.padded(length)?.to_vec())
        }
        _ => return None,
    };
    Some(Fact { header, body })
}

struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The next `length` bytes.
    fn exact(&mut self, length: u64) -> Option<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(part)
    }

    /// The next `length` bytes and what pads them to whole words.
    fn padded(&mut self, length: u64) -> Option<&'a [u8]> {
        let padded = length.checked_next_multiple_of(8)?;
        self.exact(padded)?.get(..usize::try_from(length).ok()?)
    }
}

/// Components, last first, each ended by a NUL → an absolute path. No component is the root.
fn join(bytes: &[u8]) -> Option<Vec<u8>> {
    let Some(names) = bytes.strip_suffix(&[0]) else {
        return bytes.is_empty().then(|| b"/".to_vec());
    };
    let mut path = Vec::with_capacity(bytes.len());
    for name in names.rsplit(|byte| *byte == 0) {
        if name.is_empty() || name.contains(&b'/') {
            return None;
        }
        path.push(b'/');
        path.extend_from_slice(name);
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: u8, args: [u64; 6]) -> Header {
        Header { kind, args, ..bytemuck::Zeroable::zeroed() }
    }

    fn bytes(header: &Header, body: &[u8]) -> Vec<u8> {
        [bytemuck::bytes_of(header), body].concat()
    }

    #[test]
    fn components_come_last_first() {
        assert_eq!(join(b"").unwrap(), b"/");
        assert_eq!(join(b"c\0b\0a\0").unwrap(), b"/a/b/c");
        assert_eq!(join(b"no end"), None);
        assert_eq!(join(b"a/b\0"), None);
        assert_eq!(join(b"\0"), None);
    }

    #[test]
    fn two_names_with_their_bases() {
        let header = header(kind::NAMES, [3, 9, 4, 0, 0, 0]);
        let fact = decode(&bytes(&header, b"old\0\0\0\0\0/new\n\"nam\0\0\0\0\0\0\0b\0a\0")).unwrap();
        let name = |base: &[u8], name: &[u8]| Some(Name { base: base.into(), name: name.into() });
        assert_eq!(
            fact.body,
            Body::Names { first: name(b"/a/b", b"old"), second: name(b"/", b"/new\n\"nam") }
        );
    }

    #[test]
    fn filters_come_in_parts_and_chains_of_whole_entries() {
        let chain = decode(&bytes(&header(kind::FILTER_CHAIN, [9, 1, 0, 0, 0, 0]), &[1; 32])).unwrap();
        let part = FilterPart { key: 0x0101_0101_0101_0101, at: 0x0101_0101, length: 0x0101_0101 };
        assert_eq!(chain.body, Body::FilterChain(vec![part; 2], true));
        assert_eq!(decode(&bytes(&header(kind::FILTER_CHAIN, [9, 0, 0, 0, 0, 0]), &[1; 31])), None);
        let part = decode(&bytes(&header(kind::FILTER_PART, [9, 0, 0, 0, 0, 0]), b"12345678")).unwrap();
        assert_eq!(part.body, Body::FilterPart(b"12345678".to_vec()));
    }

    #[test]
    fn lengths_beyond_the_record_are_refused() {
        for args in [[u64::MAX, 0, 0, 0, 0, 0], [0, 0, 9, 0, 0, 0], [8, u64::MAX - 7, 0, 0, 0, 0]] {
            assert_eq!(decode(&bytes(&header(kind::NAMES, args), b"12345678")), None, "{args:?}");
        }
        assert_eq!(decode(b"short"), None);
        assert_eq!(decode(&bytes(&header(99, [0; 6]), b"")), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn arbitrary_bodies_never_panic(kind in 0u8..20, args in any::<[u16; 6]>(), body: Vec<u8>) {
            let _ = decode(&bytes(&header(kind, args.map(u64::from)), &body));
        }
    }
}

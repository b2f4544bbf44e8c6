//! The little of a kernel's BTF that the tracer needs, found in one pass over its bytes: a kernel has some 130,000
//! types, and a reader that makes an object of each costs more time than loading all programs, and more memory than
//! all the rest of a recording.
//!
//! Knows the format (Documentation/bpf/btf.rst in the Linux tree) and nothing of which types are wanted.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
/// A chain of qualifiers, typedefs or anonymous members is short; the bound guards against a cycle in a damaged file.
const MAX_DEPTH: u32 = 32;

/// Members that a search may look at: the largest structs have some hundred, with those of the structs in them. The
/// depth alone would let a damaged file, in which a struct is in itself many times over, keep a reader busy for ever.
const MAX_MEMBERS: u32 = 1 << 16;

/// How [`Btf::signature`] writes an integer of any width.
pub const NUMBER: &str = "a number";

/// Kinds of types, as the format numbers them.
mod kind {
    pub const INT: u32 = 1;
    pub const POINTER: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Type information: where each type lies, and the structs by name.
pub struct Btf {
    bytes: Vec<u8>,
    /// Where each type begins, by id; 0 is `void`.
    types: Vec<u32>,
    strings: usize,
    structs: HashMap<Vec<u8>, u32>,
    /// Typedefs and functions that a program attaches by: (id, kind, name).
    anchors: Vec<(u32, u32, Vec<u8>)>,
}

#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    /// Number of members, values or parameters.
    count: usize,
    /// Whether members have a width beside their place.
    bit_fields: bool,
    /// Size in bytes, or the type that this one refers to.
    size_or_id: u32,
}

impl Btf {
    /// Reads type information. Structs are kept if `wanted` has their name, typedefs and functions if `is_anchor`
    /// says so.
    pub fn parse(
        bytes: Vec<u8>,
        wanted: impl Fn(&[u8]) -> bool,
        is_anchor: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, &'static str> {
        const CUT: &str = "the type information ends too early";
        let magic = bytes.first_chunk().map(|magic| u16::from_ne_bytes(*magic)).ok_or(CUT)?;
        if magic != MAGIC {
            return Err("this is no BTF, or that of a machine with another byte order");
        }
        let word = |at: usize| read_u32(&bytes, at).map(|n| n as usize).ok_or(CUT);
        let header = word(4)?;
        let (types_at, types_length) = (header + word(8)?, word(12)?);
        let (strings, strings_length) = (header + word(16)?, word(20)?);
        if bytes.len() < types_at + types_length || bytes.len() < strings + strings_length {
            return Err(CUT);
        }
        let mut btf = Self { bytes, types: vec![0], strings, structs: HashMap::new(), anchors: Vec::new() };
        let mut at = types_at;
        let mut id = 0;
        while at < types_at + types_length {
            id += 1;
            let found = btf.type_at(at).ok_or(CUT)?;
            btf.types.push(u32::try_from(at).map_err(|_| "the type information is too large")?);
            let named = match found.kind {
                kind::STRUCT | kind::TYPEDEF | kind::FUNC => btf.string(found.name).ok_or(CUT)?,
                _ => b"",
            };
            // A forward declaration is a kind of its own; a struct without members is none that is looked for.
            if found.kind == kind::STRUCT && found.size_or_id > 0 && wanted(named) {
                let named = named.to_vec();
                btf.structs.entry(named).or_insert(id);
            } else if matches!(found.kind, kind::TYPEDEF | kind::FUNC) && is_anchor(named) {
                let named = named.to_vec();
                btf.anchors.push((id, found.kind, named));
            }
            at += 12 + found.tail().ok_or("the type information has a kind of type that is not known")?;
        }
        Ok(btf)
    }

    /// The byte offset of `struct.member.member`, looking through anonymous structs and unions.
    pub fn offset(&self, path: &str) -> Option<u32> {
        let mut names = path.split('.');
        let mut current = self.by_id(*self.structs.get(names.next()?.as_bytes())?)?;
        let mut bits: u32 = 0;
        let mut names = names.peekable();
        while let Some(name) = names.next() {
            let mut left = MAX_MEMBERS;
            let (offset, found) = self.member(current, name.as_bytes(), MAX_DEPTH, &mut left)?;
            bits = offset.checked_add(bits)?;
            if names.peek().is_some() {
                current = self.composite(found)?;
            }
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// The id of a struct that was kept.
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.structs.get(name.as_bytes()).copied()
    }

    /// The id of a function that was kept.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let is_it = |(_, kind, found): &&(u32, u32, Vec<u8>)| *kind == kind::FUNC && found == name.as_bytes();
        self.anchors.iter().find(is_it).map(|(id, ..)| *id)
    }

    /// The parameters of a function that was kept, each as [`NUMBER`], or as what it is or points to: the name of a
    /// structure, or the kind of type.
    pub fn signature(&self, function: &str) -> Option<Vec<String>> {
        let proto = self.by_id(self.by_id(self.function_id(function)?)?.size_or_id)?;
        if proto.kind != kind::FUNC_PROTO {
            return None;
        }
        let parameters = (0..proto.count).map(|index| {
            let parameter = read_u32(&self.bytes, proto.at + 12 + index * 8 + 4)?;
            let found = self.plain(parameter)?;
            Some(match found.kind {
                kind::INT | kind::ENUM | kind::ENUM64 => NUMBER.to_owned(),
                kind::POINTER => match self.plain(found.size_or_id) {
                    Some(Type { kind: kind::STRUCT, name, .. }) => {
                        String::from_utf8_lossy(self.string(name)?).into_owned()
                    }
                    _ => "pointer to another type".to_owned(),
                },
                _ => "another type by value".to_owned(),
            })
        });
        parameters.collect()
    }

    /// The type behind an id, without typedefs and qualifiers.
    fn plain(&self, id: u32) -> Option<Type> {
        let mut current = self.by_id(id)?;
        for _ in 0..MAX_DEPTH {
            current = match current.kind {
                kind::TYPEDEF | kind::CONST | kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG => {
                    self.by_id(current.size_or_id)?
                }
                _ => return Some(current),
            };
        }
        None
    }

    /// Type information with nothing but the anchors, each with the id that the kernel knows it by. All other ids
    /// are forward declarations without a name.
    pub fn anchors(&self) -> Vec<u8> {
        const FORWARD: u32 = 7;
        let last = self.anchors.last().map_or(0, |(id, ..)| *id);
        let mut types: Vec<u8> = Vec::with_capacity(last as usize * 12);
        let mut strings = vec![0];
        let mut anchors = self.anchors.iter().peekable();
        for id in 1..=last {
            let (name, info) = match anchors.next_if(|(anchor, ..)| *anchor == id) {
                Some((_, kind, name)) => {
                    let at = u32::try_from(strings.len()).unwrap_or(0);
                    strings.extend_from_slice(name);
                    strings.push(0);
                    (at, kind << 24)
                }
                None => (0, FORWARD << 24),
            };
            for word in [name, info, 0] {
                types.extend_from_slice(&word.to_ne_bytes());
            }
        }
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(24 + types.len() + strings.len());
        out.extend_from_slice(&MAGIC.to_ne_bytes());
        out.extend_from_slice(&[1, 0]);
        for word in [24, 0, length(&types), length(&types), length(&strings)] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.append(&mut types);
        out.append(&mut strings);
        out
    }

    /// The bit offset of a member, and its type. Looks at no more than `left` members.
    fn member(&self, of: Type, name: &[u8], depth: u32, left: &mut u32) -> Option<(u32, u32)> {
        for index in 0..of.count {
            *left = left.checked_sub(1)?;
            let at = of.at + 12 + index * 12;
            let [member_name, member_type, place] =
                [read_u32(&self.bytes, at)?, read_u32(&self.bytes, at + 4)?, read_u32(&self.bytes, at + 8)?];
            let offset = if of.bit_fields { place & 0x00ff_ffff } else { place };
            let member_name = self.string(member_name)?;
            if member_name == name {
                return Some((offset, member_type));
            }
            if member_name.is_empty()
                && depth > 0
                && let Some(inner) = self.composite(member_type)
                && let Some((inner_offset, found)) = self.member(inner, name, depth - 1, left)
            {
                return Some((offset.checked_add(inner_offset)?, found));
            }
        }
        None
    }

    /// The struct or union behind an id, through typedefs and qualifiers.
    fn composite(&self, id: u32) -> Option<Type> {
        self.plain(id).filter(|found| matches!(found.kind, kind::STRUCT | kind::UNION))
    }
    fn by_id(&self, id: u32) -> Option<Type> {
        self.type_at(*self.types.get(id as usize)? as usize)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = read_u32(&self.bytes, at + 4)?;
        Some(Type {
            at,
            name: read_u32(&self.bytes, at)?,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            bit_fields: info >> 31 == 1,
            size_or_id: read_u32(&self.bytes, at + 8)?,
        })
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.bytes.get(self.strings + offset as usize..)?;
        rest.get(..rest.iter().position(|byte| *byte == 0)?)
    }
}

impl Type {
    /// How many bytes follow the twelve that every type has.
    fn tail(self) -> Option<usize> {
        const FORWARD: u32 = 7;
        const FLOAT: u32 = 16;
        Some(match self.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => self.count * 12,
            kind::ENUM | kind::FUNC_PROTO => self.count * 8,
            kind::POINTER
            | FORWARD
            | FLOAT
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::TYPE_TAG => 0,
            _ => return None,
        })
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use sandbox_trace_ebpf::KernelLayout;

    use super::*;

    fn running() -> Vec<u8> {
        std::fs::read(Path::new("/sys/kernel/btf/vmlinux")).unwrap()
    }

    /// btf-rs is the witness: another reader of the same bytes.
    #[test]
    fn every_offset_is_the_one_that_another_reader_finds() {
        fn find(btf: &btf_rs::Btf, of: &btf_rs::Struct, name: &str) -> Option<(u32, Option<btf_rs::Struct>)> {
            for member in &of.members {
                let found = composite(btf, member);
                let own = btf.resolve_name(member).unwrap_or_default();
                if own == name {
                    return Some((member.bit_offset(), found));
                }
                if own.is_empty()
                    && let Some((offset, inner)) = found.and_then(|inner| find(btf, &inner, name))
                {
                    return Some((member.bit_offset() + offset, inner));
                }
            }
            None
        }
        fn composite(btf: &btf_rs::Btf, member: &btf_rs::Member) -> Option<btf_rs::Struct> {
            let mut current = btf.resolve_chained_type(member).ok()?;
            loop {
                current = match current {
                    btf_rs::Type::Struct(s) | btf_rs::Type::Union(s) => return Some(s),
                    btf_rs::Type::Typedef(t) => btf.resolve_chained_type(&t).ok()?,
                    btf_rs::Type::Const(t) | btf_rs::Type::Volatile(t) => {
                        btf.resolve_chained_type(&t).ok()?
                    }
                    _ => return None,
                };
            }
        }
        let bytes = running();
        let witness = btf_rs::Btf::from_bytes(&bytes).unwrap();
        let mut layout = KernelLayout::ZERO;
        let paths: Vec<&str> = layout.offsets().into_iter().map(|(path, _)| path).collect();
        let wanted = |name: &[u8]| paths.iter().any(|p| p.split('.').next().unwrap().as_bytes() == name);
        let btf = Btf::parse(bytes.clone(), wanted, |_| false).unwrap();
        let mut found = 0;
        for path in &paths {
            let mut names = path.split('.');
            let mut current =
                witness.resolve_types_by_name(names.next().unwrap()).unwrap().into_iter().find_map(
                    |t| match t {
                        btf_rs::Type::Struct(s) if s.size() > 0 => Some(s),
                        _ => None,
                    },
                );
            let mut bits = 0;
            let mut all = true;
            for name in names {
                // Not every kernel has every member.
                let Some((offset, inner)) = current.and_then(|of| find(&witness, &of, name)) else {
                    all = false;
                    break;
                };
                bits += offset;
                current = inner;
            }
            assert_eq!(btf.offset(path), all.then_some(bits / 8), "{path}");
            found += usize::from(all);
        }
        assert!(found > 60, "the witness found {found}");
        assert_eq!(btf.offset("task_struct.no_such_member"), None);
        assert_eq!(btf.offset("no_such_struct.member"), None);
    }

    #[test]
    fn anchors_keep_their_ids() {
        let is_anchor = |name: &[u8]| name.starts_with(b"btf_trace_sched_");
        let btf = Btf::parse(running(), |_| false, is_anchor).unwrap();
        assert!(aya::Btf::parse(&btf.anchors(), aya::Endianness::default()).is_ok());
        let anchors = Btf::parse(btf.anchors(), |_| true, |_| true).unwrap().anchors;
        assert_eq!(anchors, btf.anchors);
        let bytes = running();
        let witness = btf_rs::Btf::from_bytes(&bytes).unwrap();
        for name in ["btf_trace_sched_process_exec", "btf_trace_sched_process_exit"] {
            let (id, ..) = anchors.iter().find(|(.., found)| found == name.as_bytes()).unwrap();
            assert!(witness.resolve_ids_by_name(name).unwrap().contains(id), "{name} {id}");
        }
    }

    /// A file in which `s` has `count` members without names, each of which is `s` again, at this bit.
    fn in_itself(count: u32, at: u32) -> Vec<u8> {
        const STRINGS: &[u8] = b"\0s\0";
        let mut types: Vec<u32> = vec![1, kind::STRUCT << 24 | count, 8];
        (0..count).for_each(|_| types.extend([0, 1, at]));
        let size = u32::try_from(types.len() * 4).unwrap();
        let mut out = [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat();
        for word in [24, 0, size, size, 3].into_iter().chain(types) {
            out.extend(word.to_ne_bytes());
        }
        [out.as_slice(), STRINGS].concat()
    }

    #[test]
    fn a_struct_that_is_in_itself_ends_the_search() {
        for (count, at) in [(1, 8), (2, 0), (1000, u32::MAX)] {
            let btf = Btf::parse(in_itself(count, at), |_| true, |_| true).unwrap();
            assert!(btf.struct_id("s").is_some());
            assert_eq!(btf.offset("s.missing"), None);
        }
        // Its own first member, without a name: each step adds what the file says until it is no number any more.
        let btf = Btf::parse(in_itself(1, u32::MAX), |_| true, |_| true).unwrap();
        assert_eq!(btf.offset("s.."), None);
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(cut in 0usize..4096, at in 0usize..4096, value: u8) {
            let mut bytes = running();
            bytes.truncate(4096 + cut);
            bytes[at] = value;
            if let Ok(btf) = Btf::parse(bytes, |_| true, |_| true) {
                let _ = (btf.offset("task_struct.mm"), btf.anchors());
            }
        }
    }
}

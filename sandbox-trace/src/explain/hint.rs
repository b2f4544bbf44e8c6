//! What the profile allows in the place of a call that it denied, found by asking the profile itself. Pure.

use super::call::{self, Kind, family};
use crate::{
    linux,
    seccomp::{
        arch::Arch,
        bpf::{Call, Program},
    },
};

/// Most values that one line names.
const MOST: usize = 6;

/// One sentence about a denied call; `nr` is without the x32 bit.
pub fn hint(program: &Program, arch: Arch, nr: u32, args: &[u64; 6]) -> String {
    let name = call::name(arch, nr);
    let asked = Call { nr: arch.number(nr), arch: arch.audit(), args: args.map(Some) };
    let any = Call { args: [None; 6], ..asked };
    if program.outcome(&any).never_goes_on() {
        let whole = Call { arch: Arch::X8664.audit(), ..any };
        if arch != Arch::X8664 && name != format!("syscall_{nr}") && !program.outcome(&whole).never_goes_on()
        {
            return format!("the profile does not allow {name} on {}", arch.name());
        }
        return format!("the profile does not allow {name}");
    }
    let mut found = Vec::new();
    for (index, kind) in call::kinds(&name).unwrap_or_default().iter().enumerate() {
        for (value, shown) in values(*kind) {
            let mut other = asked;
            if let Some(slot) = other.args.get_mut(index) {
                *slot = Some(value);
            }
            if program.outcome(&other).always_goes_on() {
                found.push(shown);
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    if found.is_empty() {
        return format!("the profile allows {name} with other arguments");
    }
    let more = found.len() > MOST;
    found.truncate(MOST);
    format!("the profile allows {}{}", found.join(", "), if more { ", …" } else { "" })
}

/// The values of an argument that have names.
fn values(kind: Kind) -> Vec<(u64, String)> {
    match kind {
        Kind::Family => linux::families().map(|number| (u64::from(number), family(number.into()))).collect(),
        Kind::One(table) => table.iter().map(|(value, name)| (*value, (*name).to_owned())).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{compile::compile, profile};

    #[test]
    fn what_is_allowed_instead_is_named() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]},
            {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":21505,"op":"SCMP_CMP_EQ"}]}]}"#;
        let program = compile(&profile::from_json(json.as_bytes(), "p").unwrap(), true).unwrap().program;
        let hint = |nr, args: [u64; 6]| hint(&program, Arch::X8664, nr, &args);
        assert_eq!(hint(41, [16, 3, 0, 0, 0, 0]), "the profile allows AF_UNIX, AF_INET");
        assert_eq!(hint(16, [0, 0x5412, 0, 0, 0, 0]), "the profile allows TCGETS");
        assert_eq!(hint(165, [0; 6]), "the profile does not allow mount");
        assert_eq!(hint(56, [0x1000_0000, 0, 0, 0, 0, 0]), "the profile allows clone with other arguments");
    }
}

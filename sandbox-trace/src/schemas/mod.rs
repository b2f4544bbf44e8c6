//! The published JSON schemas (`docs/schemas/`), derived from the types that are written and read. `cargo xtask schemas`
//! writes them, and a test holds the files against what is made here.
//!
//! What a schema says that a type does not (a path's escapes, the words that a string may be, that a complete recording lost
//! nothing) stands as an attribute at the type or field that it is about. Here is what several of them share: the list
//! of schemas, kinds of text, attributes that schemars lacks, and the form.

pub(crate) mod keywords;
mod print;
pub mod text;
mod tidy;

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};

use crate::{cli, diff::print as diff, doctor, recording, refresh, verify::attacks};

/// Where the files are published.
const AT: &str = "https://github.com/sandbox-trace/sandbox-trace/raw/main/docs/schemas/";

/// Whether a key may be absent is another question for what is written now and for what is read, from any version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Written,
    Read,
}

/// A published schema.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// What it is of, as in `sandbox-trace/NAME/v1`.
    pub name: &'static str,
    title: &'static str,
    /// What a reader must know before the keys.
    description: &'static str,
    side: Side,
    make: fn(SchemaGenerator) -> Schema,
}

/// All of them. `bench` has a schema too, which is written by hand: what it describes is no output of this program.
pub static ALL: [Published; 10] = [
    Published {
        name: "attacks",
        title: "A list of attacks for sandbox-trace verify --must-deny, version 1",
        description: "What files must deny. docs/verify.md explains it.",
        side: Side::Read,
        make: SchemaGenerator::into_root_schema_for::<attacks::RawList>,
    },
    Published {
        name: "audit",
        title: "The report of sandbox-trace audit --json, version 1",
        description: "What stands open. The exit code is 1 if a finding is at or above --fail-on, else 0.",
        side: Side::Written,
        make: SchemaGenerator::into_root_schema_for::<cli::AuditJson<'static>>,
    },
    Published {
        name: "diff",
        title: "The differences of sandbox-trace diff --json, version 1",
        description: "What a new recording or profile allows that the old one did not. The exit code is 1 if widened is \
                      true, else 0.",
        side: Side::Written,
        make: SchemaGenerator::into_root_schema_for::<diff::Json<'static>>,
    },
    Published {
        name: "doctor",
        title: "The checks of sandbox-trace doctor --json, version 1",
        description: "What a host can do. The exit code says the same as can_record: 0 if true, 5 if false.",
        side: Side::Written,
        make: SchemaGenerator::into_root_schema_for::<doctor::Report>,
    },
    Published {
        name: "probe",
        title: "The checks of sandbox-trace probe --json, version 1",
        description: "What a container's confinement stopped. The exit code is 1 if a boundary is open, else 0.",
        side: Side::Written,
        make: SchemaGenerator::into_root_schema_for::<cli::ProbeJson<'static>>,
    },
    Published {
        name: "recording",
        title: "A recording of sandbox-trace, version 1",
        description: "What a target did. docs/recording.md says what each key means. All times are milliseconds since the \
                      recording started. Keys that are not named here may come within version 1; none that is named goes. \
                      A key with a default came within version 1: older recordings lack it.",
        side: Side::Read,
        make: SchemaGenerator::into_root_schema_for::<recording::Recording>,
    },
    Published {
        name: "refresh",
        title: "The outcome of sandbox-trace refresh --json, version 1",
        description: "What new recordings make of a workload's profiles. The exit code is 1 for the verdicts tampered, failed \
                      and widened, 3 for unproven, else 0.",
        side: Side::Written,
        make: SchemaGenerator::into_root_schema_for::<refresh::Outcome>,
    },
    Published {
        name: "stale",
        title: "What recent runs no longer needed, version 1",
        description: "What `merge --stale --json` prints. Keys that are not named here may come within version 1.",
        side: Side::Written,
        make: SchemaGenerator::into_root_schema_for::<recording::Stale>,
    },
    Published {
        name: "verify",
        title: "The verdicts of sandbox-trace verify --json, version 1",
        description: "What files would block of what recordings need, and which attacks they deny. The exit code says the \
                      same: 1 if something is blocked or an attack is open, else 3 if something is unproven, else 0.",
        side: Side::Written,
        make: SchemaGenerator::into_root_schema_for::<cli::VerifyJson<'static>>,
    },
    Published {
        name: "width",
        title: "The counts of sandbox-trace width --json, version 1",
        description: "How much profiles admit, beside what recordings used. files, network and capabilities are there if an \
                      AppArmor profile was named, syscalls if a seccomp profile was. What was used is null without \
                      recordings. The exit code is 3 if unread_count is not 0.",
        side: Side::Written,
        make: SchemaGenerator::into_root_schema_for::<cli::WidthJson<'static>>,
    },
];

impl Published {
    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}-v1.json", self.name)
    }

    /// The text of its file.
    pub fn text(&self) -> String {
        let settings = SchemaSettings::draft2020_12();
        let settings = match self.side {
            Side::Written => settings.for_serialize().with_transform(tidy::no_defaults()),
            Side::Read => settings.for_deserialize(),
        };
        let mut schema = (self.make)(settings.with_transform(tidy::all()).into_generator());
        schema.insert("$id".into(), format!("{AT}{}", self.file_name()).into());
        schema.insert("title".into(), self.title.into());
        schema.insert("description".into(), self.description.into());
        print::text(schema.as_value())
    }
}

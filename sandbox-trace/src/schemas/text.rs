//! Kinds of text that several formats have, each with the pattern that it keeps to. They are named in attributes of fields that
//! are plain strings in the program: `#[schemars(with = "Sha256")]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// The schema of a text with a pattern.
pub(crate) fn of(pattern: &str, description: &str) -> Schema {
    json_schema!({ "type": "string", "pattern": pattern, "description": description })
}

macro_rules! kinds {
    ($(#[doc = $description:literal] $name:ident: $pattern:literal;)*) => {$(
        #[doc = $description]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                of($pattern, $description.trim())
            }
        }
    )*};
}

kinds! {
    /// A time as RFC 3339 writes it, in UTC.
    Time: r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z$";
    /// A day, as YYYY-MM-DD.
    Day: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$";
    /// A SHA-256, in hexadecimal.
    Sha256: "^[0-9a-f]{64}$";
    /// A build id, in hexadecimal.
    BuildId: "^(?:[0-9a-f]{2}){1,64}$";
    /// An error's name.
    Errno: "^(?:E[A-Z0-9]+|errno_[0-9]+)$";
    /// What a filter answers: an error's name, or how it ended the caller.
    Answer: "^(?:E[A-Z0-9]+|errno_[0-9]+|SIGSYS|killed)$";
    /// A capability, as the kernel's headers name it.
    CapabilityName: "^CAP_[A-Z_]+$";
    /// The position of a system call's argument.
    ArgumentPosition: "^[0-5]$";
    /// Text without control characters: what is not printable is escaped, as in a recording.
    Shown: r"^[^\u0000-\u001f\u007f-\u009f]*$";
}

//! What is done to every derived schema, at any depth.

use schemars::{
    Schema,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;

use super::keywords::not_null;

/// All of it, one after the other.
pub fn all() -> impl Transform + Clone + Send + 'static {
    RecursiveTransform(|schema: &mut Schema| {
        bounds(schema);
        absent_is_never_null(schema);
        sentences(schema);
    })
}

/// Takes away what stands for a key that is absent: of what is always written.
pub fn no_defaults() -> impl Transform + Clone + Send + 'static {
    RecursiveTransform(|schema: &mut Schema| {
        schema.remove("default");
    })
}

/// Says as numbers what a number may be. The names that schemars writes for it are its own, and no validator knows them.
fn bounds(schema: &mut Schema) {
    let Some(Value::String(format)) = schema.remove("format") else { return };
    let (least, most): (Value, Value) = match format.as_str() {
        "uint8" => (0.into(), u8::MAX.into()),
        "uint16" => (0.into(), u16::MAX.into()),
        "uint32" => (0.into(), u32::MAX.into()),
        "uint64" | "uint" => (0.into(), u64::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" | "int" => (i64::MIN.into(), i64::MAX.into()),
        _ => return,
    };
    let keywords = schema.ensure_object();
    keywords.entry("minimum").or_insert(least);
    keywords.entry("maximum").or_insert(most);
}

/// A key is either always there, and then may be null, or absent: a type can't say which, `Option` is both.
fn absent_is_never_null(schema: &mut Schema) {
    let required: Vec<Value> = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (_, value) in properties.iter_mut().filter(|(name, _)| !required.iter().any(|one| one == *name)) {
            not_null(value);
        }
    }
}

/// Makes a description of what was written for rustdoc: no links, and no line breaks but between paragraphs.
fn sentences(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        let paragraphs = text.split("\n\n").map(|one| one.split_whitespace().collect::<Vec<_>>().join(" "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n").replace("[`", "`").replace("`]", "`");
    }
}

#[cfg(test)]
mod tests {
    use schemars::json_schema;
    use serde_json::json;

    use super::*;

    fn tidied(mut schema: Schema) -> Value {
        all().transform(&mut schema);
        schema.to_value()
    }

    #[test]
    fn numbers_have_bounds_and_keep_their_own() {
        let number =
            |format: &str| tidied(json_schema!({ "type": "integer", "format": format, "minimum": 1 }));
        let expected = json!({ "type": "integer", "minimum": 1, "maximum": u64::MAX });
        assert_eq!((number("uint64"), number("uint")), (expected.clone(), expected));
        assert_eq!(number("uint16")["maximum"], 65535);
        assert_eq!(
            tidied(json_schema!({ "type": "number", "format": "double" })),
            json!({ "type": "number" })
        );
    }

    #[test]
    fn only_a_key_that_is_always_there_may_be_null() {
        let schema = tidied(json_schema!({
            "properties": {
                "always": { "type": ["string", "null"] },
                "text": { "type": ["string", "null"], "description": "Text." },
                "word": { "type": ["string", "null"], "enum": ["a", null] },
                "shared": { "anyOf": [{ "$ref": "#/$defs/x" }, { "type": "null" }], "description": "Shared." },
            },
            "required": ["always"],
        }));
        let expected = json!({
            "always": { "type": ["string", "null"] },
            "text": { "type": "string", "description": "Text." },
            "word": { "type": "string", "enum": ["a"] },
            "shared": { "$ref": "#/$defs/x", "description": "Shared." },
        });
        assert_eq!(schema["properties"], expected);
    }

    #[test]
    fn descriptions_are_sentences() {
        let schema = tidied(json_schema!({ "description": "See [`Access`] of\nfiles.\n\nAnd `[a]`." }));
        assert_eq!(schema["description"], "See `Access` of files.\n\nAnd `[a]`.");
    }
}

//! The text of a schema: what it is about first, what it refers to last, and all between by name, so that it depends on no
//! order of a map.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// What an object begins with.
const FIRST: [&str; 5] = ["$schema", "$id", "title", "description", "type"];
/// What it ends with.
const LAST: &str = "$defs";

/// Keywords whose objects have names of others' choice as keys.
const NAMES: [&str; 3] = ["properties", "patternProperties", "$defs"];

/// The text, with a line break at its end.
pub fn text(schema: &Value) -> String {
    // Keys are strings and numbers are numbers: nothing can fail.
    let mut text = serde_json::to_string_pretty(&Ordered(schema, false)).unwrap_or_default();
    text.push('\n');
    text
}

/// A value, and whether its keys are names.
struct Ordered<'a>(&'a Value, bool);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value, are_names) = *self;
        match value {
            Value::Object(map) => {
                let mut entries: Vec<(&String, &Value)> = map.iter().collect();
                entries.sort_by_key(|(name, _)| {
                    let first = FIRST.iter().position(|one| one == name).unwrap_or(FIRST.len());
                    if are_names { (false, 0, *name) } else { (*name == LAST, first, *name) }
                });
                let is_of_names = |keyword: &str| !are_names && NAMES.contains(&keyword);
                serializer.collect_map(
                    entries.into_iter().map(|(name, one)| (name, Ordered(one, is_of_names(name)))),
                )
            }
            Value::Array(list) => serializer.collect_seq(list.iter().map(|one| Ordered(one, false))),
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_it_is_about_comes_first() {
        let schema = json!({ "$defs": {}, "required": ["b", "a"], "description": "D.", "anyOf": [{ "type": "null" }], "title": "T" });
        let lines = text(&schema);
        let keys: Vec<&str> = lines.lines().filter(|line| line.starts_with("  \"")).map(str::trim).collect();
        let starts = ["\"title\"", "\"description\"", "\"anyOf\"", "\"required\"", "\"$defs\""];
        assert_eq!(keys.len(), starts.len());
        assert!(keys.iter().zip(starts).all(|(key, start)| key.starts_with(start)), "{lines}");
        assert!(lines.ends_with("}\n"));
    }

    #[test]
    fn names_are_by_name() {
        let lines = text(&json!({ "properties": { "type": { "$ref": "#", "description": "D." }, "a": {} } }));
        let at = |what: &str| lines.find(what).unwrap();
        assert!(at("\"a\"") < at("\"type\"") && at("\"description\"") < at("\"$ref\""), "{lines}");
    }
}

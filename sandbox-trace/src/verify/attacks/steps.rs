//! The schema of an attack's step: the program reads all kinds of steps as one type, of which each has but some keys.

use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::schemas::keywords::not_null;

/// The kinds of steps: the keys that each must have, the first of which names it, and those that it may have.
const KINDS: [(&[&str], &[&str]); 6] = [
    (&["call"], &["args", "arch"]),
    (&["file", "access"], &[]),
    (&["capability"], &["in_user_namespace"]),
    (&["socket"], &["type"]),
    (&["mount"], &["source", "fstype", "flags"]),
    (&["umount"], &[]),
];

/// Makes the schema of the one type into one for each kind.
pub fn by_kind(schema: &mut Schema) {
    let Some(Value::Object(keys)) = schema.remove("properties") else { return };
    let kinds = KINDS.iter().map(|(needed, others)| {
        let own = keys.iter().filter(|(key, _)| needed.iter().chain(*others).any(|own| own == key));
        let mut own: Map<String, Value> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
        own.values_mut().for_each(not_null);
        json!({ "type": "object", "properties": own, "required": needed, "additionalProperties": false })
    });
    let kinds: Vec<Value> = kinds.collect();
    schema.remove("type");
    schema.remove("additionalProperties");
    schema.insert("oneOf".into(), kinds.into());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemars::{JsonSchema as _, SchemaGenerator};

    use super::{super::RawStep, *};

    #[test]
    fn every_key_of_a_step_is_one_kinds() {
        let schema = RawStep::json_schema(&mut SchemaGenerator::default());
        let kinds = schema.get("oneOf").and_then(Value::as_array).unwrap();
        let keys: Vec<&String> =
            kinds.iter().flat_map(|kind| kind["properties"].as_object().unwrap().keys()).collect();
        // As many as the type has fields, and none twice.
        assert_eq!((keys.len(), keys.iter().collect::<BTreeSet<_>>().len()), (14, 14), "{keys:?}");
        assert_eq!(KINDS.iter().map(|(needed, others)| needed.len() + others.len()).sum::<usize>(), 14);
    }
}

//! Attributes that schemars has none for: `#[schemars(transform = each(json!({ "enum": [...] })))]`.

use schemars::Schema;
use serde_json::{Map, Value};

/// Adds keywords to the schema of a list's items.
pub fn each(keywords: Value) -> impl FnMut(&mut Schema) {
    move |schema| {
        if let (Some(Value::Object(items)), Value::Object(keywords)) = (schema.get_mut("items"), &keywords) {
            items.extend(keywords.clone());
        }
    }
}

/// Allows no other keys of a map than these.
pub fn keys(names: impl IntoIterator<Item = &'static str>) -> impl FnMut(&mut Schema) {
    let names: Vec<&str> = names.into_iter().collect();
    move |schema| {
        if let Some(value) = schema.insert("additionalProperties".into(), false.into()) {
            let named: Map<String, Value> =
                names.iter().map(|name| ((*name).to_owned(), value.clone())).collect();
            schema.insert("properties".into(), named.into());
        }
    }
}

/// Takes `null` from what a value may be.
pub fn not_null(schema: &mut Value) {
    let Some(keywords) = schema.as_object_mut() else { return };
    let is_null = |value: &Value| value == "null" || value.is_null() || value["type"] == "null";
    if let Some(Value::Array(types)) = keywords.get_mut("type") {
        types.retain(|one| !is_null(one));
        if let [one] = types.as_slice() {
            let one = one.clone();
            keywords.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(words)) = keywords.get_mut("enum") {
        words.retain(|one| !is_null(one));
    }
    // A schema that is shared stands beside one of null.
    if let Some(Value::Array(choices)) = keywords.get_mut("anyOf") {
        choices.retain(|one| !is_null(one));
        if let [Value::Object(one)] = choices.as_slice() {
            let one = one.clone();
            keywords.remove("anyOf");
            for (keyword, value) in one {
                keywords.entry(keyword).or_insert(value);
            }
        }
    }
}

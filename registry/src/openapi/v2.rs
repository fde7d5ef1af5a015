//! OpenAPI v2 out of v3: one document for all groups, in which parameters, bodies and answers are written in other ways.
//!
//! Version 2 knows no alternatives (`oneOf`), so what may be a number or a text is a text with a format.

use serde_json::{Map, Value, json};

/// Makes the document of everything that the documents of version 3 hold.
pub(super) fn document(documents: impl Iterator<Item = Vec<u8>>) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for text in documents {
        let mut document: Value = serde_json::from_slice(&text).expect("the text was written here");
        for (path, item) in taken(&mut document, "/paths") {
            paths.insert(path, path_item(item));
        }
        for (name, schema) in taken(&mut document, "/components/schemas") {
            definitions.entry(name).or_insert_with(|| schema_of(schema));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths,
        "definitions": definitions,
    })
}

fn taken(document: &mut Value, pointer: &str) -> Map<String, Value> {
    match document.pointer_mut(pointer).map(Value::take) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let members = item.into_iter().map(|(member, value)| match member.as_str() {
        "parameters" => (member, parameters(value)),
        _ => (member, operation(value)),
    });
    Value::Object(members.collect())
}

fn operation(operation: Value) -> Value {
    let Value::Object(mut operation) = operation else { return operation };
    let mut parameters = parameters(operation.remove("parameters").unwrap_or_default());
    let consumes = match operation.remove("requestBody") {
        Some(body) => {
            let (types, schema) = content(body["content"].clone());
            let required = body["required"] == true;
            let body = json!({"name": "body", "in": "body", "required": required, "schema": schema});
            if let Value::Array(parameters) = &mut parameters {
                parameters.push(body);
            }
            types
        }
        None => vec!["*/*".into()],
    };
    let mut produces = Vec::new();
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        for response in responses.values_mut() {
            let (types, schema) = content(response["content"].take());
            if let Value::Object(response) = response {
                response.remove("content");
                if !schema.is_null() {
                    response.insert("schema".into(), schema);
                }
            }
            produces = if types.is_empty() { produces } else { types };
        }
    }
    operation.insert("parameters".into(), parameters);
    operation.insert("consumes".into(), consumes.into());
    operation.insert("produces".into(), produces.into());
    operation.insert("schemes".into(), json!(["https"]));
    Value::Object(operation)
}

/// The media types and the schema of a content.
fn content(content: Value) -> (Vec<Value>, Value) {
    let Value::Object(content) = content else { return (Vec::new(), Value::Null) };
    let mut schema = Value::Null;
    let mut types = Vec::new();
    for (media_type, mut form) in content {
        types.push(media_type.into());
        schema = form["schema"].take();
    }
    (types, schema_of(schema))
}

/// Parameters have their type beside their name, and no schema.
fn parameters(parameters: Value) -> Value {
    let Value::Array(parameters) = parameters else { return json!([]) };
    let flat = parameters.into_iter().map(|parameter| {
        let Value::Object(mut parameter) = parameter else { return parameter };
        if let Some(Value::Object(schema)) = parameter.remove("schema") {
            parameter.extend(schema);
        }
        Value::Object(parameter)
    });
    Value::Array(flat.collect())
}

/// Returns whether one alternative is a text, and all are plain: then a text says it all.
fn are_text(alternatives: &Value) -> bool {
    let types = || alternatives.as_array().into_iter().flatten().map(|one| one["type"].as_str());
    types().any(|one| one == Some("string"))
        && types().all(|one| matches!(one, Some("string" | "number" | "integer")))
}

fn schema_of(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    if let Some(alternatives) = schema.remove("oneOf") {
        // What else may be something or something else is anything.
        if are_text(&alternatives) {
            schema.insert("type".into(), "string".into());
        }
    }
    for unknown in ["anyOf", "not"] {
        schema.remove(unknown);
    }
    // Clients refuse what is there besides: null is of no type, and of unknown members nothing is known.
    let is = |name: &str| schema.get(name) == Some(&Value::Bool(true));
    if is("nullable") || is("x-kubernetes-preserve-unknown-fields") {
        for known in ["nullable", "type", "items", "properties"] {
            schema.remove(known);
        }
    }
    // What is referred to beside other members is wrapped; version 2 lets them stand side by side.
    if let Some(Value::Array(all)) = schema.remove("allOf")
        && let [Value::Object(only)] = &all[..]
        && let Some(reference) = only.get("$ref")
    {
        schema.remove("default");
        schema.insert("$ref".into(), reference.clone());
    }
    let members = schema.into_iter().map(|(member, value)| match (member.as_str(), value) {
        ("$ref", Value::String(text)) => {
            (member, text.replace("#/components/schemas/", "#/definitions/").into())
        }
        ("properties", Value::Object(properties)) => {
            let properties = properties.into_iter().map(|(name, schema)| (name, schema_of(schema)));
            (member, Value::Object(properties.collect()))
        }
        ("items" | "additionalProperties", value) => (member, schema_of(value)),
        (_, value) => (member, value),
    });
    Value::Object(members.collect())
}

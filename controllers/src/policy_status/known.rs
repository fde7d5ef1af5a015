//! What expressions know beside the objects of a policy's kinds: the request, the namespace, authorizers, functions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::types::Type;

pub(super) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(super) const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";
const PATH: &str = "kubernetes.authorization.PathCheck";
const GROUP: &str = "kubernetes.authorization.GroupCheck";
const DECISION: &str = "kubernetes.authorization.Decision";

/// The schema of the variable `request`.
pub(super) fn request() -> Value {
    let text = json!({"type": "string"});
    let object = |fields: Value| json!({"type": "object", "properties": fields});
    let kind = object(json!({"group": text, "version": text, "kind": text}));
    let resource = object(json!({"group": text, "version": text, "resource": text}));
    let texts = json!({"type": "array", "items": text});
    object(json!({
        "kind": kind, "resource": resource, "subResource": text,
        "requestKind": kind, "requestResource": resource, "requestSubResource": text,
        "name": text, "namespace": text, "operation": text, "dryRun": {"type": "boolean"},
        "userInfo": object(json!({
            "username": text, "uid": text, "groups": texts,
            "extra": {"type": "object", "additionalProperties": texts},
        })),
        "options": {},
    }))
}

/// The schema of the variable `namespaceObject`: no more of the namespace's metadata than expressions get to see.
pub(super) fn namespace() -> Value {
    let (text, number) = (json!({"type": "string"}), json!({"type": "integer"}));
    let (texts, of_texts) =
        (json!({"type": "array", "items": text}), json!({"type": "object", "additionalProperties": text}));
    let object = |fields: Value| json!({"type": "object", "properties": fields});
    object(json!({
        "apiVersion": text, "kind": text,
        "metadata": object(json!({
            "name": text, "generateName": text, "namespace": text, "uid": text, "resourceVersion": text,
            "selfLink": text, "labels": of_texts, "annotations": of_texts, "finalizers": texts,
            "generation": number, "deletionGracePeriodSeconds": number,
            "creationTimestamp": {}, "deletionTimestamp": {},
        })),
        "spec": object(json!({"finalizers": texts})),
        "status": object(json!({"phase": text, "conditions": {}})),
    }))
}

/// What a function of the variable `authorizer`, or of what that returns, comes to; absent if there is none.
pub(super) fn question(of: &str, function: &str) -> Option<Type<'static>> {
    Some(match (of, function) {
        (AUTHORIZER, "path") => Type::Question(PATH),
        (AUTHORIZER, "group") => Type::Question(GROUP),
        (AUTHORIZER, "serviceAccount") => Type::Question(AUTHORIZER),
        (GROUP, "resource") => Type::Question(RESOURCE),
        (RESOURCE, "subresource" | "namespace" | "name" | "fieldSelector" | "labelSelector") => {
            Type::Question(RESOURCE)
        }
        (PATH | RESOURCE, "check") => Type::Question(DECISION),
        (DECISION, "allowed" | "errored") => Type::Bool,
        (DECISION, "reason" | "error") => Type::Text,
        _ => return None,
    })
}

/// What a function returns that is called on, or with, a value of this type first.
pub(super) fn result<'d>(function: &str, first: &Type<'d>) -> Type<'d> {
    match function {
        "bool" | "contains" | "containsCIDR" | "containsIP" | "endsWith" | "hasValue" | "isCIDR"
        | "isGreaterThan" | "isIP" | "isInteger" | "isLessThan" | "isQuantity" | "isSemver" | "isSorted"
        | "isURL" | "matches" | "startsWith" => Type::Bool,
        "compareTo" | "indexOf" | "int" | "lastIndexOf" | "size" => Type::Int,
        "double" => Type::Double,
        "uint" => Type::Uint,
        "charAt" | "find" | "format" | "join" | "lowerAscii" | "replace" | "string" | "substring"
        | "trim" | "upperAscii" => Type::Text,
        "findAll" | "split" => Type::List(Arc::new(Type::Text)),
        // Lists of the same elements, whatever their order.
        "distinct" | "slice" | "sort" if matches!(first, Type::List(_)) => first.clone(),
        // What may be absent is taken for what it is if it is not.
        "optional.of" | "optional.ofNonZeroValue" | "value" => first.clone(),
        _ => Type::Unknown,
    }
}

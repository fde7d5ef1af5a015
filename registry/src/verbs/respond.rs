//! Writing answers, in the form that the client accepts.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;

use super::Call;
use crate::body::Body;
use crate::negotiate::{Encoding, Form, Shape, is_pretty, plain_form};
use crate::object::Object;
use crate::resource::Resource;
use crate::schema;
use crate::status::{Result, Status};
use crate::table::{self, IncludeObject, TableOptions};
use crate::write::Written;

/// Answers with text of a media type.
pub(super) fn text(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Answers that there is no such path, as the router of upstream does: in text.
pub(crate) fn no_such_page() -> Response<Body> {
    let mut answer =
        text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", Body::full("404 page not found\n"));
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// Answers with a stored object.
pub(super) fn object(call: &Call, form: Form, code: StatusCode, object: &Object) -> Result<Response<Body>> {
    if form.is_plain() && call.resource.is_stored_form() {
        return Ok(text(code, form.content_type(), Body::full(object.single())));
    }
    value(call, form, code, &call.resource.value_of(object))
}

/// Answers with an object of the call's kind.
pub(super) fn value(call: &Call, form: Form, code: StatusCode, object: &Value) -> Result<Response<Body>> {
    let written = shaped(&call.resource, form, object, call.registry.clock.now(), true)?;
    Ok(text(code, form.content_type(), Body::full(written)))
}

/// Writes an object of a kind. A table says what its columns are if `with_definitions`.
pub(super) fn shaped(
    resource: &Resource,
    form: Form,
    object: &Value,
    now: Timestamp,
    with_definitions: bool,
) -> Result<Bytes> {
    match form.shape {
        Shape::Object if form.encoding == Encoding::Protobuf => {
            schema::encode_protobuf(&resource.structure, object).map(Bytes::from).map_err(Status::internal)
        }
        Shape::Object => encode(form, object),
        Shape::Table(version, include_object) => {
            let options = TableOptions { version, include_object, with_definitions, now };
            encode(form, &table::object_table(&resource.columns, object, &options))
        }
        Shape::Metadata(version) | Shape::MetadataList(version) => {
            metadata_only(form, &table::partial_object_metadata(object, version))
        }
    }
}

/// Writes `PartialObjectMetadata` or its list.
fn metadata_only(form: Form, partial: &Value) -> Result<Bytes> {
    if form.encoding == Encoding::Protobuf {
        return schema::encode_protobuf_metadata(partial).map(Bytes::from).map_err(Status::internal);
    }
    encode(form, partial)
}

/// Answers with an object that is of no kind of the tables' own shapes, such as a Scale or a Status.
pub(super) fn other(call: &Call, code: StatusCode, object: &Value) -> Result<Response<Body>> {
    let pretty = is_pretty(&call.headers, &call.query);
    // Statuses and Scales have no tables and no metadata form: whoever accepts those alone gets plain JSON.
    let json = Form { encoding: Encoding::Json, shape: Shape::Object, pretty };
    document(code, plain_form(&call.headers, &call.query).unwrap_or(json), object)
}

/// Answers with an object whose kind the tables know by its name, such as a Status or a list of groups.
///
/// # Errors
///
/// 406 for protobuf of a kind that has none.
pub(crate) fn document(code: StatusCode, form: Form, object: &Value) -> Result<Response<Body>> {
    let written = match form.encoding {
        Encoding::Protobuf => protobuf(object)?,
        _ => encode(form, object)?,
    };
    Ok(text(code, form.content_type(), Body::full(written)))
}

/// Writes an object as protobuf by the table of the kind that it says it is of.
pub(super) fn protobuf(object: &Value) -> Result<Bytes> {
    let member = |name: &str| object[name].as_str().unwrap_or_default();
    let (group, version) = member("apiVersion").rsplit_once('/').unwrap_or(("", member("apiVersion")));
    let structure = schema::builtin(group, version, member("kind")).ok_or_else(no_protobuf)?;
    schema::encode_protobuf(structure, object).map(Bytes::from).map_err(Status::internal)
}

fn no_protobuf() -> Status {
    Status::not_acceptable("only the following media types are accepted: application/json, application/yaml")
}

/// Answers with a `Status` that refuses the request.
pub(super) fn refusal(status: &Status, encoding: Encoding, pretty: bool) -> Response<Body> {
    let form = Form { encoding, shape: Shape::Object, pretty };
    let Ok(mut response) = document(status.code, form, &status.object()) else {
        return status.clone().into_response();
    };
    if let Some(seconds) = status.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Writes a JSON value as JSON or YAML.
pub(super) fn encode(form: Form, value: &Value) -> Result<Bytes> {
    let written = match form.encoding {
        Encoding::Yaml => serde_saphyr::to_string(value).map(String::into_bytes).map_err(Status::internal)?,
        Encoding::Json if form.pretty => {
            let mut text = serde_json::to_vec_pretty(value).map_err(Status::internal)?;
            text.push(b'\n');
            text
        }
        Encoding::Json => serde_json::to_vec(value).map_err(Status::internal)?,
        Encoding::Protobuf => return Err(no_protobuf()),
    };
    Ok(written.into())
}

/// Answers with an object after a write.
pub(super) fn written(
    call: &Call,
    form: Form,
    written: &Written,
    warnings: &[String],
) -> Result<Response<Body>> {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = match &written.object {
        Some(stored) => object(call, form, code, stored)?,
        None => value(call, form, code, &written.value)?,
    };
    warn(response.headers_mut(), warnings);
    if call.subresource.is_none() {
        warn(response.headers_mut(), &call.resource.strategy.warnings(&written.value));
    }
    Ok(response)
}

/// Adds `Warning` headers.
pub(super) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            headers.append(header::WARNING, value);
        }
    }
}

/// The metadata of a list. Those of custom objects say that they do not go on; tables and lists of metadata do not.
pub(super) fn list_metadata(
    resource: &Resource,
    shape: Shape,
    revision: u64,
    token: Option<&str>,
    remaining: Option<usize>,
) -> Value {
    let mut metadata = serde_json::json!({"resourceVersion": revision.to_string()});
    if resource.custom.is_some() && shape == Shape::Object {
        metadata["continue"] = "".into();
    }
    if let Some(token) = token {
        metadata["continue"] = token.into();
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

/// Makes a list's answer that is not plain JSON.
pub(super) fn shaped_list(
    call: &Call,
    form: Form,
    metadata: Value,
    items: &[Value],
    now: Timestamp,
) -> Result<Bytes> {
    let list = match form.shape {
        Shape::Table(version, include_object) => {
            let options = TableOptions { version, include_object, with_definitions: true, now };
            let named: Vec<Value>;
            // A row's object stands alone: unlike a list's items it says what it is.
            let items = if include_object == IncludeObject::Object {
                named = items.iter().map(|item| named_object(call, item)).collect();
                &named
            } else {
                items
            };
            table::table(&call.resource.columns, metadata, items, &options)
        }
        Shape::Metadata(version) | Shape::MetadataList(version) => {
            return metadata_only(form, &table::partial_object_metadata_list(metadata, items, version));
        }
        Shape::Object if form.encoding == Encoding::Protobuf && call.resource.custom.is_none() => {
            let list = serde_json::json!({"metadata": metadata, "items": items});
            return schema::encode_protobuf_list(
                &call.resource.structure,
                &call.resource.api_version(),
                &call.resource.list_kind(),
                &list,
            )
            .map(Bytes::from)
            .map_err(Status::internal);
        }
        Shape::Object => serde_json::json!({
            "kind": call.resource.list_kind(), "apiVersion": call.resource.api_version(),
            "metadata": metadata, "items": items,
        }),
    };
    encode(form, &list)
}

/// Returns an item of a list with kind and apiVersion.
fn named_object(call: &Call, item: &Value) -> Value {
    let mut object = item.clone();
    object["kind"] = call.resource.kind.as_ref().into();
    object["apiVersion"] = call.resource.api_version().into();
    object
}

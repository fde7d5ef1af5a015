//! Reads k8s-openapi: which structures and fields exist, their JSON names and types, and which kinds there are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::facts::Facts;

/// One structure as k8s-openapi declares it.
pub(crate) struct Definition {
    /// `io.k8s.api.core.v1.Pod`.
    pub(crate) name: String,
    pub(crate) members: Vec<Member>,
    /// Set when the structure is a kind of its own.
    pub(crate) kind: Option<Kind>,
}

/// One field of a [`Definition`].
pub(crate) struct Member {
    pub(crate) json: String,
    pub(crate) ty: Shape,
    /// Whether k8s-openapi wraps it in `Option`.
    pub(crate) optional: bool,
    /// Whether the schema that Kubernetes publishes lists it as required.
    pub(crate) required: bool,
}

/// Group, version and kind, and the kind of its lists if it has any.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list: Option<String>,
}

/// A type, independent of the language.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A variant of `schema::Type` that has no parameter.
    Plain(&'static str),
    /// A structure, by its definition's name.
    Struct(String),
    /// One of the three JSON schema members that are a schema or something else.
    SchemaOr(&'static str),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// Reads every definition of the served groups.
pub(crate) fn read(root: &Path, facts: &Facts) -> Result<Vec<Definition>, Failure> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut definitions = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let Some(name) =
            text.lines().next().and_then(|line| line.strip_prefix("// Generated from definition "))
        else {
            continue;
        };
        if facts.serves(name)
            && let Some(definition) =
                definition(name.trim(), &text).map_err(|e| format!("{}: {e}", file.display()))?
        {
            definitions.push(definition);
        }
    }
    Ok(definitions)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("cannot read {}: {e}", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// `None` for what is no structure with named fields (newtypes and enumerations, which [`named`] knows).
fn definition(name: &str, text: &str) -> Result<Option<Definition>, Failure> {
    let short = name.rsplit('.').next().unwrap_or(name);
    let file = syn::parse_file(text).map_err(|e| format!("cannot parse: {e}"))?;
    let names = json_names(text);
    let required = required(text);
    let Some(fields) = file.items.iter().find_map(|item| match item {
        syn::Item::Struct(item) if item.ident == short => match &item.fields {
            syn::Fields::Named(fields) => Some(fields),
            _ => None,
        },
        _ => None,
    }) else {
        // A structure without members, for which k8s-openapi takes any JSON.
        let empty = short == "CustomResourceSubresourceStatus";
        return Ok(empty.then(|| Definition { name: name.to_owned(), members: Vec::new(), kind: None }));
    };
    let mut members = Vec::new();
    for field in &fields.named {
        let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let ident = ident.strip_prefix("r#").unwrap_or(&ident);
        let json = names.get(ident).ok_or_else(|| format!("{short}.{ident} has no JSON name"))?;
        let (optional, ty) = match parameter(&field.ty, "Option") {
            Some(inner) => (true, shape(inner)?),
            None => (false, shape(&field.ty)?),
        };
        members.push(Member {
            json: json.clone(),
            ty,
            optional,
            required: required.contains(&json.as_str()),
        });
    }
    Ok(Some(Definition { name: name.to_owned(), members, kind: kind(&file) }))
}

/// The arms `"hostIP" => Field::Key_host_ip,` by which k8s-openapi finds a field.
fn json_names(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let (json, ident) = line.trim().strip_prefix('"')?.split_once("\" => Field::Key_")?;
            Some((ident.trim_end_matches(',').to_owned(), json.to_owned()))
        })
        .collect()
}

/// The names in the list `"required": [ … ]` of the structure's schema.
fn required(text: &str) -> Vec<&str> {
    text.lines()
        .skip_while(|line| line.trim() != "\"required\": [")
        .skip(1)
        .map_while(|line| line.trim().strip_suffix(',')?.strip_prefix('"')?.strip_suffix('"'))
        .collect()
}

fn kind(file: &syn::File) -> Option<Kind> {
    let constant = |wanted_trait: &str, wanted: &str| {
        file.items.iter().find_map(|item| {
            let syn::Item::Impl(item) = item else { return None };
            let (_, path, _) = item.trait_.as_ref()?;
            (path.segments.last()?.ident == wanted_trait).then_some(())?;
            item.items.iter().find_map(|item| match item {
                syn::ImplItem::Const(item) if item.ident == wanted => match &item.expr {
                    syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            })
        })
    };
    Some(Kind {
        group: constant("Resource", "GROUP")?,
        version: constant("Resource", "VERSION")?,
        kind: constant("Resource", "KIND")?,
        list: constant("ListableResource", "LIST_KIND"),
    })
}

fn shape(ty: &syn::Type) -> Result<Shape, Failure> {
    if let Some(inner) = parameter(ty, "Vec") {
        return Ok(Shape::List(Box::new(shape(inner)?)));
    }
    if let Some(inner) = parameter(ty, "BTreeMap") {
        return Ok(Shape::Map(Box::new(shape(inner)?)));
    }
    if let Some(inner) = parameter(ty, "Box") {
        return shape(inner);
    }
    let syn::Type::Path(path) = ty else { return Err("a type that is no path".into()) };
    let segments: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    named(&segments)
}

/// The last type parameter of `wrapper<…>`, if `ty` is one.
fn parameter<'a>(ty: &'a syn::Type, wrapper: &str) -> Option<&'a syn::Type> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    (last.ident == wrapper).then_some(())?;
    arguments.args.iter().rev().find_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn named(segments: &[String]) -> Result<Shape, Failure> {
    let last = segments.last().map(String::as_str).unwrap_or_default();
    let plain = match last {
        "bool" => "Bool",
        "i32" => "Int32",
        "i64" => "Int64",
        "f64" => "Double",
        "String" => "String",
        "ByteString" => "Bytes",
        "Quantity" => "Quantity",
        "IntOrString" => "IntOrString",
        "Time" => "Time",
        "MicroTime" => "MicroTime",
        "FieldsV1" | "RawExtension" | "JSON" => "Any",
        "JSONSchemaPropsOrBool" => return Ok(Shape::SchemaOr("Bool")),
        "JSONSchemaPropsOrArray" => return Ok(Shape::SchemaOr("List")),
        "JSONSchemaPropsOrStringArray" => return Ok(Shape::SchemaOr("Strings")),
        _ if segments.first().is_some_and(|first| first == "crate") => {
            let path: Vec<String> = segments[1..]
                .iter()
                .map(|part| part.replace("_apiserver", "-apiserver").replace("kube_", "kube-"))
                .collect();
            return Ok(Shape::Struct(format!("io.k8s.{}", path.join("."))));
        }
        other => return Err(format!("a type that has no counterpart: {other}")),
    };
    Ok(Shape::Plain(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_read_with_names_types_and_what_is_required() {
        let text = r#"
            pub struct Thing {
                pub host_ip: Option<std::string::String>,
                pub ports: std::vec::Vec<crate::api::core::v1::Port>,
            }
            impl crate::Resource for Thing {
                const GROUP: &'static str = "example";
                const KIND: &'static str = "Thing";
                const VERSION: &'static str = "v1";
            }
            fn names() {
                match value {
                    "hostIP" => Field::Key_host_ip,
                    "ports" => Field::Key_ports,
                }
            }
            fn schema() {
                json!({
            "required": [
                "ports",
            ],
                })
            }
        "#;

        let definition = definition("io.k8s.api.example.v1.Thing", text).unwrap().unwrap();

        let [host, ports] = &definition.members[..] else { panic!("two members") };
        assert_eq!((host.json.as_str(), host.optional, host.required), ("hostIP", true, false));
        assert_eq!(host.ty, Shape::Plain("String"));
        assert_eq!((ports.json.as_str(), ports.optional, ports.required), ("ports", false, true));
        assert_eq!(ports.ty, Shape::List(Box::new(Shape::Struct("io.k8s.api.core.v1.Port".into()))));
        assert_eq!(definition.kind.unwrap().group, "example");
    }
}

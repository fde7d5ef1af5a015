//! Reads k8s-pb: field numbers, and the markers that the comments of Kubernetes' types carry.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Failure;

/// Messages by name in lower case: the crate changes the case of some. See [`find`].
pub(crate) type Messages = BTreeMap<String, Message>;

/// One protobuf message.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<Number>,
    /// `+structType=atomic`: it is replaced as a whole by whoever owns it.
    pub(crate) atomic: bool,
}

/// One field of a [`Message`].
pub(crate) struct Number {
    /// The name with nothing left but lower case letters and digits, as [`plain`] makes it.
    pub(crate) name: String,
    pub(crate) number: u32,
    /// The message that the field holds one of, by its Rust name, when it is of the same package.
    pub(crate) message: Option<String>,
    pub(crate) markers: BTreeMap<String, Vec<String>>,
}

/// The message of a definition (`io.k8s.api.core.v1.Pod`).
pub(crate) fn find<'a>(messages: &'a Messages, definition: &str) -> Option<&'a Message> {
    messages.get(&definition.to_ascii_lowercase())
}

/// Reads every package.
pub(crate) fn read(root: &Path) -> Result<Messages, Failure> {
    let mut messages = Messages::new();
    walk(root, &mut Vec::new(), &mut messages)?;
    Ok(messages)
}

/// The part of a name that JSON, protobuf and Rust spellings share.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn walk(folder: &Path, path: &mut Vec<String>, messages: &mut Messages) -> Result<(), Failure> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
        if entry.path().is_dir() {
            path.push(entry.file_name().to_string_lossy().replace('_', "-"));
            walk(&entry.path(), path, messages)?;
            path.pop();
        } else if entry.file_name() == "mod.rs" {
            let package = format!("io.k8s.{}", path.join("."));
            let text =
                std::fs::read_to_string(entry.path()).map_err(|e| format!("cannot read {package}: {e}"))?;
            let file = syn::parse_file(&text).map_err(|e| format!("cannot parse {package}: {e}"))?;
            for item in file.items {
                if let syn::Item::Struct(item) = item {
                    messages
                        .insert(format!("{package}.{}", item.ident).to_ascii_lowercase(), message(&item)?);
                }
            }
        }
    }
    Ok(())
}

fn message(item: &syn::ItemStruct) -> Result<Message, Failure> {
    let mut fields = Vec::new();
    for field in &item.fields {
        let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let number =
            tag(&field.attrs).ok_or_else(|| format!("{}.{ident} has no field number", item.ident))?;
        fields.push(Number {
            name: plain(ident.strip_prefix("r#").unwrap_or(&ident)),
            number,
            message: single_message(&field.ty),
            markers: markers(&field.attrs),
        });
    }
    let atomic = markers(&item.attrs).get("structType").is_some_and(|values| values == &["atomic"]);
    Ok(Message { fields, atomic })
}

fn tag(attributes: &[syn::Attribute]) -> Option<u32> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("prost")) {
        let syn::Meta::List(list) = &attribute.meta else { continue };
        let text = list.tokens.to_string();
        let after = text.split("tag").nth(1)?;
        found = after.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok();
    }
    found
}

/// `Option<Name>` or `Option<Box<Name>>` of the same module.
fn single_message(ty: &syn::Type) -> Option<String> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if let syn::PathArguments::AngleBracketed(arguments) = &last.arguments {
        (last.ident == "Option" || last.ident == "Box").then_some(())?;
        let syn::GenericArgument::Type(inner) = arguments.args.first()? else { return None };
        return single_message(inner);
    }
    let local = path.path.segments.len() == 1 && last.ident.to_string().starts_with(char::is_uppercase);
    local.then(|| last.ident.to_string())
}

/// Comment lines `+name=value`.
fn markers(attributes: &[syn::Attribute]) -> BTreeMap<String, Vec<String>> {
    let mut markers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for attribute in attributes {
        let syn::Meta::NameValue(pair) = &attribute.meta else { continue };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { continue };
        if let Some(marker) = text.value().trim().strip_prefix('+') {
            let (name, value) = marker.split_once('=').unwrap_or((marker, ""));
            markers.entry(name.to_owned()).or_default().push(value.to_owned());
        }
    }
    markers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_with_numbers_and_markers() {
        let item: syn::ItemStruct = syn::parse_str(
            r#"
            /// +structType=atomic
            pub struct Thing {
                /// Prose.
                /// +listType=map
                /// +listMapKey=port
                /// +listMapKey=protocol
                #[prost(message, repeated, tag = "16")]
                pub ports: ::prost::alloc::vec::Vec<Port>,
                #[prost(message, optional, tag = "2")]
                pub volume_source: ::core::option::Option<VolumeSource>,
            }"#,
        )
        .unwrap();

        let message = message(&item).unwrap();

        assert!(message.atomic);
        let [ports, source] = &message.fields[..] else { panic!("two fields") };
        assert_eq!((ports.name.as_str(), ports.number, &ports.message), ("ports", 16, &None));
        assert_eq!(ports.markers["listMapKey"], ["port", "protocol"]);
        assert_eq!((source.name.as_str(), source.message.as_deref()), ("volumesource", Some("VolumeSource")));
    }
}

//! One operation: a method of a path.

use serde_json::{Map, Value, json};

use super::parameters::Parameter;
use crate::negotiate::patches;
use crate::resource::{Resource, Subresource};
use crate::schema;

pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Get,
    List,
    Post,
    Put,
    Patch,
    Delete,
    DeleteCollection,
    /// Reads what is no object.
    Connect,
}

impl Action {
    /// What clients that are made from the document call it.
    fn verb(self) -> &'static str {
        match self {
            Self::Get | Self::Connect => "read",
            Self::List => "list",
            Self::Post => "create",
            Self::Put => "replace",
            Self::Patch => "patch",
            Self::Delete | Self::DeleteCollection => "delete",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Get | Self::Connect => "get",
            Self::List => "list",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// Where an operation is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'r> {
    pub resource: &'r Resource,
    pub subresource: Option<Subresource>,
    /// Whether the path leaves out the namespace that objects are in.
    pub everywhere: bool,
}

impl Place<'_> {
    /// Writes an operation with these parameters in its query.
    pub(super) fn operation(&self, action: Action, parameters: &[&[Parameter]]) -> Value {
        let (group, version, kind) = self.kind();
        let mut operation = json!({
            "operationId": self.id(action),
            "description": self.description(action),
            "tags": [tag(self.resource)],
            "parameters": parameters.iter().flat_map(|some| some.iter()).map(Parameter::value).collect::<Vec<_>>(),
            "responses": self.responses(action),
            "x-kubernetes-action": action.extension(),
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        let content = match action {
            Action::Post | Action::Put => json!({"*/*": {"schema": reference(&self.object())}}),
            Action::Patch => {
                let schema = json!({"schema": reference(PATCH)});
                patches(self.resource).map(|media_type| (media_type.to_owned(), schema.clone())).collect()
            }
            Action::Delete | Action::DeleteCollection => {
                json!({"*/*": {"schema": reference(DELETE_OPTIONS)}})
            }
            Action::Get | Action::List | Action::Connect => return operation,
        };
        operation["requestBody"] = match action {
            Action::Delete | Action::DeleteCollection => json!({"content": content}),
            _ => json!({"content": content, "required": true}),
        };
        operation
    }

    /// Group, version and kind of what is read and written.
    fn kind(&self) -> (&str, &str, &str) {
        let resource = self.resource;
        self.subresource.and_then(Subresource::kind).unwrap_or((
            &resource.group,
            &resource.version,
            &resource.kind,
        ))
    }

    /// The schema of what is read and written.
    fn object(&self) -> String {
        let other = self.subresource.and_then(Subresource::kind);
        let other = other.and_then(|(group, version, kind)| schema::builtin(group, version, kind));
        other.map_or_else(|| self.resource.structure.name.to_string(), |structure| structure.name.to_string())
    }

    fn responses(&self, action: Action) -> Value {
        if action == Action::Connect {
            let content = json!({"text/plain": {"schema": {"type": "string"}}});
            return json!({"200": {"description": "OK", "content": content}});
        }
        let (codes, schema): (&[(&str, &str)], _) = match action {
            Action::List => (&[("200", "OK")], list_name(self.resource)),
            Action::Delete => (&[("200", "OK"), ("202", "Accepted")], STATUS.to_owned()),
            Action::DeleteCollection => (&[("200", "OK")], STATUS.to_owned()),
            Action::Get => (&[("200", "OK")], self.object()),
            Action::Post => (&[("200", "OK"), ("201", "Created"), ("202", "Accepted")], self.object()),
            Action::Put | Action::Patch | Action::Connect => {
                (&[("200", "OK"), ("201", "Created")], self.object())
            }
        };
        let schema = json!({"schema": reference(&schema)});
        let content: Map<String, Value> = media_types(self.resource, action)
            .iter()
            .map(|media_type| ((*media_type).to_owned(), schema.clone()))
            .collect();
        let answers = codes.iter().map(|(code, description)| {
            ((*code).to_owned(), json!({"description": description, "content": content}))
        });
        let mut answers: Map<String, Value> = answers.collect();
        answers.insert("401".into(), json!({"description": "Unauthorized"}));
        answers.into()
    }

    /// The name of the operation, unique in the whole API.
    fn id(&self, action: Action) -> String {
        let resource = self.resource;
        let group = camel(&resource.group, true);
        let version = upper(&resource.version);
        let collection = if action == Action::DeleteCollection { "Collection" } else { "" };
        let namespaced = if resource.is_namespaced() && !self.everywhere { "Namespaced" } else { "" };
        let below = self.subresource.map(|subresource| upper(subresource.name())).unwrap_or_default();
        let everywhere = if self.everywhere { "ForAllNamespaces" } else { "" };
        format!(
            "{}{group}{version}{collection}{namespaced}{}{below}{everywhere}",
            action.verb(),
            resource.kind
        )
    }

    fn description(&self, action: Action) -> String {
        let kind = &self.resource.kind;
        let of = match self.subresource {
            Some(subresource) => format!("the {} of ", subresource.name()),
            None => String::new(),
        };
        match action {
            Action::Get | Action::Connect => format!("Reads {of}a {kind}."),
            Action::List => format!("Lists or watches objects of kind {kind}."),
            Action::Post => format!("Creates {of}a {kind}."),
            Action::Put => format!("Replaces {of}a {kind}."),
            Action::Patch => format!("Changes {of}a {kind} in part."),
            Action::Delete => format!("Deletes a {kind}."),
            Action::DeleteCollection => format!("Deletes all selected objects of kind {kind}."),
        }
    }
}

/// In which forms an answer can be had.
fn media_types(resource: &Resource, action: Action) -> &'static [&'static str] {
    match (resource.has_protobuf(), action) {
        (true, Action::List) => &[
            "application/json",
            "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf",
            "application/vnd.kubernetes.protobuf;stream=watch",
            "application/yaml",
        ],
        (true, _) => &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"],
        (false, Action::List) => &["application/json", "application/json;stream=watch", "application/yaml"],
        (false, _) => &["application/json", "application/yaml"],
    }
}

/// The name of the schema of a kind's lists.
pub(super) fn list_name(resource: &Resource) -> String {
    format!("{}List", resource.structure.name)
}

/// The name by which upstream groups operations: `core_v1`, `rbacAuthorization_v1`.
fn tag(resource: &Resource) -> String {
    format!("{}_{}", camel(&resource.group, false), resource.version)
}

/// A group's name in one word.
fn camel(group: &str, first_upper: bool) -> String {
    let short = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    let words = short.split(['.', '-']).enumerate();
    words.map(|(at, word)| if at > 0 || first_upper { upper(word) } else { word.to_owned() }).collect()
}

fn upper(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// Refers to a schema.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

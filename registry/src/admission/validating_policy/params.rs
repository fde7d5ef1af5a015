//! The objects that a policy's expressions know as `params`.

use quarterdeck_core::labels::Selector;
use serde_json::Value;

use crate::admission::matching::Event;
use crate::cache::World;
use crate::object::Object;
use crate::resource::Resource;

/// Returns the kind of a policy's parameters; absent if it has none.
///
/// # Errors
///
/// That there is no such kind.
pub(super) fn kind<'w>(param_kind: &Value, world: &'w World) -> Result<Option<&'w Resource>, String> {
    let (Some(api_version), Some(kind)) = (param_kind["apiVersion"].as_str(), param_kind["kind"].as_str())
    else {
        return Ok(None);
    };
    let resources = world.resources().all().iter();
    let found = resources
        .map(AsRef::as_ref)
        .find(|resource| resource.kind == kind && resource.api_version() == api_version);
    let qualified =
        if api_version.contains('/') { api_version.to_owned() } else { format!("/{api_version}") };
    let why = || format!("failed to find resource referenced by paramKind: '{qualified}, Kind={kind}'");
    found.ok_or_else(why).map(Some)
}

/// Returns the parameters with which a policy is evaluated, one after the other; one that is absent if it is evaluated
/// without.
///
/// # Errors
///
/// Why there are none, if there must be some.
pub(super) fn collect(
    kind: Option<&Resource>,
    reference: &Value,
    event: &Event<'_>,
) -> Result<Vec<Option<Value>>, String> {
    let Some(kind) = kind.filter(|_| reference.is_object()) else { return Ok(vec![None]) };
    let given = reference["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let namespace = match (kind.is_namespaced(), given) {
        (true, None) => {
            let own = event.namespace().ok_or(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
            )?;
            Some(own)
        }
        (true, given) => given,
        (false, None) => None,
        (false, Some(_)) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
    };
    let world = event.attributes.world;
    let unread = |param: &Object| kind.webhook().is_some() && param.api_version() != kind.api_version();
    let prefix = kind.key_prefix(namespace);
    if world.range(&prefix, None).any(|(_, param)| unread(param)) {
        return Err(
            "params of a kind that a webhook converts must be stored in the version of `paramKind`".into()
        );
    }
    let found: Vec<Option<Value>> = match reference["name"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => {
            let param = world.get(kind.key(namespace, name).as_str());
            param.map(|param| Some(kind.value_of(param))).into_iter().collect()
        }
        None => {
            let selector = Selector::from_label_selector(Some(&reference["selector"]));
            let selector = selector.map_err(|error| error.to_string())?;
            let params = world.range(&prefix, None).map(|(_, param)| kind.value_of(param));
            params.filter(|param| selector.matches_object(param)).map(Some).collect()
        }
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}

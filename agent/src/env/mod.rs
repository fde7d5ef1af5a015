//! A container's environment: values, values from elsewhere, services, and what refers to them.

mod configs;
mod downward;
mod expand;
mod services;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource};

pub(crate) use configs::Configs;
pub(crate) use downward::{Facts, field, resource};
pub(crate) use expand::expand;

use crate::host::Host;

/// Works out the environment of a container.
///
/// # Errors
///
/// What is missing or wrong, for the user.
pub(crate) async fn environment(
    host: &Host,
    facts: &Facts<'_>,
    container: &Container,
) -> Result<BTreeMap<String, String>, String> {
    let pod = facts.pod;
    let configs = Configs::new(host, pod);
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut services = services::variables(&host.services.store().list(), namespace, links);
    let mut given = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        given.extend(from(&configs, source).await?);
    }
    let mut env = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        // A reference finds what stands before it in the list, then services; `envFrom` it does not see (upstream's way).
        let value = value(&configs, facts, container, variable).await?;
        let value = match value {
            Given::Plain(text) => expand(&text, |name| env.get(name).or_else(|| services.get(name)).cloned())
                .map_err(|what| format!("environment variable {:?}: {what}", variable.name))?,
            Given::Found(text) => text,
            Given::Absent => continue,
        };
        env.insert(variable.name.clone(), value);
    }
    services.extend(given);
    services.extend(env);
    Ok(services)
}

enum Given {
    /// A text that may refer to other variables.
    Plain(String),
    Found(String),
    /// It is optional, and not there.
    Absent,
}

async fn value(
    configs: &Configs<'_>,
    facts: &Facts<'_>,
    container: &Container,
    variable: &EnvVar,
) -> Result<Given, String> {
    let Some(EnvVarSource { config_map_key_ref, field_ref, resource_field_ref, secret_key_ref, .. }) =
        &variable.value_from
    else {
        return Ok(Given::Plain(variable.value.clone().unwrap_or_default()));
    };
    if let Some(reference) = field_ref {
        return field(facts, &reference.field_path).map(Given::Found);
    }
    if let Some(reference) = resource_field_ref {
        return resource(facts, container, reference).map(Given::Found);
    }
    let found = if let Some(reference) = config_map_key_ref {
        configs.config_map_key(&reference.name, &reference.key, reference.optional == Some(true)).await?
    } else if let Some(reference) = secret_key_ref {
        configs.secret_key(&reference.name, &reference.key, reference.optional == Some(true)).await?
    } else {
        return Err(format!("environment variable {:?} has a source that is not supported", variable.name));
    };
    match found.map(String::from_utf8) {
        Some(Ok(text)) => Ok(Given::Found(text)),
        Some(Err(_)) => Err(format!("the value of environment variable {:?} is no text", variable.name)),
        None => Ok(Given::Absent),
    }
}

async fn from(configs: &Configs<'_>, source: &EnvFromSource) -> Result<BTreeMap<String, String>, String> {
    let found = if let Some(reference) = &source.config_map_ref {
        configs.config_map(&reference.name, reference.optional == Some(true)).await?
    } else if let Some(reference) = &source.secret_ref {
        configs.secret(&reference.name, reference.optional == Some(true)).await?
    } else {
        None
    };
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let mut variables = BTreeMap::new();
    for (key, value) in found.unwrap_or_default() {
        if key.contains('=') {
            continue;
        }
        let text = String::from_utf8(value).map_err(|_| format!("the value of key {key:?} is no text"))?;
        variables.insert(format!("{prefix}{key}"), text);
    }
    Ok(variables)
}

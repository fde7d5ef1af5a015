//! Config maps and secrets, each asked for by its name: an agent may read those that its pods name, and list none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::Api;

use crate::host::Host;

/// What a config map or a secret holds.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// The config maps and secrets of a pod's namespace.
pub(crate) struct Configs<'a> {
    host: &'a Host,
    namespace: &'a str,
}

impl<'a> Configs<'a> {
    pub(crate) fn new(host: &'a Host, pod: &'a Pod) -> Self {
        Self { host, namespace: pod.metadata.namespace.as_deref().unwrap_or_default() }
    }

    /// Reads a config map. `None`: it is optional and not there.
    ///
    /// # Errors
    ///
    /// Why it cannot be had, in upstream's words.
    pub(crate) async fn config_map(&self, name: &str, optional: bool) -> Result<Option<Data>, String> {
        let api: Api<ConfigMap> = Api::namespaced(self.host.context.client.clone(), self.namespace);
        let found = self.found(api.get_opt(name).await, "configmap", name, optional)?;
        Ok(found.map(|map| {
            let texts = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
            texts.chain(map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0))).collect()
        }))
    }

    /// Reads a secret. `None`: it is optional and not there.
    ///
    /// # Errors
    ///
    /// Why it cannot be had, in upstream's words.
    pub(crate) async fn secret(&self, name: &str, optional: bool) -> Result<Option<Data>, String> {
        let api: Api<Secret> = Api::namespaced(self.host.context.client.clone(), self.namespace);
        let found = self.found(api.get_opt(name).await, "secret", name, optional)?;
        Ok(found.map(|secret| secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect()))
    }

    /// Reads one key of a config map.
    ///
    /// # Errors
    ///
    /// Why it cannot be had, in upstream's words.
    pub(crate) async fn config_map_key(
        &self,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Result<Option<Vec<u8>>, String> {
        let Some(mut data) = self.config_map(name, optional).await? else { return Ok(None) };
        let found = data.remove(key);
        if found.is_none() && !optional {
            return Err(format!("couldn't find key {key} in ConfigMap {}/{name}", self.namespace));
        }
        Ok(found)
    }

    /// Reads one key of a secret.
    ///
    /// # Errors
    ///
    /// Why it cannot be had, in upstream's words.
    pub(crate) async fn secret_key(
        &self,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Result<Option<Vec<u8>>, String> {
        let Some(mut data) = self.secret(name, optional).await? else { return Ok(None) };
        let found = data.remove(key);
        if found.is_none() && !optional {
            return Err(format!("couldn't find key {key} in Secret {}/{name}", self.namespace));
        }
        Ok(found)
    }

    fn found<T>(
        &self,
        answer: kube::Result<Option<T>>,
        kind: &str,
        name: &str,
        optional: bool,
    ) -> Result<Option<T>, String> {
        match answer {
            Ok(None) if !optional => Err(format!("{kind} {name:?} not found")),
            Ok(found) => Ok(found),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(error) => Err(format!("cannot read {kind} {}/{name}: {error}", self.namespace)),
        }
    }
}

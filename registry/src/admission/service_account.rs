//! A pod runs as a service account of its namespace, and finds the account's token in a volume.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Attributes, Operation};
use crate::status::{Result, Status};

/// Where containers find the token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// For how many seconds a token is good; the agent renews it. A second over an hour is upstream's mark for tokens that
/// its clients may still treat as permanent.
const EXPIRATION_SECONDS: u32 = 3607;
/// The volume's name, before a random suffix.
const VOLUME: &str = "kube-api-access-";

/// Upstream's `ServiceAccount`.
#[derive(Debug)]
pub struct ServiceAccount;

#[async_trait]
impl Admission for ServiceAccount {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("pods")
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let is_mirror = !object["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null();
        if is_mirror {
            return Ok(());
        }
        if attributes.world.resources().get("", "v1", "serviceaccounts").is_none() {
            return Ok(());
        }
        admit(attributes, object)
    }
}

fn admit(attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
    if pod["spec"]["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        pod["spec"]["serviceAccountName"] = "default".into();
    }
    let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default().to_owned();
    // The old name of the field follows the new one.
    pod["spec"]["serviceAccount"] = name.clone().into();
    let namespace = attributes.namespace.unwrap_or_default();
    let account = attributes.world.get(&format!("/registry/serviceaccounts/{namespace}/{name}"));
    let Some(account) = account.map(|account| account.parsed()) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        );
        return Err(Status::forbidden_object(attributes.resource, attributes.name, why));
    };
    if mounts_token(pod, account) {
        mount_token(pod);
    }
    let secrets = &account["imagePullSecrets"];
    if pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
        && secrets.as_array().is_some_and(|secrets| !secrets.is_empty())
    {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

fn mounts_token(pod: &Value, account: &Value) -> bool {
    let asked = pod["spec"]["automountServiceAccountToken"].as_bool();
    asked.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true)
}

fn mount_token(pod: &mut Value) {
    let is_token = |volume: &&Value| {
        volume["name"].as_str().is_some_and(|name| name.starts_with(VOLUME)) && !volume["projected"].is_null()
    };
    let known = pod["spec"]["volumes"].as_array().and_then(|volumes| volumes.iter().find(is_token));
    let name = known.map(|volume| volume["name"].clone());
    let is_new = name.is_none();
    // The name is only known to be unique among the pod's volumes; the pod's own uid-like suffix comes from its name.
    let name = name.unwrap_or_else(|| format!("{VOLUME}{}", suffix(pod)).into());
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            used = true;
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            container["volumeMounts"] = [mounts, vec![mount]].concat().into();
        }
    }
    if used && is_new {
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        pod["spec"]["volumes"] = [volumes, vec![token_volume(&name)]].concat().into();
    }
}

/// Derives five characters of a generated name's alphabet from the pod's name, so that admission draws no randomness.
fn suffix(pod: &Value) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let metadata = &pod["metadata"];
    let text = format!("{}{}", metadata["generateName"], metadata["name"]);
    let mut hash = quarterdeck_core::hash::fnv1a(text.bytes());
    let mut suffix = String::new();
    for _ in 0..5 {
        let index = usize::try_from(hash % SAFE.len() as u64).expect("an index below 27 fits");
        suffix.push(char::from(SAFE[index]));
        hash /= SAFE.len() as u64;
    }
    suffix
}

fn token_volume(name: &Value) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": EXPIRATION_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}

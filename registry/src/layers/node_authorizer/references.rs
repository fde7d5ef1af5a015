//! What pods and volumes refer to by name, as `k8s.io/kubernetes/pkg/api/pod` visits it.

use serde_json::Value;

/// The annotation of pods that an agent made of its own files, and shows to others.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Kinds of volumes that name a secret under `secretRef`.
const WITH_SECRET: [&str; 7] = ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];

/// Whether a pod stands for one that its agent runs anyway.
pub(crate) fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][MIRROR].is_null()
}

fn list<'v>(value: &'v Value) -> impl Iterator<Item = &'v Value> + use<'v> {
    value.as_array().into_iter().flatten()
}

/// The text at a field, unless it is empty.
fn name(value: &Value) -> Option<&str> {
    value.as_str().filter(|name| !name.is_empty())
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|of| list(&pod["spec"][of]))
}

/// The names of a kind that containers take their environment from.
fn from_environment<'v>(
    pod: &'v Value,
    whole: &'static str,
    key: &'static str,
) -> impl Iterator<Item = &'v str> {
    containers(pod).flat_map(move |container| {
        let wholes = list(&container["envFrom"]).filter_map(move |from| name(&from[whole]["name"]));
        let keys = list(&container["env"]).filter_map(move |env| name(&env["valueFrom"][key]["name"]));
        wholes.chain(keys)
    })
}

/// What a pod's projected volumes are made of.
fn projected(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["spec"]["volumes"]).flat_map(|volume| list(&volume["projected"]["sources"]))
}

/// The names of the secrets that a pod refers to; some may stand there more than once.
pub(crate) fn secrets(pod: &Value) -> impl Iterator<Item = &str> {
    let pull = list(&pod["spec"]["imagePullSecrets"]).filter_map(|secret| name(&secret["name"]));
    let of_volumes = list(&pod["spec"]["volumes"]).flat_map(|volume| {
        let refs = WITH_SECRET.into_iter().filter_map(|kind| name(&volume[kind]["secretRef"]["name"]));
        let others = [
            &volume["azureFile"]["secretName"],
            &volume["secret"]["secretName"],
            &volume["csi"]["nodePublishSecretRef"]["name"],
        ];
        refs.chain(others.into_iter().filter_map(name))
    });
    let of_projections = projected(pod).filter_map(|source| name(&source["secret"]["name"]));
    pull.chain(from_environment(pod, "secretRef", "secretKeyRef")).chain(of_volumes).chain(of_projections)
}

/// The names of the config maps that a pod refers to; some may stand there more than once.
pub(crate) fn config_maps(pod: &Value) -> impl Iterator<Item = &str> {
    let of_volumes = list(&pod["spec"]["volumes"]).filter_map(|volume| name(&volume["configMap"]["name"]));
    let of_projections = projected(pod).filter_map(|source| name(&source["configMap"]["name"]));
    from_environment(pod, "configMapRef", "configMapKeyRef").chain(of_volumes).chain(of_projections)
}

/// The names of the claims that a pod refers to, those that are made for it among them.
pub(crate) fn claims(pod: &Value) -> impl Iterator<Item = String> {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    list(&pod["spec"]["volumes"]).filter_map(move |volume| {
        match name(&volume["persistentVolumeClaim"]["claimName"]) {
            Some(claim) => Some(claim.to_owned()),
            None if volume["ephemeral"].is_null() => None,
            None => Some(format!("{pod_name}-{}", volume["name"].as_str().unwrap_or_default())),
        }
    })
}

/// Whether a pod refers to bundles of certificates.
pub(crate) fn has_trust_bundles(pod: &Value) -> bool {
    projected(pod).any(|source| !source["clusterTrustBundle"].is_null())
}

/// For whom the tokens are that a pod finds in its volumes; empty for the API server.
pub(crate) fn token_audiences(pod: &Value) -> impl Iterator<Item = &str> {
    let tokens = projected(pod).map(|source| &source["serviceAccountToken"]);
    tokens.filter(|token| !token.is_null()).map(|token| token["audience"].as_str().unwrap_or_default())
}

/// The namespaces and names of the secrets that an agent needs to mount a persistent volume.
pub(crate) fn volume_secrets(volume: &Value) -> Vec<(String, String)> {
    let spec = &volume["spec"];
    let of_claim = spec["claimRef"]["namespace"].as_str().unwrap_or_default();
    let secret = |namespace: &Value, secret: &Value| {
        Some((name(namespace).unwrap_or(of_claim).to_owned(), name(secret)?.to_owned()))
    };
    let referred = |reference: &Value| secret(&reference["namespace"], &reference["name"]);
    let mut secrets: Vec<_> = Vec::new();
    secrets.extend(WITH_SECRET.into_iter().filter_map(|kind| referred(&spec[kind]["secretRef"])));
    let azure = &spec["azureFile"];
    secrets.extend(secret(&azure["secretNamespace"], &azure["secretName"]));
    let of_driver = ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"];
    secrets.extend(of_driver.into_iter().filter_map(|field| referred(&spec["csi"][field])));
    secrets
}

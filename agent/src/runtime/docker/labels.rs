//! How pods are written on containers, and read from them again.

use std::collections::BTreeMap;

use quarterdeck_core::runtime::{ContainerKey, ContainerSpec, PodSandbox, PodUid};

/// Whose containers they are: what the runtime was made for, usually the node's name.
pub(super) const NODE: &str = "io.quarterdeck.node";
/// [`SANDBOX`] or [`CONTAINER`].
const KIND: &str = "io.quarterdeck.kind";
const SANDBOX: &str = "sandbox";
const CONTAINER: &str = "container";
const ATTEMPT: &str = "io.quarterdeck.attempt";
/// The caller's labels, as JSON.
const LABELS: &str = "io.quarterdeck.labels";
/// The image as it was asked for.
const IMAGE: &str = "io.quarterdeck.image";
/// Names that other tools know.
pub(super) const UID: &str = "io.kubernetes.pod.uid";
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const NAME: &str = "io.kubernetes.pod.name";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// What is written on a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) uid: PodUid,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) attempt: u32,
    /// The container's name and image; absent if it is a pod's sandbox.
    pub(super) container: Option<(String, String)>,
    pub(super) labels: BTreeMap<String, String>,
}

impl Tag {
    pub(super) fn sandbox(pod: &PodSandbox, attempt: u32) -> Self {
        Self {
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            attempt,
            container: None,
            labels: pod.labels.clone(),
        }
    }

    /// Returns what is written on a container of the pod with this tag.
    pub(super) fn container(&self, spec: &ContainerSpec) -> Self {
        Self {
            attempt: spec.attempt,
            container: Some((spec.name.to_string(), spec.image.clone())),
            labels: spec.labels.clone(),
            ..self.clone()
        }
    }

    /// Reads it from a container's labels. `None` if it is nobody's of ours.
    pub(super) fn read<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Option<Self> {
        let labels: BTreeMap<&str, &str> =
            labels.into_iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let text = |name: &str| labels.get(name).map(|value| (*value).to_owned());
        let container = match *labels.get(KIND)? {
            CONTAINER => Some((text(CONTAINER_NAME)?, text(IMAGE)?)),
            SANDBOX => None,
            _ => return None,
        };
        Some(Self {
            uid: text(UID)?.into(),
            namespace: text(NAMESPACE)?,
            name: text(NAME)?,
            attempt: labels.get(ATTEMPT)?.parse().ok()?,
            container,
            labels: serde_json::from_str(labels.get(LABELS)?).ok()?,
        })
    }

    /// Returns it as labels of a container on this node.
    pub(super) fn write(&self, node: &str) -> Vec<(String, String)> {
        let kind = if self.container.is_some() { CONTAINER } else { SANDBOX };
        let mut labels = vec![
            (NODE, node.to_owned()),
            (KIND, kind.to_owned()),
            (ATTEMPT, self.attempt.to_string()),
            (LABELS, serde_json::to_string(&self.labels).expect("text can be written as JSON")),
            (UID, self.uid.to_string()),
            (NAMESPACE, self.namespace.clone()),
            (NAME, self.name.clone()),
        ];
        if let Some((name, image)) = &self.container {
            labels.extend([(CONTAINER_NAME, name.clone()), (IMAGE, image.clone())]);
        }
        labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the name of the container, as Kubernetes' agent named its own.
    pub(super) fn docker_name(&self) -> String {
        let container = self.container.as_ref().map_or("POD", |(name, _)| name.as_str());
        format!("k8s_{container}_{}_{}_{}_{}", self.name, self.namespace, self.uid, self.attempt)
    }

    /// Returns which attempt it is, if it is no sandbox.
    pub(super) fn key(&self) -> Option<ContainerKey> {
        let (name, _) = self.container.as_ref()?;
        Some(ContainerKey::new(self.uid.clone(), name.as_str(), self.attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_on_a_container_is_read_again() {
        let pod = PodSandbox {
            uid: "0b5f".into(),
            namespace: "default".into(),
            name: "web".into(),
            labels: [("app".to_owned(), "a \"b\" {c}".to_owned())].into(),
            ..PodSandbox::default()
        };
        let sandbox = Tag::sandbox(&pod, 1);
        let spec = ContainerSpec {
            name: "main".into(),
            attempt: 4,
            image: "web:v2".into(),
            ..ContainerSpec::default()
        };
        let container = sandbox.container(&spec);

        for tag in [&sandbox, &container] {
            let labels = tag.write("node-1");
            assert_eq!(Tag::read(labels.iter().map(|(name, value)| (name, value))).as_ref(), Some(tag));
        }
        assert_eq!(sandbox.docker_name(), "k8s_POD_web_default_0b5f_1");
        assert_eq!(container.docker_name(), "k8s_main_web_default_0b5f_4");
    }

    #[test]
    fn a_strangers_container_is_not_read() {
        let labels = [("com.docker.compose.project".to_owned(), "x".to_owned())];

        assert_eq!(Tag::read(labels.iter().map(|(name, value)| (name, value))), None);
    }
}

//! The objects that clients make.

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

/// A config map of a KiB.
pub(crate) fn config_map(index: usize, filling: char) -> String {
    let filling: String = std::iter::repeat_n(filling, 900).collect();
    format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"map-{index}","labels":{{"app":"bench"}}}},"data":{{"key":"{filling}"}}}}"#
    )
}

/// A pod of which no more is said than must be.
pub(crate) fn pod(index: usize) -> String {
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"pod-{index}","labels":{{"app":"bench"}}}},"spec":{{"containers":[{{"name":"web","image":"nginx:1"}}]}}}}"#
    )
}

/// A pod as a deployment makes it: about 2.3 KB once it is stored, with what the server adds.
pub(crate) fn large_pod(index: usize) -> String {
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"pod-{index}","labels":{{"app":"bench","pod-template-hash":"5d9c7b8f6d","tier":"frontend"}}}},"spec":{{"containers":[{{"name":"web","image":"nginx:1","ports":[{{"containerPort":80}}],"resources":{{"requests":{{"cpu":"10m","memory":"16Mi"}}}}}}]}}}}"#
    )
}

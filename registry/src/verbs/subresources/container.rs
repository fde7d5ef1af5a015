//! Which of a pod's containers a request means.

use serde_json::Value;

use crate::status::{Result, Status};

/// Returns the container that is meant: the one that is named, or the only one.
pub(super) fn meant(pod: &Value, name: &str, named: Option<&str>) -> Result<String> {
    let names = |list: &str| -> Vec<&str> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str()).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    if let Some(wanted) = named {
        let ephemeral = names("ephemeralContainers");
        if main.iter().chain(&init).chain(&ephemeral).any(|name| *name == wanted) {
            return Ok(wanted.to_owned());
        }
        return Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")));
    }
    if let [only] = main.as_slice() {
        return Ok((*only).to_owned());
    }
    let annotation = &pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"];
    if let Some(default) = annotation.as_str().filter(|name| main.contains(name)) {
        return Ok(default.to_owned());
    }
    let init = match init.as_slice() {
        [] => String::new(),
        init => format!(" or one of the init containers: [{}]", init.join(" ")),
    };
    Err(Status::bad_request(format!(
        "a container name must be specified for pod {name}, choose one of: [{}]{init}",
        main.join(" ")
    )))
}

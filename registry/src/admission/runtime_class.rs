//! A pod of a runtime class costs what the class says besides, and runs where the class can.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Attributes, Operation};
use crate::status::{Result, Status};

/// Upstream's `RuntimeClass`.
#[derive(Debug)]
pub struct RuntimeClass;

#[async_trait]
impl Admission for RuntimeClass {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("pods")
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let refuse = |why: String| Status::forbidden_object(attributes.resource, attributes.name, why);
        let name = object["spec"]["runtimeClassName"].as_str();
        let class = match name {
            None => &Value::Null,
            Some(name) => {
                let class = attributes.world.get(&format!("/registry/runtimeclasses/{name}"));
                let missing = || refuse(format!("pod rejected: RuntimeClass {name:?} not found"));
                class.ok_or_else(missing)?.parsed()
            }
        };
        set_overhead(object, &class["overhead"]["podFixed"]).map_err(refuse)?;
        select_nodes(object, &class["scheduling"]["nodeSelector"]).map_err(refuse)?;
        tolerate(object, &class["scheduling"]["tolerations"]);
        Ok(())
    }
}

fn set_overhead(pod: &mut Value, overhead: &Value) -> std::result::Result<(), String> {
    let given = &pod["spec"]["overhead"];
    let has_own = given.as_object().is_some_and(|given| !given.is_empty());
    match (overhead.is_null(), has_own) {
        (true, true) => {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into())
        }
        (true, false) => Ok(()),
        (false, true) if given != overhead => {
            Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into())
        }
        (false, _) => {
            pod["spec"]["overhead"] = overhead.clone();
            Ok(())
        }
    }
}

fn select_nodes(pod: &mut Value, selector: &Value) -> std::result::Result<(), String> {
    for (key, value) in selector.as_object().into_iter().flatten() {
        if !pod["spec"]["nodeSelector"].is_object() {
            pod["spec"]["nodeSelector"] = json!({});
        }
        let own = &mut pod["spec"]["nodeSelector"][key];
        match own.as_str() {
            Some(own) if own != value => {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {own}",
                    value.as_str().unwrap_or_default()
                ));
            }
            _ => *own = value.clone(),
        }
    }
    Ok(())
}

fn tolerate(pod: &mut Value, tolerations: &Value) {
    let mut all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let before = all.len();
    for toleration in tolerations.as_array().into_iter().flatten() {
        if !all.contains(toleration) {
            all.push(toleration.clone());
        }
    }
    if all.len() > before {
        pod["spec"]["tolerations"] = all.into();
    }
}

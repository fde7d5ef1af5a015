//! What extends the API server: admission webhooks and policies, and aggregated APIs.

use serde_json::Value;

use super::Columns;
use super::cell::{self, count, string};
use super::definition::{ColumnDefinition, age, integer, name, text};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    Some(match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => webhooks(),
        "ValidatingAdmissionPolicy" => {
            policy("validations", integer("Validations", "How many rules the policy checks"))
        }
        "MutatingAdmissionPolicy" => {
            policy("mutations", integer("Mutations", "How many changes the policy makes"))
        }
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => binding(),
        "APIService" => api_service(),
        _ => return None,
    })
}

fn webhooks() -> Columns {
    Columns::new([name(), integer("Webhooks", "How many webhooks are called"), age()], |object, now| {
        vec![cell::name(object), count(&object["webhooks"]).into(), cell::age(object, now)]
    })
}

fn policy(rules: &'static str, column: ColumnDefinition) -> Columns {
    let definitions = [name(), column, text("ParamKind", "The kind of the policy's parameters"), age()];
    Columns::new(definitions, move |policy, now| {
        let spec = &policy["spec"];
        let parameters = match &spec["paramKind"] {
            Value::Null => "<unset>".to_owned(),
            kind => format!("{}/{}", string(&kind["apiVersion"]), string(&kind["kind"])),
        };
        vec![cell::name(policy), count(&spec[rules]).into(), parameters.into(), cell::age(policy, now)]
    })
}

fn binding() -> Columns {
    let definitions = [
        name(),
        text("PolicyName", "The policy that is put into force"),
        text("ParamRef", "The policy's parameters"),
        age(),
    ];
    Columns::new(definitions, |binding, now| {
        let spec = &binding["spec"];
        let reference = &spec["paramRef"];
        // Without a namespace the parameter may be of the cluster or of the request's namespace.
        let parameter = match (string(&reference["namespace"]), string(&reference["name"])) {
            (_, "") if reference["selector"].is_null() => "<unset>".into(),
            (_, "") => cell::label_selector(&reference["selector"]),
            ("", name) => format!("*/{name}").into(),
            (namespace, name) => format!("{namespace}/{name}").into(),
        };
        vec![cell::name(binding), cell::text(&spec["policyName"]), parameter, cell::age(binding, now)]
    })
}

fn api_service() -> Columns {
    let definitions = [
        name(),
        text("Service", "The service that serves the API"),
        text("Available", "Whether the API can be reached"),
        age(),
    ];
    Columns::new(definitions, |object, now| {
        let service = match &object["spec"]["service"] {
            Value::Null => "Local".to_owned(),
            service => format!("{}/{}", string(&service["namespace"]), string(&service["name"])),
        };
        let available = match cell::condition(&object["status"]["conditions"], "Available") {
            None => "Unknown".to_owned(),
            Some(condition) if condition["status"] == "True" => "True".to_owned(),
            Some(condition) => format!("{} ({})", string(&condition["status"]), string(&condition["reason"])),
        };
        vec![cell::name(object), service.into(), available.into(), cell::age(object, now)]
    })
}

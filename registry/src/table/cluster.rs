//! The small groups: access, certificates, leases, scheduling, disruption, flow control, devices.

use serde_json::Value;

use super::Columns;
use super::cell::{self, int, integer, is_true, items, or, quantity, string};
use super::definition::{age, boolean, integer as number, name, text, wide};
use super::duration::human_duration;

pub(super) fn columns(group: &str, kind: &str) -> Option<Columns> {
    Some(match (group, kind) {
        ("policy", "PodDisruptionBudget") => pod_disruption_budget(),
        ("scheduling.k8s.io", "PriorityClass") => priority_class(),
        ("node.k8s.io", "RuntimeClass") => runtime_class(),
        ("coordination.k8s.io", "Lease") => lease(),
        ("coordination.k8s.io", "LeaseCandidate") => lease_candidate(),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => role_binding(),
        ("certificates.k8s.io", "CertificateSigningRequest") => certificate_signing_request(),
        ("certificates.k8s.io", "ClusterTrustBundle") => cluster_trust_bundle(),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow_schema(),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => priority_level(),
        ("resource.k8s.io", "DeviceClass" | "ResourceClaimTemplate") => only_age(),
        ("resource.k8s.io", "ResourceClaim") => resource_claim(),
        ("resource.k8s.io", "ResourceSlice") => resource_slice(),
        _ => return None,
    })
}

fn pod_disruption_budget() -> Columns {
    let definitions = [
        name(),
        text("Min Available", "How many pods have to stay available"),
        text("Max Unavailable", "How many pods may be unavailable"),
        number("Allowed Disruptions", "How many pods may be evicted by now"),
        age(),
    ];
    Columns::new(definitions, |budget, now| {
        let bound = |field: &str| -> Value {
            match &budget["spec"][field] {
                Value::Null => "N/A".into(),
                bound => quantity(bound).into(),
            }
        };
        vec![
            cell::name(budget),
            bound("minAvailable"),
            bound("maxUnavailable"),
            integer(&budget["status"]["disruptionsAllowed"]),
            cell::age(budget, now),
        ]
    })
}

fn priority_class() -> Columns {
    let definitions = [
        name(),
        number("Value", "The priority of its pods"),
        boolean("Global-Default", "Whether pods without a class belong to it"),
        age(),
        text("PreemptionPolicy", "Whether its pods displace others"),
    ];
    Columns::new(definitions, |class, now| {
        vec![
            cell::name(class),
            integer(&class["value"]),
            is_true(&class["globalDefault"]).into(),
            cell::age(class, now),
            cell::text(&class["preemptionPolicy"]),
        ]
    })
}

fn runtime_class() -> Columns {
    Columns::new([name(), text("Handler", "What runs its pods on a node"), age()], |class, now| {
        vec![cell::name(class), cell::text(&class["handler"]), cell::age(class, now)]
    })
}

fn lease() -> Columns {
    Columns::new([name(), text("Holder", "Who holds the lease"), age()], |lease, now| {
        vec![cell::name(lease), cell::text(&lease["spec"]["holderIdentity"]), cell::age(lease, now)]
    })
}

fn lease_candidate() -> Columns {
    let definitions = [
        name(),
        text("LeaseName", "The lease that it would hold"),
        text("BinaryVersion", "The version of the candidate"),
        text("EmulationVersion", "The version that the candidate behaves as"),
        age(),
    ];
    Columns::new(definitions, |candidate, now| {
        let spec = &candidate["spec"];
        let [lease, binary, emulated] =
            ["leaseName", "binaryVersion", "emulationVersion"].map(|field| cell::text(&spec[field]));
        vec![cell::name(candidate), lease, binary, emulated, cell::age(candidate, now)]
    })
}

fn role_binding() -> Columns {
    let definitions = [
        name(),
        text("Role", "The role that is granted"),
        age(),
        wide("Users", "The users who are granted it"),
        wide("Groups", "The groups that are granted it"),
        wide("ServiceAccounts", "The service accounts that are granted it"),
    ];
    Columns::new(definitions, |binding, now| {
        let role = &binding["roleRef"];
        let subjects = |kind: &str, write: fn(&Value) -> String| -> Value {
            let subjects = items(&binding["subjects"]).iter().filter(|subject| subject["kind"] == kind);
            Vec::from_iter(subjects.map(write)).join(", ").into()
        };
        let name_of = |subject: &Value| string(&subject["name"]).to_owned();
        vec![
            cell::name(binding),
            format!("{}/{}", string(&role["kind"]), string(&role["name"])).into(),
            cell::age(binding, now),
            subjects("User", name_of),
            subjects("Group", name_of),
            subjects("ServiceAccount", |subject| {
                format!("{}/{}", string(&subject["namespace"]), string(&subject["name"]))
            }),
        ]
    })
}

fn certificate_signing_request() -> Columns {
    let definitions = [
        name(),
        age(),
        text("SignerName", "Who is to sign"),
        text("Requestor", "Who asked"),
        text("RequestedDuration", "How long the certificate should be valid"),
        text("Condition", "Whether the request is decided, and the certificate issued"),
    ];
    Columns::new(definitions, |request, now| {
        let spec = &request["spec"];
        let duration = spec["expirationSeconds"].as_i64().map_or("<none>".to_owned(), human_duration);
        vec![
            cell::name(request),
            cell::age(request, now),
            or(&spec["signerName"], "<none>"),
            cell::text(&spec["username"]),
            duration.into(),
            decision(&request["status"]).into(),
        ]
    })
}

fn decision(status: &Value) -> String {
    let has = |kind| cell::condition(&status["conditions"], kind).is_some();
    let mut words = vec![if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }];
    if has("Failed") {
        words.push("Failed");
    }
    if !string(&status["certificate"]).is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

fn cluster_trust_bundle() -> Columns {
    Columns::new([name(), text("SignerName", "Whose certificates it vouches for")], |bundle, _| {
        vec![cell::name(bundle), or(&bundle["spec"]["signerName"], "<none>")]
    })
}

fn flow_schema() -> Columns {
    let definitions = [
        name(),
        text("PriorityLevel", "The level that its requests belong to"),
        text("MatchingPrecedence", "Its place among the schemas; the least comes first"),
        text("DistinguisherMethod", "What tells one flow from another"),
        age(),
        text("MissingPL", "Whether its level does not exist"),
    ];
    Columns::new(definitions, |schema, now| {
        let spec = &schema["spec"];
        let dangling = cell::condition(&schema["status"]["conditions"], "Dangling");
        vec![
            cell::name(schema),
            cell::text(&spec["priorityLevelConfiguration"]["name"]),
            integer(&spec["matchingPrecedence"]),
            or(&spec["distinguisherMethod"]["type"], "<none>"),
            cell::age(schema, now),
            dangling.map_or("?".into(), |condition| cell::text(&condition["status"])),
        ]
    })
}

fn priority_level() -> Columns {
    let definitions = [
        name(),
        text("Type", "Whether its requests are limited"),
        text("NominalConcurrencyShares", "Its share of the requests that are served at a time"),
        text("Queues", "How many queues its requests wait in"),
        text("HandSize", "How many queues a flow's requests are dealt to"),
        text("QueueLengthLimit", "How many requests wait in a queue at most"),
        age(),
    ];
    Columns::new(definitions, |level, now| {
        let spec = &level["spec"];
        let limited = &spec["limited"];
        let queuing = &limited["limitResponse"]["queuing"];
        let of = |settings: &Value, field: &str| -> Value {
            if settings.is_null() { "<none>".into() } else { int(&settings[field]).into() }
        };
        vec![
            cell::name(level),
            cell::text(&spec["type"]),
            of(limited, "nominalConcurrencyShares"),
            of(queuing, "queues"),
            of(queuing, "handSize"),
            of(queuing, "queueLengthLimit"),
            cell::age(level, now),
        ]
    })
}

fn only_age() -> Columns {
    Columns::new([name(), age()], |object, now| vec![cell::name(object), cell::age(object, now)])
}

fn resource_claim() -> Columns {
    Columns::new([name(), text("State", "Whether devices are allocated, and in use"), age()], |claim, now| {
        let status = &claim["status"];
        let mut states = Vec::new();
        if cell::is_deleted(claim) {
            states.push("deleted");
        }
        if !status["allocation"].is_null() {
            states.push("allocated");
            if !items(&status["reservedFor"]).is_empty() {
                states.push("reserved");
            }
        } else if states.is_empty() {
            states.push("pending");
        }
        vec![cell::name(claim), states.join(",").into(), cell::age(claim, now)]
    })
}

fn resource_slice() -> Columns {
    let definitions = [
        name(),
        text("Node", "The node that has the devices"),
        text("Driver", "The driver of the devices"),
        text("Pool", "The pool that the devices belong to"),
        age(),
    ];
    Columns::new(definitions, |slice, now| {
        let spec = &slice["spec"];
        vec![
            cell::name(slice),
            cell::text(&spec["nodeName"]),
            cell::text(&spec["driver"]),
            cell::text(&spec["pool"]["name"]),
            cell::age(slice, now),
        ]
    })
}

//! Rules for probes and for hooks in a container's life.

use super::super::at::{At, Errors};
use super::super::names;

/// Checks the probes and hooks of a container whose pod has `grace` seconds to end.
pub(super) fn all(container: &At, grace: i64, errors: &mut Errors) {
    let lifecycle = container.child("lifecycle");
    for name in ["postStart", "preStop"] {
        if lifecycle.child(name).is_set() {
            handler(&lifecycle.child(name), grace, errors);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.child(name);
        if !probe.is_set() {
            continue;
        }
        handler(&probe, grace, errors);
        for number in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            probe.child(number).not_negative(errors);
        }
        let (successes, grace) =
            (probe.child("successThreshold"), probe.child("terminationGracePeriodSeconds"));
        if grace.int().is_some_and(|seconds| seconds <= 0) {
            grace.invalid(errors, "must be greater than 0");
        }
        if name == "readinessProbe" {
            if grace.is_set() {
                grace.invalid(errors, "must not be set for readinessProbes");
            }
            continue;
        }
        if successes.int() != Some(1) {
            successes.invalid_shown(errors, successes.int().unwrap_or_default(), "must be 1");
        }
    }
}

/// Checks one way to do something, in a pod that has so many seconds to end.
type Action = fn(&At, i64, &mut Errors);

/// Checks that something is done in exactly one way.
fn handler(handler: &At, grace: i64, errors: &mut Errors) {
    let mut handlers = 0;
    let kinds: [(&str, Action); 5] = [
        ("exec", |exec, _, errors| {
            exec.child("command").require(errors);
        }),
        ("httpGet", |get, _, errors| http_get(get, errors)),
        ("tcpSocket", |socket, _, errors| port(&socket.child("port"), errors)),
        ("grpc", |grpc, _, errors| grpc.child("port").in_range(errors, 1, 65535)),
        ("sleep", sleep),
    ];
    for (name, check) in kinds {
        let action = handler.child(name);
        if !action.is_set() {
            continue;
        }
        if handlers > 0 {
            action.forbidden(errors, "may not specify more than 1 handler type");
        } else {
            handlers += 1;
            check(&action, grace, errors);
        }
    }
    if handlers == 0 {
        handler.required(errors, "must specify a handler type");
    }
}

fn http_get(get: &At, errors: &mut Errors) {
    get.child("path").require(errors);
    port(&get.child("port"), errors);
    get.child("scheme").one_of(errors, &["HTTP", "HTTPS"]);
    let headers = get.child("httpHeaders");
    for header in headers.items() {
        let name = header.child("name").str();
        names::header_name(name).iter().for_each(|problem| headers.invalid_shown(errors, name, problem));
    }
}

fn sleep(action: &At, grace: i64, errors: &mut Errors) {
    let seconds = action.child("seconds").int().unwrap_or_default();
    if seconds < 0 || seconds > grace {
        let rule = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        action.invalid_shown(errors, seconds, &rule);
    }
}

/// Checks the number or the name of a port.
pub(in super::super) fn port(port: &At, errors: &mut Errors) {
    if port.value().is_string() {
        port.rule(errors, names::port_name);
    } else {
        port.in_range(errors, 1, 65535);
    }
}

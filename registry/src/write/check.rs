//! Checking what is written, without holding up others.

use std::sync::Arc;

use serde_json::Value;

use crate::registry::Registry;
use crate::resource::{Resource, Subresource};
use crate::validation::FieldError;

impl Registry {
    /// Returns what is wrong with a new object, or with the successor of an old one.
    pub(super) async fn check(
        &self,
        resource: &Arc<Resource>,
        subresource: Option<Subresource>,
        new: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        if !takes_long(resource, new) {
            return problems(resource, subresource, new, old);
        }
        let (resource, new, old) = (resource.clone(), new.clone(), old.cloned());
        self.long.run(move || problems(&resource, subresource, &new, old.as_ref())).await
    }
}

/// Whether a check may take longer than a task may hold up others: schemas, with their patterns and rules, what is checked by
/// them, and policies.
fn takes_long(resource: &Resource, new: &Value) -> bool {
    match &resource.custom {
        Some(custom) => custom.takes_long(new),
        None => matches!(
            (&*resource.group, &*resource.kind),
            ("apiextensions.k8s.io", "CustomResourceDefinition")
                | ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy")
        ),
    }
}

fn problems(
    resource: &Resource,
    subresource: Option<Subresource>,
    new: &Value,
    old: Option<&Value>,
) -> Vec<FieldError> {
    let Resource { validator, strategy, .. } = resource;
    let (mut errors, more) = match (old, subresource) {
        (None, _) => (validator.create(new), strategy.validate(new)),
        (Some(old), Some(Subresource::Status | Subresource::Approval)) => {
            (validator.status_update(new, old), strategy.validate_status_update(new, old))
        }
        // A binding is checked as such; what it changes, no update may.
        (Some(_), Some(Subresource::Binding)) => return Vec::new(),
        (Some(old), _) => (validator.update(new, old), strategy.validate_update(new, old)),
    };
    errors.extend(more);
    errors
}

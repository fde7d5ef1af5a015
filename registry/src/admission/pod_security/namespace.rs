//! What namespaces ask for must be well said, and whoever asks for more hears which pods would not get in today.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::checks::{Pod, reasons, violations};
use super::policy::{Level, LevelVersion};
use super::{Attributes, PodSecurity};
use crate::object::Object;
use crate::status::{Result, Status};

/// How many pods are looked at.
const MAX_PODS: usize = 3000;
/// For how long pods are looked at.
const MAX_TIME: Duration = Duration::from_secs(1);
/// After how many pods others get their turn.
const TURN: usize = 64;

/// What was found wrong with pods, in few words: the first of their names, and how many they are.
type Found = BTreeMap<String, (String, usize)>;

impl PodSecurity {
    pub(super) async fn namespace(&self, attributes: &Attributes<'_>, namespace: &Value) -> Result<()> {
        let name = attributes.name;
        let labels = &namespace["metadata"]["labels"];
        let (policy, errors) = self.defaults.of_labels(labels);
        let is_exempt = self.exemptions.namespaces.iter().any(|known| known == name);
        let invalid = || Status::invalid("", "Namespace", name, &errors);
        let warn_ignored = || {
            if let Some(warning) = policy.ignored(&self.defaults, name, labels) {
                attributes.warn(warning);
            }
        };
        let Some(old) = attributes.old else {
            if !errors.is_empty() {
                return Err(invalid());
            }
            if is_exempt {
                warn_ignored();
            }
            return Ok(());
        };
        let (before, errors_before) = self.defaults.of_labels(&old["metadata"]["labels"]);
        if !errors.is_empty() && errors != errors_before {
            return Err(invalid());
        }
        let (new, old) = (policy.enforce, before.enforce);
        let is_stricter = new.version != old.version || new.level > old.level;
        if new.level == Level::Privileged || !is_stricter {
            return Ok(());
        }
        if is_exempt {
            warn_ignored();
            return Ok(());
        }
        for warning in self.violating_pods(attributes, name, new).await {
            attributes.warn(warning);
        }
        Ok(())
    }

    /// Says which pods of a namespace would be refused. Of several that one controller made, the first is looked at before
    /// all others; what takes too long is left out.
    async fn violating_pods(
        &self,
        attributes: &Attributes<'_>,
        namespace: &str,
        asked: LevelVersion,
    ) -> Vec<String> {
        let prefix = format!("/registry/pods/{namespace}/");
        let pods: Vec<Arc<Object>> =
            attributes.world.range(&prefix, None).map(|(_, pod)| pod.clone()).collect();
        let deadline = Instant::now() + MAX_TIME;
        let (mut found, mut checked, mut exempt) = (Found::new(), 0, 0);
        let (mut controllers, mut copies) = (BTreeSet::new(), Vec::new());
        for (number, object) in pods.iter().enumerate() {
            if checked == MAX_PODS || !goes_on(number, deadline).await {
                break;
            }
            let pod = object.value();
            if self.is_class_exempt(&pod["spec"]) {
                exempt += 1;
            } else if controller(&pod).is_some_and(|controller| !controllers.insert(controller.to_owned())) {
                copies.push(object);
            } else {
                checked += 1;
                look(&pod, asked, &mut found);
            }
        }
        for (number, object) in copies.into_iter().enumerate() {
            if checked == MAX_PODS || !goes_on(number, deadline).await {
                break;
            }
            checked += 1;
            look(&object.value(), asked, &mut found);
        }
        warnings(namespace, asked, found, (checked, pods.len() - exempt))
    }
}

/// Returns whether there is time left, once others had their turn.
async fn goes_on(number: usize, deadline: Instant) -> bool {
    if !number.is_multiple_of(TURN) {
        return true;
    }
    tokio::task::yield_now().await;
    Instant::now() < deadline
}

/// Returns the uid of what made a pod.
fn controller(pod: &Value) -> Option<&str> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

fn look(pod: &Value, asked: LevelVersion, found: &mut Found) {
    let broken = violations(asked, &Pod { metadata: &pod["metadata"], spec: &pod["spec"] });
    if broken.is_empty() {
        return;
    }
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (first, count) = found.entry(reasons(&broken)).or_insert_with(|| (name.to_owned(), 0));
    *count += 1;
    if name < first.as_str() {
        *first = name.to_owned();
    }
}

fn warnings(
    namespace: &str,
    asked: LevelVersion,
    found: Found,
    (checked, total): (usize, usize),
) -> Vec<String> {
    let mut warnings = Vec::new();
    if checked < total {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{asked}\""
        ));
    }
    let mut of_pods: Vec<String> = found
        .into_iter()
        .map(|(reasons, (first, count))| match count {
            1 => format!("{first}: {reasons}"),
            2 => format!("{first} (and 1 other pod): {reasons}"),
            count => format!("{first} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    of_pods.sort_unstable();
    warnings.extend(of_pods);
    warnings
}

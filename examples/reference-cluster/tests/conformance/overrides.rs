//! Cases that the project rightly answers otherwise than the recorded server: `other.yaml`.
//!
//! Each entry names a case, the source that makes today's answer the right one, and what today's answer holds instead:
//! by step (counted from 1), JSON pointers into the recorded answer and the value there; null removes what is there.
//!
//! ```yaml
//! - case: "services.json: deleting a service answers …"
//!   source: "kubernetes/kubernetes#90945 (1.20), pkg/registry/core/service/storage"
//!   steps:
//!     2: {/status: 200, /body/kind: Service, /body/reason: null}
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::case::{Case, folder};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    case: String,
    source: String,
    steps: BTreeMap<usize, BTreeMap<String, Value>>,
}

/// What the project answers otherwise.
#[derive(Debug, Default)]
pub(crate) struct Overrides(Vec<Override>);

impl Overrides {
    /// Reads `other.yaml`.
    pub(crate) fn load() -> Self {
        let path = folder().join("other.yaml");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Reads a list in YAML.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        serde_saphyr::from_str(text).map(Self)
    }

    /// Whether `case` has other answers than the recorded ones.
    pub(crate) fn touch(&self, case: &Case) -> bool {
        let id = case.id();
        self.0.iter().any(|other| other.case == id)
    }

    /// Today's right answer to step `number` of `case`, made from the recorded one.
    pub(crate) fn apply(&self, case: &Case, number: usize, want: &Value) -> Value {
        let id = case.id();
        let mut today = want.clone();
        for other in self.0.iter().filter(|other| other.case == id) {
            for (pointer, value) in other.steps.get(&number).into_iter().flatten() {
                set(&mut today, pointer, value.clone());
            }
        }
        today
    }

    /// What is wrong with the list itself: entries without a source, and those that change no recorded answer.
    pub(crate) fn faults(&self, cases: &[Case]) -> Vec<String> {
        self.0.iter().flat_map(|other| other.faults(cases)).collect()
    }
}

impl Override {
    fn faults(&self, cases: &[Case]) -> Vec<String> {
        let mut faults = Vec::new();
        if self.source.trim().is_empty() {
            faults.push(format!("{}: no source", self.case));
        }
        let Some(case) = cases.iter().find(|case| case.id() == self.case) else {
            faults.push(format!("{}: no such case", self.case));
            return faults;
        };
        if self.steps.is_empty() {
            faults.push(format!("{}: no steps", self.case));
        }
        for (number, changes) in &self.steps {
            let step = number.checked_sub(1).and_then(|index| case.steps.get(index));
            let Some(want) = step.and_then(|step| step.want.as_ref()) else {
                faults.push(format!("{}: step {number} has no recorded answer", self.case));
                continue;
            };
            for (pointer, value) in changes {
                let mut today = want.clone();
                if !set(&mut today, pointer, value.clone()) {
                    faults.push(format!("{}: step {number} has nothing that holds {pointer}", self.case));
                } else if today == *want {
                    faults.push(format!("{}: step {number} holds this at {pointer} already", self.case));
                }
            }
        }
        faults
    }
}

/// Puts `value` at `pointer`, or removes what is there if it is null; false if there is no such place.
fn set(document: &mut Value, pointer: &str, value: Value) -> bool {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return false };
    let name = last.replace("~1", "/").replace("~0", "~");
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            match value {
                Value::Null => members.remove(&name),
                value => members.insert(name, value),
            };
            true
        }
        Some(Value::Array(items)) => match name.parse::<usize>() {
            Ok(index) if index < items.len() && value.is_null() => {
                items.remove(index);
                true
            }
            Ok(index) if index < items.len() => {
                items[index] = value;
                true
            }
            Ok(index) if index == items.len() && !value.is_null() => {
                items.push(value);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Step;
    use serde_json::json;

    fn case() -> Case {
        let want = json!({"status": 409, "body": {"code": 409, "causes": [{"a/b": 1}, 2]}});
        Case {
            file: "f.json".to_owned(),
            name: "n".to_owned(),
            needs_namespace: false,
            steps: vec![Step::default(), Step { want: Some(want), ..Step::default() }],
        }
    }

    fn list(steps: &str) -> Overrides {
        Overrides::parse(&format!("- case: 'f.json: n'\n  source: s\n  steps: {steps}")).unwrap()
    }

    #[test]
    fn an_override_replaces_adds_and_removes_parts_of_an_answer() {
        let list =
            list("{2: {/status: 200, /body/code: null, /body/causes/0/a~1b: x, /body/causes/2: {y: z}}}");
        let case = case();

        assert!(list.touch(&case));
        assert_eq!(list.faults(std::slice::from_ref(&case)), Vec::<String>::new());
        assert_eq!(
            list.apply(&case, 2, case.steps[1].want.as_ref().unwrap()),
            json!({"status": 200, "body": {"causes": [{"a/b": "x"}, 2, {"y": "z"}]}})
        );
        assert_eq!(list.apply(&case, 1, &json!({"status": 1})), json!({"status": 1}), "other steps stay");
    }

    #[test]
    fn an_entry_that_fits_no_recorded_answer_is_a_fault() {
        let cases = [case()];
        for (steps, fault) in [
            ("{1: {/status: 200}}", "step 1 has no recorded answer"),
            ("{3: {/status: 200}}", "step 3 has no recorded answer"),
            ("{0: {/status: 200}}", "step 0 has no recorded answer"),
            ("{2: {/status: 409}}", "step 2 holds this at /status already"),
            ("{2: {/body/none: null}}", "step 2 holds this at /body/none already"),
            ("{2: {/none/code: 1}}", "step 2 has nothing that holds /none/code"),
            ("{2: {/body/causes/3: 1}}", "step 2 has nothing that holds /body/causes/3"),
            ("{2: {status: 1}}", "step 2 has nothing that holds status"),
            ("{}", "no steps"),
        ] {
            assert_eq!(list(steps).faults(&cases), [format!("f.json: n: {fault}")], "{steps}");
        }
        let unknown = Overrides::parse("[{case: 'f.json: m', source: ' ', steps: {1: {/a: 1}}}]").unwrap();
        assert_eq!(unknown.faults(&cases), ["f.json: m: no source", "f.json: m: no such case"]);
    }
}

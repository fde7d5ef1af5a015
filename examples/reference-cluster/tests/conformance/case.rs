//! What a recorded case is: a name, and steps with the answers that a real server gave.
//!
//! Start at [`load`]. The README beside `conform.py` says what each member of a step means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The folder of this test: recorded cases, rules and lists lie in it.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// Scripted requests and the answers that they must get.
#[derive(Debug)]
pub(crate) struct Case {
    /// The file that holds the case, such as `pods.json`.
    pub(crate) file: String,
    /// A sentence: what holds.
    pub(crate) name: String,
    /// Whether the case wants a namespace of its own.
    pub(crate) needs_namespace: bool,
    /// What is done, in order.
    pub(crate) steps: Vec<Step>,
}

impl Case {
    /// How the lists name this case.
    pub(crate) fn id(&self) -> String {
        format!("{}: {}", self.file, self.name)
    }
}

/// One step of a case: a request, a pause, or the end of a watch.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Step {
    /// Method and path of the request.
    #[serde(rename = "do")]
    pub(crate) request: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// A JSON body. Kept as it is written, because the order of members decides the order of some errors.
    pub(crate) body: Option<Box<RawValue>>,
    /// A body sent as it stands.
    pub(crate) raw: Option<String>,
    /// A body in base64.
    pub(crate) bytes: Option<String>,
    /// A long string to put into the body.
    pub(crate) repeat: Option<Repeat>,
    /// Names for parts of the answer.
    #[serde(default)]
    pub(crate) save: BTreeMap<String, String>,
    /// The only part of the answer that counts.
    pub(crate) at: Option<String>,
    /// Whether the answer is not compared.
    #[serde(default)]
    pub(crate) quiet: bool,
    /// What must hold before the answer counts.
    pub(crate) until: Option<Value>,
    /// Seconds to wait.
    pub(crate) sleep: Option<f64>,
    /// The name of the watch that this request opens.
    pub(crate) watch: Option<String>,
    /// The name of the watch whose events are the answer.
    pub(crate) join: Option<String>,
    /// How many events to wait for.
    pub(crate) events: Option<usize>,
    /// How many seconds to wait for them.
    pub(crate) timeout: Option<f64>,
    /// The member that names the items of a list which may hold more than was recorded.
    pub(crate) members: Option<String>,
    /// Paths that are not compared, as regular expressions.
    #[serde(default)]
    pub(crate) ignore: Vec<String>,
    /// Whether `managedFields` are compared.
    #[serde(default)]
    pub(crate) managed_fields: bool,
    /// The recorded answer.
    pub(crate) want: Option<Value>,
}

/// A string of `count` bytes at the path `at` of a JSON body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repeat {
    pub(crate) at: String,
    pub(crate) count: usize,
}

/// The names of the files with recorded cases, sorted.
pub(crate) fn files() -> Vec<String> {
    let entries =
        std::fs::read_dir(folder().join("golden")).expect("the recorded cases are beside this test");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    names
}

/// The cases of one file, in their order.
pub(crate) fn load(file: &str) -> Vec<Case> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Unread<'a> {
        name: String,
        #[serde(borrow)]
        steps: &'a RawValue,
    }

    let path = folder().join("golden").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Unread<'_>> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    cases
        .into_iter()
        .map(|case| Case {
            file: file.to_owned(),
            needs_namespace: case.steps.get().contains("$ns"),
            steps: steps(file, case.steps).unwrap_or_else(|error| panic!("{file}: {}: {error}", case.name)),
            name: case.name,
        })
        .collect()
}

/// The steps of a case. Where apply is what cases are about, who owns what counts in all of them.
fn steps(file: &str, text: &RawValue) -> serde_json::Result<Vec<Step>> {
    let mut steps: Vec<Step> = serde_json::from_str(text.get())?;
    for step in &mut steps {
        step.managed_fields |= file == "apply.json";
    }
    Ok(steps)
}

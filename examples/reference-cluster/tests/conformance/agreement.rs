//! `conform.py` and this runner say the same of the same cluster: the one over TLS, the other in process.
//!
//! `conform.py` lies in `shared/conformance` beside the checkout; where that folder is missing, nothing is compared, and
//! the test says so. Cases in which a step waits in vain are left out: `conform.py` would wait in real time.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::case::{Case, files, folder, load};
use crate::check::{Rules, check_all};
use crate::cluster;
use crate::overrides::Overrides;

/// How many clusters are asked side by side. Most of the time of `conform.py` is waiting.
const CLUSTERS: usize = 4;

/// How long a cluster may take to start, and `conform.py` to run: far more than they need.
const PATIENCE: Duration = Duration::from_secs(300);

/// The cases in which it is stored who asked. Over TLS that has the certificate's hash, as `authentication.kubernetes.io/credential-id`:
/// upstream says so since 1.32, and the server that was recorded did not. The runner's user has no certificate.
const SHOW_THE_CERTIFICATE: [&str; 3] = [
    "security.json: a signing request is approved through its approval subresource, and the condition gets its times",
    "security.json: a signing request records who made it and starts without conditions",
    "security.json: a signing request's spec does not change, and a status is not set through the object itself",
];

#[test]
fn conform_py_over_tls_agrees() {
    let Some(tool) = tool() else {
        // Not println: a test that passes prints nothing.
        writeln!(
            std::io::stderr(),
            "shared/conformance/conform.py is not beside the checkout: NOT COMPARED WITH IT"
        )
        .expect("standard error can be written to");
        return;
    };
    let cases: Vec<Case> = files().iter().flat_map(|file| load(file)).collect();
    let verdicts = check_all(&Rules::new(Overrides::default()), &cases, |_| true, cluster::start);
    let compared: BTreeSet<&str> = verdicts
        .iter()
        .filter(|verdict| !verdict.waited_in_vain)
        .map(|verdict| verdict.id.as_str())
        .collect();
    let fail_here: BTreeSet<String> = verdicts
        .iter()
        .filter(|verdict| !verdict.passes() && compared.contains(verdict.id.as_str()))
        .map(|verdict| verdict.id.clone())
        .collect();

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let fail_there = runtime.block_on(fail_there(&tool, &compared));

    let shown = |id: &&String| SHOW_THE_CERTIFICATE.contains(&id.as_str());
    assert_eq!(fail_there.iter().filter(shown).count(), SHOW_THE_CERTIFICATE.len(), "they have the hash");
    let only_there: Vec<_> = fail_there.difference(&fail_here).filter(|id| !shown(id)).collect();
    let only_here: Vec<_> = fail_here.difference(&fail_there).collect();
    assert!(
        only_there.is_empty() && only_here.is_empty(),
        "of {} cases, only conform.py fails {only_there:#?}\nonly the runner fails {only_here:#?}",
        compared.len()
    );
}

/// Where `conform.py` is.
fn tool() -> Option<PathBuf> {
    let beside = |above: &Path| above.join("shared/conformance/conform.py");
    folder().ancestors().map(beside).find(|path| path.exists())
}

/// The cases that `conform.py` fails.
async fn fail_there(tool: &Path, compared: &BTreeSet<&str>) -> BTreeSet<String> {
    let files = files();
    let groups = (0..CLUSTERS).map(|first| {
        let group: Vec<&String> = files.iter().skip(first).step_by(CLUSTERS).collect();
        fail_in(tool, group, compared)
    });
    futures::future::join_all(groups).await.into_iter().flatten().collect()
}

async fn fail_in(tool: &Path, files: Vec<&String>, compared: &BTreeSet<&str>) -> BTreeSet<String> {
    let directory = TempDir::new().expect("a directory can be made");
    let cluster = Up::start(directory.path()).await;
    let mut check = Command::new("python3");
    check.arg("-B").arg(tool).args(["check", "-v", "--kubeconfig"]).arg(&cluster.kubeconfig);
    for file in files {
        let chosen = directory.path().join(file);
        std::fs::write(&chosen, some_of(file, compared)).expect("a file can be written");
        check.arg(chosen);
    }
    check.stdin(Stdio::null()).kill_on_drop(true);
    let output =
        timeout(PATIENCE, check.output()).await.expect("conform.py ends").expect("python3 can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("differences by level"), "conform.py did not get through: {complaints}");
    said.lines().filter_map(|line| line.strip_prefix("FAIL ")).map(str::to_owned).collect()
}

/// The recorded cases of a file that are to be compared, as `conform.py` reads them.
fn some_of(file: &str, compared: &BTreeSet<&str>) -> String {
    let text = std::fs::read_to_string(folder().join("golden").join(file)).expect("a recorded file");
    let cases: Vec<&serde_json::value::RawValue> = serde_json::from_str(&text).expect("recorded cases");
    let names = load(file);
    let chosen = cases.iter().zip(&names).filter(|(_, case)| compared.contains(case.id().as_str()));
    format!("[{}]", chosen.map(|(text, _)| text.get()).collect::<Vec<_>>().join(","))
}

/// `quarterdeck up`, without nodes. Killed when dropped.
struct Up {
    kubeconfig: PathBuf,
    _process: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Up {
    /// Starts a cluster and returns when it says where its kubeconfig is.
    async fn start(directory: &Path) -> Self {
        let kubeconfig = directory.join("kubeconfig");
        let mut process = Command::new(env!("CARGO_BIN_EXE_quarterdeck"))
            .args([
                "up",
                "--storage=memory",
                "--listen=127.0.0.1:0",
                "--disable=scheduler,agent,proxy",
                "--data",
            ])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("quarterdeck can be started");
        let stdout = process.stdout.take().expect("its output is piped");
        let mut output = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = output.next_line().await.expect("its output is text") {
                if line.contains("kubeconfig") && kubeconfig.exists() {
                    return true;
                }
            }
            false
        };
        let ready = timeout(PATIENCE, ready).await;
        assert_eq!(ready, Ok(true), "quarterdeck up did not get ready");
        Self { kubeconfig, _process: process, _output: output }
    }
}

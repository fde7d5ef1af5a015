//! The Python client, typed and dynamic: `client_test.py`, with the packages of `requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::process::Command;

use crate::cluster::Lab;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_works_with_typed_and_dynamic_objects() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let Some(python) = python(&here.join("requirements.txt")).await else {
        eprintln!("LEFT OUT: the Python client: there is no python3 that can make a virtual environment");
        return;
    };
    let lab = Lab::start(Path::new("/bin/false")).await;

    let server = format!("http://{}", lab.address);
    let ran = run(&python, &[here.join("client_test.py").to_str().unwrap(), "--server", &server]).await;

    assert!(ran.status.success(), "{}{}", text(&ran.stdout), text(&ran.stderr));
    lab.stop().await;
}

/// Makes a virtual environment with these packages, once. `None` if Python cannot make one.
async fn python(requirements: &Path) -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = place.join("bin/python");
    if !python.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&place).output().await;
        if !made.is_ok_and(|made| made.status.success()) {
            // What was made in part must not be taken for the whole next time.
            let _ = std::fs::remove_dir_all(&place);
            return None;
        }
    }
    // Most of the packages' modules are never imported, and need not be compiled.
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--requirement"];
    let installed = run(&python, &[&install[..], &[requirements.to_str().unwrap()]].concat()).await;
    assert!(installed.status.success(), "pip: {}", text(&installed.stderr));
    Some(python)
}

async fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    // What it imports lies among the sources: nothing is to be left there.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! Finds the sources of the crates that the tables are made from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// The `src` folders of the crates.
pub(crate) struct Sources {
    pub(crate) openapi: PathBuf,
    pub(crate) protobuf: PathBuf,
}

/// Asks cargo, which downloads what the lock file names and is not there yet.
pub(crate) fn find() -> Result<Sources, Failure> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--all-features", "--locked", "--manifest-path"])
        .arg(manifest)
        .output()
        .map_err(|e| format!("cannot run cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("cannot read cargo metadata: {e}"))?;
    let source = |name: &str| {
        metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["name"] == name)
            .and_then(|package| {
                Path::new(package["manifest_path"].as_str()?).parent().map(|at| at.join("src"))
            })
            .ok_or_else(|| format!("cargo metadata names no package {name}"))
    };
    Ok(Sources { openapi: source("k8s-openapi")?.join("v1_33"), protobuf: source("k8s-pb")? })
}

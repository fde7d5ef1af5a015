//! Which part of a volume a container sees, and where.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::VolumeMount;
use quarterdeck_core::runtime::Mount;

use super::Made;
use crate::env::expand;

/// Works out one mount; with `is_written`, what it mounts is there afterwards.
///
/// # Errors
///
/// What is wrong, for the user.
pub(super) fn mount(
    made: &BTreeMap<String, Made>,
    mount: &VolumeMount,
    env: &BTreeMap<String, String>,
    is_written: bool,
) -> Result<Mount, String> {
    let volume = made.get(&mount.name).ok_or_else(|| format!("there is no volume {:?}", mount.name))?;
    let below = sub_path(mount, env)?;
    let host_path = match below {
        Some(below) if is_written => within(&volume.path, &below)?,
        Some(below) => volume.path.join(below),
        None => volume.path.clone(),
    };
    Ok(Mount {
        host_path,
        container_path: Path::new("/").join(&mount.mount_path),
        read_only: volume.is_read_only || mount.read_only == Some(true),
    })
}

fn sub_path(mount: &VolumeMount, env: &BTreeMap<String, String>) -> Result<Option<String>, String> {
    if let Some(text) = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) {
        let missing = std::cell::Cell::new(None);
        let expanded = expand(text, |name| {
            let value = env.get(name).cloned();
            if value.is_none() {
                missing.set(Some(name.to_owned()));
            }
            value
        });
        return match missing.into_inner() {
            Some(name) => {
                Err(format!("subPathExpr {text:?} names {name:?}, which the environment does not have"))
            }
            None => expanded.map(Some),
        };
    }
    Ok(mount.sub_path.clone().filter(|path| !path.is_empty()))
}

/// Returns the path below a volume, made if it is not there. It never leads out of the volume.
fn within(volume: &Path, below: &str) -> Result<PathBuf, String> {
    let path = Path::new(below);
    if !path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("subPath {below:?} must be relative and without \"..\""));
    }
    let failed = |error: std::io::Error| format!("cannot prepare subPath {below:?}: {error}");
    let root = fs::canonicalize(volume).map_err(failed)?;
    let mut place = root.clone();
    for component in path.components() {
        place.push(component);
        if fs::symlink_metadata(&place).is_err() {
            fs::create_dir(&place).map_err(failed)?;
        }
        // Links are followed one by one, so that nothing is ever made behind one that leads out.
        place = fs::canonicalize(&place).map_err(failed)?;
        if !place.starts_with(&root) {
            return Err(format!("subPath {below:?} leads out of the volume"));
        }
    }
    Ok(place)
}

//! Volumes that are directories which containers fill: of the pod's own, or of the host.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource};
use quarterdeck_core::quantity::Quantity;
use rustix::mount::{MountFlags, UnmountFlags};

/// Makes the directory of an `emptyDir`, unless it is there.
///
/// # Errors
///
/// What is wrong, for the user.
pub(super) fn make_empty_dir(
    path: &Path,
    source: &EmptyDirVolumeSource,
    group: Option<u32>,
) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("cannot make {}: {error}", path.display());
    super::make_directory(path).map_err(failed)?;
    if source.medium.as_deref() == Some("Memory") {
        let limit = source.size_limit.as_ref().map(|limit| limit.0.parse::<Quantity>()).transpose();
        let limit = limit.map_err(|error| format!("sizeLimit: {error}"))?;
        if let Err(error) = mount_memory(path, limit) {
            // What is there must not be taken for the real thing later.
            let _ = fs::remove_dir(path);
            return Err(format!(
                "cannot keep the volume in memory: {error}; the agent must run as root for that"
            ));
        }
    }
    if let Some(group) = group {
        chown(path, None, Some(group))
            .map_err(|error| format!("cannot give the volume to group {group}: {error}"))?;
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

fn mount_memory(path: &Path, limit: Option<Quantity>) -> rustix::io::Result<()> {
    let options = limit.filter(|limit| !limit.is_zero()).map(|limit| format!("size={}", limit.value()));
    let options = options.map(|options| CString::new(options).expect("digits have no zero byte"));
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_deref())
}

/// Unmounts what [`make_empty_dir`] mounted, if it did.
pub(super) fn unmount(path: &Path) {
    let device = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.dev()).ok();
    let is_mounted = path.parent().and_then(device) != device(path);
    if is_mounted && let Err(error) = rustix::mount::unmount(path, UnmountFlags::DETACH) {
        tracing::warn!(path = %path.display(), %error, "cannot unmount a volume");
    }
}

/// Checks that a path of the host is what its type says, or makes it so.
///
/// # Errors
///
/// What is wrong, for the user.
pub(super) fn check_host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    if path.components().any(|component| component == std::path::Component::ParentDir) || !path.is_absolute()
    {
        return Err(format!("hostPath {:?} must be absolute and without \"..\"", source.path));
    }
    let kind = source.type_.as_deref().unwrap_or_default();
    let failed = |error: std::io::Error| format!("cannot make {}: {error}", path.display());
    // A directory that nobody made is made by container runtimes when no type is given.
    if matches!(kind, "" | "DirectoryOrCreate") && !path.exists() {
        fs::create_dir_all(path).map_err(failed)?;
    }
    if kind == "FileOrCreate" && !path.exists() {
        fs::File::create_new(path).map_err(failed)?;
    }
    let found = fs::metadata(path).map(|meta| meta.file_type());
    let is = |check: fn(&fs::FileType) -> bool| found.as_ref().is_ok_and(check);
    let (holds, what) = match kind {
        "" => (found.is_ok(), "there"),
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "a file"),
        "Socket" => (is(|kind| kind.is_socket()), "a socket file"),
        "CharDevice" => (is(|kind| kind.is_char_device()), "a character device"),
        "BlockDevice" => (is(|kind| kind.is_block_device()), "a block device"),
        other => return Err(format!("hostPath type {other:?} is not known")),
    };
    if holds { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {what}", path.display())) }
}

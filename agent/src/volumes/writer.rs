//! Writing what a volume holds, all or nothing.
//!
//! Files lie in a directory of their own, named by a time; a link `..data` names that directory, and a link per file, the one
//! that containers see, leads through it. Changing the one link changes all files at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Component, Path};

use jiff::Timestamp;

/// The files of a volume, by their paths in it.
pub(super) type Content = BTreeMap<String, File>;

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) data: Vec<u8>,
    pub(super) mode: u32,
}

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Has `directory` hold this content, and nothing else.
///
/// # Errors
///
/// Whatever the file system says. The old content stays then.
pub(super) fn write(
    directory: &Path,
    content: &Content,
    group: Option<u32>,
    now: Timestamp,
) -> io::Result<()> {
    if let Some(path) = content.keys().find(|path| !is_inside(path)) {
        return Err(io::Error::other(format!("{path:?} is no path within a volume")));
    }
    let old = fs::read_link(directory.join(DATA)).ok();
    if let Some(old) = &old
        && holds(&directory.join(old), content, group.is_some())
    {
        return link_all(directory, content);
    }
    let name = fresh_name(directory, now);
    let target = directory.join(&name);
    fs::create_dir(&target)?;
    give(&target, 0o755, group)?;
    for (path, file) in content {
        put(&target, path, file, group)?;
    }
    let next = directory.join(NEXT);
    if let Err(error) = fs::remove_file(&next)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    symlink(&name, &next)?;
    fs::rename(&next, directory.join(DATA))?;
    link_all(directory, content)?;
    if let Some(old) = old {
        fs::remove_dir_all(directory.join(old))?;
    }
    Ok(())
}

/// Returns whether a path stays where it is put, and is none of the writer's own.
fn is_inside(path: &str) -> bool {
    let mut components = Path::new(path).components().peekable();
    let starts_well =
        components.peek().is_some_and(|first| !first.as_os_str().as_encoded_bytes().starts_with(b".."));
    starts_well && components.all(|component| matches!(component, Component::Normal(_)))
}

fn fresh_name(directory: &Path, now: Timestamp) -> String {
    let base = now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let names = std::iter::once(base.clone()).chain((1..).map(|number| format!("{base}.{number}")));
    let mut free = names.filter(|name| fs::symlink_metadata(directory.join(name)).is_err());
    free.next().expect("numbers do not end")
}

fn put(target: &Path, path: &str, file: &File, group: Option<u32>) -> io::Result<()> {
    let place = target.join(path);
    let mut parent = target.to_owned();
    for component in Path::new(path).parent().into_iter().flat_map(Path::components) {
        parent.push(component);
        if !parent.exists() {
            fs::create_dir(&parent)?;
            give(&parent, 0o755, group)?;
        }
    }
    fs::write(&place, &file.data)?;
    give(&place, mode(file, group.is_some()), group)
}

/// Returns the mode of a file; what belongs to a group can be read by it.
fn mode(file: &File, has_group: bool) -> u32 {
    if has_group { file.mode | 0o440 } else { file.mode }
}

fn give(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    if let Some(group) = group {
        chown(path, None, Some(group))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Returns whether a directory holds exactly this.
fn holds(directory: &Path, content: &Content, has_group: bool) -> bool {
    let mut found = BTreeSet::new();
    list(directory, "", &mut found);
    found.iter().eq(content.keys())
        && content.iter().all(|(path, file)| {
            let place = directory.join(path);
            let same_mode = fs::metadata(&place)
                .is_ok_and(|meta| meta.permissions().mode() & 0o7777 == mode(file, has_group));
            same_mode && fs::read(&place).is_ok_and(|data| data == file.data)
        })
}

fn list(directory: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(name);
        }
    }
}

/// Has a link for everything that containers see, and for nothing else.
fn link_all(directory: &Path, content: &Content) -> io::Result<()> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: BTreeSet<String> = content.keys().map(first).collect();
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        let link = directory.join(&name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(&name), link)?;
        }
    }
    Ok(())
}

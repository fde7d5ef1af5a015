//! The store in an etcd cluster, where the binary is built with it.

use std::sync::Arc;

use quarterdeck_core::storage::Storage;

use crate::cli::EtcdArguments;
use crate::error::Result;

/// Connects to the etcd cluster.
#[cfg(feature = "etcd")]
pub(crate) async fn open(arguments: &EtcdArguments) -> Result<Arc<dyn Storage>> {
    use std::path::Path;

    use quarterdeck_registry::storage::{EtcdOptions, EtcdStorage};

    use crate::error::Failure;

    let read = |flag: &str, path: &Path| {
        std::fs::read(path).map_err(|error| {
            Failure::new(format!("cannot read {}: {error}; choose another file with {flag}", path.display()))
        })
    };
    let mut options = EtcdOptions::new(&arguments.etcd_servers).prefix(prefix(&arguments.etcd_prefix)?);
    if let Some(path) = &arguments.etcd_cafile {
        options = options.certificate_authority(read("--etcd-cafile", path)?);
    }
    if let (Some(certificate), Some(key)) = (&arguments.etcd_certfile, &arguments.etcd_keyfile) {
        let (certificate, key) = (read("--etcd-certfile", certificate)?, read("--etcd-keyfile", key)?);
        options = options.client_certificate(certificate, key);
    }
    if let (Some(name), Some(path)) = (&arguments.etcd_username, &arguments.etcd_password_file) {
        options = options.user(name, password(&read("--etcd-password-file", path)?, path)?);
    }
    let storage = EtcdStorage::connect(options).await;
    Ok(Arc::new(storage.map_err(|error| Failure::because("cannot open the store (--etcd-servers)", &error))?))
}

/// Returns the first line of a file, which is a password.
#[cfg(feature = "etcd")]
fn password(file: &[u8], path: &std::path::Path) -> Result<String> {
    let line = std::str::from_utf8(file).ok().and_then(|text| text.lines().next());
    line.filter(|line| !line.is_empty()).map(str::to_owned).ok_or_else(|| {
        let path = path.display();
        crate::error::Failure::new(format!("{path} has no password on its first line (--etcd-password-file)"))
    })
}

/// Returns what comes before the store's own keys, which begin with `/registry`.
#[cfg(feature = "etcd")]
fn prefix(given: &str) -> Result<String> {
    let prefix = given.trim_end_matches('/').strip_suffix("/registry");
    if let Some(prefix) = prefix.filter(|prefix| prefix.is_empty() || prefix.starts_with('/')) {
        return Ok(prefix.to_owned());
    }
    let inner = given.trim_matches('/');
    let inner = inner.strip_suffix("registry").unwrap_or(inner).trim_end_matches('/');
    let better = if inner.is_empty() { "/registry".to_owned() } else { format!("/{inner}/registry") };
    Err(crate::error::Failure::new(format!(
        "--etcd-prefix {given:?} is no prefix of keys here, which begin with a slash and end with /registry: take {better}"
    )))
}

/// Says that this binary knows no etcd.
#[cfg(not(feature = "etcd"))]
pub(crate) async fn open(_: &EtcdArguments) -> Result<Arc<dyn Storage>> {
    Err(crate::error::Failure::new(
        "this binary was built without etcd (--etcd-servers): build it with `--features etcd`, which needs protoc",
    ))
}

#[cfg(all(test, feature = "etcd"))]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line() {
        let path = std::path::Path::new("/etc/secret");

        assert_eq!(password(b"a b c\nwhat it is for\n", path).expect("it is one"), "a b c");
        assert_eq!(password(b" x ", path).expect("it is one"), " x ");
        for file in [&b""[..], b"\nx", b"\xff"] {
            let refused = password(file, path).expect_err("it is none").to_string();
            assert_eq!(refused, "/etc/secret has no password on its first line (--etcd-password-file)");
        }
    }

    #[test]
    fn the_prefix_ends_with_what_all_keys_begin_with() {
        assert_eq!(prefix("/registry").expect("it is the default"), "");
        assert_eq!(prefix("/clusters/one/registry/").expect("it is one"), "/clusters/one");
        for (given, better) in [
            ("/one", "/one/registry"),
            ("one/registry", "/one/registry"),
            ("registry", "/registry"),
            ("", "/registry"),
            ("/", "/registry"),
        ] {
            let refused = prefix(given).expect_err("it is none").to_string();
            assert!(refused.ends_with(&format!("take {better}")), "{refused}");
        }
    }
}

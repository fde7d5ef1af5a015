//! Kubeconfigs: where a cluster is, and who one is there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Identity;

/// Writes a kubeconfig (`v1` Config) for a server with this authority, and for the user of this identity.
///
/// It is YAML. Whoever writes it to a file should let nobody else read it: it holds a private key.
#[must_use]
pub fn kubeconfig(server: &str, authority: &str, user: &str, identity: &Identity) -> String {
    written(server, "", authority, user, identity)
}

/// Does what [`kubeconfig`] does, for a server that shows the right certificate to clients who ask for this name, wherever it is.
#[must_use]
pub fn kubeconfig_by_name(
    server: &str,
    name: &str,
    authority: &str,
    user: &str,
    identity: &Identity,
) -> String {
    written(server, &format!("    tls-server-name: {name}\n"), authority, user, identity)
}

fn written(server: &str, name: &str, authority: &str, user: &str, identity: &Identity) -> String {
    let (authority, certificate, key) =
        (STANDARD.encode(authority), STANDARD.encode(&identity.certificate), STANDARD.encode(&identity.key));
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: quarterdeck\n\
         clusters:\n\
         - name: quarterdeck\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         {name}\
         \x20   certificate-authority-data: {authority}\n\
         contexts:\n\
         - name: quarterdeck\n\
         \x20 context:\n\
         \x20   cluster: quarterdeck\n\
         \x20   user: {user:?}\n\
         users:\n\
         - name: {user:?}\n\
         \x20 user:\n\
         \x20   client-certificate-data: {certificate}\n\
         \x20   client-key-data: {key}\n"
    )
}

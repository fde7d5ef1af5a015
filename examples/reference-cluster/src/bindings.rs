//! Who may have which certificates unasked: what the reference cluster decides and Kubernetes' API server leaves open.
//!
//! The bindings are those of Kubernetes' page about TLS bootstrapping, by the names that it gives them.

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use kube::api::{Api, ObjectMeta, PostParams};
use quarterdeck_registry::ApiServer;

use crate::cli::AccessOptions;

const GROUP: &str = "rbac.authorization.k8s.io";

/// A role that everybody in a group has: the binding's name, the role, the group.
type Given = (&'static str, &'static str, &'static str);

/// Nodes renew the certificates by which they are known.
const ALWAYS: &[Given] = &[(
    "auto-approve-renewals-for-nodes",
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
    "system:nodes",
)];

/// Who has a bootstrap token asks for certificates, and gets a node's.
const WITH_TOKENS: &[Given] = &[
    ("create-csrs-for-bootstrapping", "system:node-bootstrapper", "system:bootstrappers"),
    (
        "auto-approve-csrs-for-group",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        "system:bootstrappers",
    ),
];

/// Makes the bindings that are missing. One that is there stays as it is: without subjects it gives nothing to anybody.
///
/// A cluster without them works, but for new nodes: if they cannot be made, for instance because a webhook is in the way, that is
/// logged.
pub(crate) async fn make(server: &ApiServer, options: &AccessOptions) {
    let bindings: Api<ClusterRoleBinding> = Api::all(server.client());
    let tokens = if options.enable_bootstrap_token_auth { WITH_TOKENS } else { &[] };
    for given in ALWAYS.iter().chain(tokens) {
        if let Err(error) = make_one(&bindings, given).await {
            tracing::warn!(binding = given.0, %error, "a role for nodes that join is bound to nobody");
        }
    }
}

async fn make_one(bindings: &Api<ClusterRoleBinding>, (name, role, group): &Given) -> kube::Result<()> {
    if bindings.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta { name: Some((*name).into()), ..ObjectMeta::default() },
        role_ref: RoleRef { api_group: Some(GROUP.into()), kind: "ClusterRole".into(), name: (*role).into() },
        subjects: Some(vec![Subject {
            api_group: Some(GROUP.into()),
            kind: "Group".into(),
            name: (*group).into(),
            namespace: None,
        }]),
    };
    match bindings.create(&PostParams::default(), &binding).await {
        // Another server of the same cluster was faster.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(|_| ()),
    }
}

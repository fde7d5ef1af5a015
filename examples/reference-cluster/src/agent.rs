//! A node's agent as a process of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use quarterdeck_agent::certificates::ShownCertificate;
use quarterdeck_agent::{Agent, ServerSettings};
use quarterdeck_core::component::Component;
use secrecy::ExposeSecret as _;

use crate::cli::AgentOptions;
use crate::error::{Failure, Result};
use crate::join;
use crate::parts::{Part, authority, decode};
use crate::runtimes;

/// The user of a node's agent, but for the node's name.
pub(crate) const USER: &str = "system:node:";

/// An agent that the API server knows.
pub(crate) struct Known {
    /// Its way to the API server.
    pub(crate) part: Part,
    /// The node that it is.
    pub(crate) node: String,
    /// How it answers the API server.
    pub(crate) serve: ServerSettings,
    /// What renews its certificates.
    pub(crate) renewals: Vec<Box<dyn Component>>,
}

/// Where an agent is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The node's address.
    pub(crate) address: IpAddr,
    /// Where the agent listens.
    pub(crate) listen: SocketAddr,
}

/// Runs a node's agent until Ctrl-C. Its pods end with it, unless they are to go on.
pub(crate) async fn run(options: &AgentOptions) -> Result<()> {
    let address = crate::server::own_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let place = Place { address, listen: options.listen.unwrap_or(SocketAddr::new(address, 0)) };
    let Known { part, node, serve, renewals } = match join::Joining::read(options)? {
        Some(joining) => joining.run(place).await?,
        None => given(options, place).await?,
    };
    let runtime = runtimes::open(options.runtime, &node, &options.data).await?;
    let agent = Agent::new_shared(&part.context, &node, runtime.runtime)
        .root_dir(options.data.join(&node))
        .addresses(vec![address])
        .end_pods_on_stop(!options.keep_pods)
        .serve(serve);
    let mut components = renewals;
    components.push(Box::new(agent));
    part.run(&format!("The agent of {node}"), components).await?;
    if options.keep_pods {
        println!("The pods of {node} go on: the agent takes them over when it is started again.");
    }
    Ok(())
}

/// Takes the identity that the kubeconfig holds, for both directions.
async fn given(options: &AgentOptions, place: Place) -> Result<Known> {
    let shown = Arc::new(ShownCertificate::new());
    let renewed = shown.clone();
    let part = Part::open_with(&options.part, move |config| {
        // The agent's server is read along with its client: both show the same certificate.
        let (certificate, key) = identity(&config.auth_info)?;
        renewed.show(&certificate, &key)
    });
    let part = part.await?;
    let kubeconfig = &part.kubeconfig;
    let user = kubeconfig.auth_infos.first().map(|user| user.name.clone()).unwrap_or_default();
    let Some(node) = user.strip_prefix(USER).map(str::to_owned) else {
        let file = options.part.kubeconfig.display();
        return Err(Failure::new(format!(
            "{file} is no agent's kubeconfig but that of {user:?}: take one that `quarterdeck apiserver` wrote, kubeconfigs/agent, or join with --bootstrap-kubeconfig"
        )));
    };
    let serve = ServerSettings::resolving(place.listen, shown, &authority(kubeconfig)?);
    let serve = serve.map_err(|error| Failure::because("the agent's server cannot be set up", &error))?;
    Ok(Known { part, node, serve, renewals: Vec::new() })
}

/// Returns the certificate and the key of the user, as PEM.
fn identity(user: &AuthInfo) -> Result<(String, String)> {
    let key = user.client_key_data.as_ref().map(|key| key.expose_secret().to_owned());
    Ok((decode(user.client_certificate_data.clone())?, decode(key)?))
}

/// Writes certificates as PEM.
pub(crate) fn pem(certificates: &[Vec<u8>]) -> String {
    let one = |der: &Vec<u8>| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    };
    certificates.iter().map(one).collect()
}

//! Where a webhook is: at a URL, or behind a service.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::cache::World;

/// The port of `https`.
const PORT: u16 = 443;

/// Where a webhook is, as its `clientConfig` says.
#[derive(Debug, PartialEq)]
pub(super) struct Place {
    /// Host and port, as the request names them.
    pub(super) authority: String,
    /// The name that the server's certificate must have.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    /// Whose certificates are trusted, as PEM; absent if that is for the system to say.
    pub(super) bundle: Option<Vec<u8>>,
    service: Option<Service>,
}

#[derive(Debug, PartialEq)]
struct Service {
    namespace: String,
    name: String,
    port: u16,
}

impl Place {
    /// Reads a `clientConfig`.
    pub(super) fn of(config: &Value) -> Result<Self, String> {
        let bundle = match config["caBundle"].as_str().filter(|bundle| !bundle.is_empty()) {
            None => None,
            Some(bundle) => {
                let bytes = STANDARD.decode(bundle);
                Some(bytes.map_err(|error| format!("could not get REST client: caBundle: {error}"))?)
            }
        };
        if config["service"].is_object() {
            return Ok(Self::behind(&config["service"], bundle));
        }
        let url = config["url"].as_str().unwrap_or_default();
        if url.is_empty() {
            return Err("webhook configuration must have either service or URL".into());
        }
        let parsed: http::Uri = url.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
        let (Some("https"), Some(authority)) = (parsed.scheme_str(), parsed.authority()) else {
            return Err(format!("Unparsable URL: {url:?} is no https URL"));
        };
        Ok(Self {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(PORT),
            path: cleaned(parsed.path()),
            bundle,
            service: None,
        })
    }

    fn behind(service: &Value, bundle: Option<Vec<u8>>) -> Self {
        let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port != 0).unwrap_or(PORT);
        let host = format!("{name}.{namespace}.svc");
        Self {
            authority: format!("{host}:{port}"),
            host,
            port,
            path: cleaned(&text("path")),
            bundle,
            service: Some(Service { namespace, name, port }),
        }
    }

    /// The URL, as messages tell it.
    pub(super) fn url(&self, seconds: u64) -> String {
        format!("https://{}{}?timeout={seconds}s", self.authority, self.path)
    }

    /// Returns the addresses that the webhook answers at, if they are known without asking: those of a service's endpoints.
    /// `turn` chooses among several.
    pub(super) fn resolve(&self, world: &World, turn: usize) -> Result<Option<SocketAddr>, String> {
        match &self.service {
            Some(service) => service.resolve(world, turn).map(Some),
            None => Ok(self.host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, self.port))),
        }
    }
}

impl Service {
    fn resolve(&self, world: &World, turn: usize) -> Result<SocketAddr, String> {
        let Self { namespace, name, port } = self;
        let found = world.get(&format!("/registry/services/specs/{namespace}/{name}"));
        let service = found.ok_or_else(|| format!("service \"{name}\" not found"))?.parsed();
        let sort = service["spec"]["type"].as_str().unwrap_or("ClusterIP");
        if !matches!(sort, "ClusterIP" | "LoadBalancer" | "NodePort") {
            return Err(format!("unsupported service type \"{sort}\""));
        }
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let declared = ports.into_iter().find(|declared| declared["port"] == *port);
        let declared =
            declared.ok_or_else(|| format!("no service port {port} found for service \"{name}\""))?;
        let endpoints = world.get(&format!("/registry/services/endpoints/{namespace}/{name}"));
        let addresses = endpoints.map(|endpoints| addresses(endpoints.parsed(), &declared["name"]));
        let addresses = addresses.unwrap_or_default();
        let chosen = addresses.get(turn.checked_rem(addresses.len()).unwrap_or_default());
        chosen.copied().ok_or_else(|| format!("no endpoints available for service \"{name}\""))
    }
}

/// The addresses behind a port of this name.
fn addresses(endpoints: &Value, name: &Value) -> Vec<SocketAddr> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let port = subset["ports"].as_array().into_iter().flatten();
        let port = port.into_iter().find(|port| text(&port["name"]) == text(name));
        let Some(port) = port.and_then(|port| u16::try_from(port["port"].as_u64()?).ok()) else { continue };
        for address in subset["addresses"].as_array().into_iter().flatten() {
            let address = address["ip"].as_str().and_then(|address| address.parse().ok());
            found.extend(address.map(|address: IpAddr| SocketAddr::new(address, port)));
        }
    }
    found
}

/// A path as upstream sends it: from the root, without slashes at its end.
fn cleaned(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

//! What a request for a certificate asks for, and what each signer lets it ask for.

use quarterdeck_core::certificates::decode_request;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY};

const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The request itself, in DER.
    pub(super) der: Vec<u8>,
    /// Whom the certificate would name.
    pub(super) common_name: String,
    organizations: Vec<String>,
    names: Names,
}

/// How many alternative names there are of each kind.
#[derive(Debug, Default)]
struct Names {
    dns: usize,
    email: usize,
    ip: usize,
    uri: usize,
}

impl Asked {
    /// Reads a request, in PEM.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(pem: &[u8]) -> Result<Self, String> {
        let der = decode_request(pem).map_err(|error| error.to_string())?;
        let (behind, request) =
            X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
        if !behind.is_empty() {
            return Err("there is something behind the request".into());
        }
        let subject = &request.certification_request_info.subject;
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().map(str::to_owned).map_err(|error| error.to_string())
        };
        // The last one counts, as it does where users are known by their certificates.
        let common_name = subject.iter_common_name().last().map(text).transpose()?.unwrap_or_default();
        let organizations = subject.iter_organization().map(text).collect::<Result<_, _>>()?;
        let mut names = Names::default();
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(asked) = extension {
                asked.general_names.iter().for_each(|name| names.count(name));
            }
        }
        Ok(Self { common_name, organizations, names, der })
    }

    /// Checks that a signer signs such requests; `None` if it is none of those that are known here.
    pub(super) fn check(&self, signer: &str, usages: &[String]) -> Option<Result<(), String>> {
        Some(match signer {
            KUBELET_CLIENT => self.kubelet_client(usages),
            KUBELET_SERVING => self.kubelet_serving(usages),
            CLIENT => client(usages),
            LEGACY => Ok(()),
            _ => return None,
        })
    }

    fn kubelet_client(&self, usages: &[String]) -> Result<(), String> {
        self.is_of_nodes()?;
        let Names { dns, email, ip, uri } = self.names;
        for (there, kind) in [(dns, "DNS"), (email, "Email"), (ip, "IP"), (uri, "URI")] {
            not_allowed(there, kind)?;
        }
        self.names_node()?;
        exactly(usages, "client auth")
    }

    fn kubelet_serving(&self, usages: &[String]) -> Result<(), String> {
        self.is_of_nodes()?;
        let Names { dns, email, ip, uri } = self.names;
        if dns == 0 && ip == 0 {
            return Err("DNS or IP subjectAltName is required".into());
        }
        not_allowed(email, "Email")?;
        not_allowed(uri, "URI")?;
        exactly(usages, "server auth")?;
        self.names_node()
    }

    fn is_of_nodes(&self) -> Result<(), String> {
        match &self.organizations[..] {
            [one] if one == NODES => Ok(()),
            _ => Err("subject organization is not system:nodes".into()),
        }
    }

    fn names_node(&self) -> Result<(), String> {
        match self.common_name.starts_with(NODE) {
            true => Ok(()),
            false => Err("subject common name does not begin with system:node:".into()),
        }
    }
}

impl Names {
    fn count(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(_) => self.dns += 1,
            GeneralName::RFC822Name(_) => self.email += 1,
            GeneralName::IPAddress(_) => self.ip += 1,
            GeneralName::URI(_) => self.uri += 1,
            _ => {}
        }
    }
}

fn not_allowed(there: usize, kind: &str) -> Result<(), String> {
    match there {
        0 => Ok(()),
        _ => Err(format!("{kind} subjectAltNames are not allowed")),
    }
}

/// Checks that these are the usages of an agent's certificate for `what`: keys that are not of RSA encipher nothing.
fn exactly(usages: &[String], what: &str) -> Result<(), String> {
    let mut given: Vec<&str> = usages.iter().map(String::as_str).collect();
    given.sort_unstable();
    given.dedup();
    let mut wanted = vec![what, "digital signature", "key encipherment"];
    wanted.sort_unstable();
    let mut without = wanted.clone();
    without.retain(|usage| *usage != "key encipherment");
    match given == wanted || given == without {
        true => Ok(()),
        false => Err(format!("usages did not match [{}]", wanted.join(" "))),
    }
}

fn client(usages: &[String]) -> Result<(), String> {
    let optional = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|usage| !optional.contains(&usage.as_str())) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    match usages.iter().any(|usage| usage == "client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".into()),
    }
}

//! A certificate with its key.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A certificate, whatever leads from it to its authority, and its key.
#[derive(Clone)]
pub struct Credential {
    certificate: String,
    key: String,
    common_name: String,
    organizations: Vec<String>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("common_name", &self.common_name)
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Reads a certificate and a key that belong together, both PEM.
    ///
    /// # Errors
    ///
    /// Why they are of no use.
    pub(crate) fn read(certificate: &str, key: &str) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the certificate is no PEM: {error}"))?;
        let first = chain.first().ok_or("there is no certificate")?;
        let (_, read) = X509Certificate::from_der(first).map_err(|error| error.to_string())?;
        let pair = KeyPair::from_pem(key).map_err(|error| format!("there is no usable key: {error}"))?;
        if pair.subject_public_key_info() != read.public_key().raw {
            return Err("the certificate is of another key".into());
        }
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().unwrap_or_default().to_owned()
        };
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
        };
        let subject = read.subject();
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            // The last one counts, as it does where users are known by their certificates.
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            names: names(&read)?,
            not_before: time(read.validity().not_before)?,
            not_after: time(read.validity().not_after)?,
        })
    }

    /// Returns the certificate, with whatever leads from it to its authority, as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns the private key, as PEM.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns whom the certificate names.
    #[must_use]
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// Returns the groups of whom it names.
    #[must_use]
    pub fn organizations(&self) -> &[String] {
        &self.organizations
    }

    /// Returns the names and addresses that a server with this certificate has, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns from when on the certificate is good.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Returns until when the certificate is good.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let found = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let all = found.map(|found| found.value.general_names.as_slice()).unwrap_or_default();
    let mut names: Vec<String> = all.iter().filter_map(name).collect();
    names.sort();
    Ok(names)
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

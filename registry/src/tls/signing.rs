//! The authority of a cluster as a signer of what others ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;
use pem::{EncodeConfig, LineEnding, Pem};
use quarterdeck_core::certificates::{CertificateSigner, SignError, SigningOrder};
use quarterdeck_core::component::BoxError;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, SigningKey as _,
    SubjectPublicKeyInfo, date_time_ymd,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer as _;

use super::Authority;
use super::authority::serial_number;

#[async_trait]
impl CertificateSigner for Authority {
    async fn sign(&self, order: &SigningOrder<'_>) -> Result<String, SignError> {
        let refused = |error: &dyn std::fmt::Display| SignError::Refused(error.to_string());
        let (_, request) =
            X509CertificationRequest::from_der(order.request).map_err(|error| refused(&error))?;
        request
            .verify_signature()
            .map_err(|_| refused(&"the request is not signed by the key that it names"))?;
        let asked = &request.certification_request_info;
        let key = SubjectPublicKeyInfo::from_der(asked.subject_pki.raw).map_err(|error| refused(&error))?;
        let mut params = CertificateParams::default();
        // What the request says of usages and of being an authority does not count.
        params.is_ca = IsCa::ExplicitNoCa;
        (params.key_usages, params.extended_key_usages) = usages(order.usages)?;
        params.subject_alt_names = alternative_names(&request)?;
        params.use_authority_key_identifier_extension = true;
        let own_end = self.end().map_err(|error| SignError::Unavailable(error.into()))?;
        let end = order.not_after.as_second().min(own_end);
        if end <= order.not_before.as_second() {
            return Err(SignError::Unavailable("the authority's own certificate has ended".into()));
        }
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_epoch(order.not_before.as_second());
        params.not_after = epoch + since_epoch(end);
        params.serial_number = Some(serial_number().map_err(|error| SignError::Unavailable(error.into()))?);
        let certificate =
            params.signed_by(&key, &self.issuer).map_err(|error| SignError::Unavailable(error.into()))?;
        let subject = asked.subject.as_raw();
        let certificate = with_field(certificate.der(), SUBJECT, subject, self.issuer.key());
        let certificate = Pem::new("CERTIFICATE", certificate.map_err(SignError::Unavailable)?);
        Ok(pem::encode_config(&certificate, EncodeConfig::new().set_line_ending(LineEnding::LF)))
    }
}

/// Returns the alternative names of the kinds that certificates of a cluster have. As upstream, others are left out.
fn alternative_names(request: &X509CertificationRequest<'_>) -> Result<Vec<SanType>, SignError> {
    let mut names = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(asked) = extension else { continue };
        for name in &asked.general_names {
            let text = |text: &str| {
                text.try_into().map_err(|error: rcgen::Error| SignError::Refused(error.to_string()))
            };
            names.push(match name {
                GeneralName::DNSName(name) => SanType::DnsName(text(name)?),
                GeneralName::RFC822Name(name) => SanType::Rfc822Name(text(name)?),
                GeneralName::URI(name) => SanType::URI(text(name)?),
                GeneralName::IPAddress(octets) => SanType::IpAddress(address(octets)?),
                _ => continue,
            });
        }
    }
    Ok(names)
}

fn address(octets: &[u8]) -> Result<IpAddr, SignError> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).into());
    v4.or_else(|_| v6()).map_err(|_| SignError::Refused("an alternative name is no IP address".into()))
}

/// Where the subject stands in a certificate: behind version, serial number, algorithm, issuer and validity (RFC 5280, 4.1).
const SUBJECT: usize = 5;

/// Puts something in the place of a field of what is signed, as it is, and signs it again. `rcgen` would make a subject anew, and
/// keeps one value of each kind, but somebody in several groups has as many organisations.
fn with_field(signed: &[u8], index: usize, field: &[u8], key: &KeyPair) -> Result<Vec<u8>, BoxError> {
    let parts =
        |der: &[u8]| yasna::parse_der(der, |reader| reader.collect_sequence_of(|part| part.read_der()));
    let whole = |parts: &[Vec<u8>]| {
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| parts.iter().for_each(|part| writer.next().write_der(part)));
        })
    };
    let mut signed = parts(signed)?;
    let [content, _, signature] = &mut signed[..] else {
        return Err("what is signed has three parts".into());
    };
    let mut fields = parts(content)?;
    *fields.get_mut(index).ok_or("a field is missing")? = field.to_owned();
    *content = whole(&fields);
    let bits = key.sign(content)?;
    *signature = yasna::construct_der(|writer| writer.write_bitvec_bytes(&bits, bits.len() * 8));
    Ok(whole(&signed))
}

impl Authority {
    /// Returns when the authority's own certificate ends, in seconds since 1970.
    fn end(&self) -> Result<i64, String> {
        let (_, pem) = parse_x509_pem(self.certificate().as_bytes()).map_err(|error| error.to_string())?;
        let certificate = pem.parse_x509().map_err(|error| error.to_string())?;
        Ok(certificate.validity().not_after.timestamp())
    }
}

fn since_epoch(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// Returns usages as certificates have them: of the key, and of the certificate.
fn usages(words: &[String]) -> Result<(Vec<KeyUsagePurpose>, Vec<ExtendedKeyUsagePurpose>), SignError> {
    use ExtendedKeyUsagePurpose as Extended;
    use KeyUsagePurpose as Key;
    let (mut key, mut extended) = (Vec::new(), Vec::new());
    for word in words {
        match word.as_str() {
            "signing" | "digital signature" => key.push(Key::DigitalSignature),
            "content commitment" => key.push(Key::ContentCommitment),
            "key encipherment" => key.push(Key::KeyEncipherment),
            "key agreement" => key.push(Key::KeyAgreement),
            "data encipherment" => key.push(Key::DataEncipherment),
            "cert sign" => key.push(Key::KeyCertSign),
            "crl sign" => key.push(Key::CrlSign),
            "encipher only" => key.push(Key::EncipherOnly),
            "decipher only" => key.push(Key::DecipherOnly),
            "any" => extended.push(Extended::Any),
            "server auth" => extended.push(Extended::ServerAuth),
            "client auth" => extended.push(Extended::ClientAuth),
            "code signing" => extended.push(Extended::CodeSigning),
            "email protection" | "s/mime" => extended.push(Extended::EmailProtection),
            "timestamping" => extended.push(Extended::TimeStamping),
            "ocsp signing" => extended.push(Extended::OcspSigning),
            other => return Err(SignError::Refused(format!("unrecognized usage: {other}"))),
        }
    }
    Ok((once(key), once(extended)))
}

/// Leaves out what is there already.
fn once<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    all.into_iter().fold(Vec::new(), |mut kept, one| {
        if !kept.contains(&one) {
            kept.push(one);
        }
        kept
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rcgen::{CustomExtension, DnType, PublicKeyData as _};
    use yasna::DERWriter;
    use yasna::models::ObjectIdentifier;

    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";

    fn order<'a>(request: &'a [u8], usages: &'a [String], hours: i64) -> SigningOrder<'a> {
        let not_before: Timestamp = START.parse().unwrap();
        let not_after = not_before + jiff::SignedDuration::from_hours(hours);
        SigningOrder { request, usages, not_before, not_after }
    }

    fn request() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["node-1".to_owned()]).unwrap();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, "system:node:node-1");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[tokio::test]
    async fn a_certificate_says_what_was_ordered_and_never_lasts_longer_than_the_authority() {
        let authority = Authority::new(START.parse().unwrap()).unwrap();
        let usages = ["client auth", "digital signature", "signing"].map(str::to_owned);

        for (hours, ends) in [(1, "2026-01-01T01:00:00Z"), (24 * 20_000, "2035-12-30T00:00:00Z")] {
            let signed = authority.sign(&order(&request(), &usages, hours)).await.unwrap();

            let (_, pem) = parse_x509_pem(signed.as_bytes()).unwrap();
            let certificate = pem.parse_x509().unwrap();
            let end: Timestamp = ends.parse().unwrap();
            assert_eq!(certificate.validity().not_after.timestamp(), end.as_second());
            assert!(!certificate.is_ca());
            assert_eq!(certificate.subject().to_string(), "CN=system:node:node-1");
            assert!(certificate.subject_alternative_name().unwrap().is_some());
            let extended = certificate.extended_key_usage().unwrap().unwrap().value;
            assert!(extended.client_auth && !extended.server_auth);
        }
    }

    #[tokio::test]
    async fn a_request_that_was_tampered_with_and_an_unknown_usage_are_refused_for_good() {
        let authority = Authority::new(START.parse().unwrap()).unwrap();
        let good = ["client auth".to_owned()];
        let mut tampered = request();
        *tampered.last_mut().unwrap() ^= 1;
        let unknown = ["flying".to_owned()];

        for order in [order(&tampered, &good, 1), order(&request(), &unknown, 1)] {
            let refused = authority.sign(&order).await.unwrap_err();
            assert!(matches!(refused, SignError::Refused(_)), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn the_subject_is_signed_as_it_was_asked_for_and_what_says_nothing_is_left_out() {
        let authority = Authority::new(START.parse().unwrap()).unwrap();
        let (usages, key) = (["client auth".to_owned()], KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(vec!["b".to_owned()]).unwrap();
        // The identifier of the key.
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 14], vec![4, 1, 7])];
        let request = params.serialize_request(&key).unwrap();
        let organizations = |names: &[&str]| {
            let attribute = |writer: DERWriter<'_>, (kind, name): (u64, &str)| {
                writer.write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(&[2, 5, 4, kind]));
                    writer.next().write_utf8_string(name);
                });
            };
            // One name for each, and one that has all.
            let apart = yasna::construct_der(|writer| {
                writer.write_sequence(|writer| {
                    for name in names {
                        writer.next().write_set(|writer| attribute(writer.next(), (10, name)));
                    }
                });
            });
            let together = yasna::construct_der(|writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_set(|writer| {
                        names.iter().for_each(|name| attribute(writer.next(), (10, name)))
                    });
                    writer.next().write_set(|writer| attribute(writer.next(), (3, "bob")));
                });
            });
            [apart, together]
        };
        let nobody = yasna::construct_der(|writer| writer.write_sequence(|_| ()));

        for subject in organizations(&["admins", "dev", "ops"]).into_iter().chain([nobody]) {
            // Behind the version (RFC 2986, 4.1).
            let request = with_field(request.der(), 1, &subject, &key).unwrap();
            let signed = authority.sign(&order(&request, &usages, 1)).await.unwrap();

            let (_, pem) = parse_x509_pem(signed.as_bytes()).unwrap();
            let certificate = pem.parse_x509().unwrap();
            let (_, own) = parse_x509_pem(authority.certificate().as_bytes()).unwrap();
            certificate.verify_signature(Some(own.parse_x509().unwrap().public_key())).unwrap();
            assert_eq!(certificate.subject().as_raw(), subject);
            assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
            assert!(certificate.subject_alternative_name().unwrap().is_some());
        }
    }
}

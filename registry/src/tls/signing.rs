//! The authority of a cluster as a signer of what others ask for.

use std::time::Duration;

use async_trait::async_trait;
use quarterdeck_core::certificates::{CertificateSigner, SignError, SigningOrder};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};
use x509_parser::pem::parse_x509_pem;

use super::Authority;
use super::authority::serial_number;

#[async_trait]
impl CertificateSigner for Authority {
    async fn sign(&self, order: &SigningOrder<'_>) -> Result<String, SignError> {
        let refused = |error: rcgen::Error| SignError::Refused(error.to_string());
        let mut request = CertificateSigningRequestParams::from_pem(order.request).map_err(refused)?;
        let params = &mut request.params;
        // What the request says of usages and of being an authority does not count.
        params.is_ca = IsCa::ExplicitNoCa;
        (params.key_usages, params.extended_key_usages) = usages(order.usages)?;
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
            request.signed_by(&self.issuer).map_err(|error| SignError::Unavailable(error.into()))?;
        Ok(certificate.pem())
    }
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
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";

    fn order<'a>(request: &'a str, usages: &'a [String], hours: i64) -> SigningOrder<'a> {
        let not_before: Timestamp = START.parse().unwrap();
        let not_after = not_before + jiff::SignedDuration::from_hours(hours);
        SigningOrder { request, usages, not_before, not_after }
    }

    fn request() -> String {
        let mut params = CertificateParams::new(vec!["node-1".to_owned()]).unwrap();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, "system:node:node-1");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
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
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        let authority = Authority::new(START.parse().unwrap()).unwrap();
        let good = ["client auth".to_owned()];
        let (_, mut pem) = parse_x509_pem(request().as_bytes()).unwrap();
        let last = pem.contents.len() - 1;
        pem.contents[last] ^= 1;
        let tampered = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            STANDARD.encode(&pem.contents)
        );
        let unknown = ["flying".to_owned()];

        for order in [order(&tampered, &good, 1), order(&request(), &unknown, 1)] {
            let refused = authority.sign(&order).await.unwrap_err();
            assert!(matches!(refused, SignError::Refused(_)), "{refused:?}");
        }
    }
}

//! The keys of service accounts' tokens: how they are read, and what they are called.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// A key that signs tokens, with its public half.
pub(super) struct SigningKey {
    pub(super) encoding: EncodingKey,
    pub(super) public: VerifyingKey,
}

/// A key by which tokens are checked.
pub(super) struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
    /// As others read it, with its id.
    pub(super) jwk: Jwk,
}

impl SigningKey {
    /// Reads the first private key of a PEM text; `None` if there is none that can sign tokens.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        let is_private = |kind: &SectionKind| {
            matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
        };
        let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
        let (kind, der) = sections.into_iter().find(|(kind, _)| is_private(kind))?;
        Self::from_der(kind, &der)
    }

    fn from_der(kind: SectionKind, der: &[u8]) -> Option<Self> {
        if kind != SectionKind::RsaPrivateKey
            && let Some(key) = Self::elliptic(der)
        {
            return Some(key);
        }
        let pair = match kind {
            SectionKind::RsaPrivateKey => rsa::KeyPair::from_der(der),
            _ => rsa::KeyPair::from_pkcs8(der),
        };
        let pair = pair.ok()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        let encoding = match kind {
            SectionKind::RsaPrivateKey => EncodingKey::from_rsa_der(der),
            _ => EncodingKey::from_rsa_der(&inside_pkcs8(der)?),
        };
        Some(Self { encoding, public: VerifyingKey::from_der(public.as_ref())? })
    }

    fn elliptic(der: &[u8]) -> Option<Self> {
        let curves = [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING];
        let pair =
            curves.into_iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok())?;
        let private = pair.to_pkcs8v1().ok()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        let encoding = EncodingKey::from_ec_der(private.as_ref());
        Some(Self { encoding, public: VerifyingKey::from_der(public.as_ref())? })
    }

    /// Returns what the tokens that it signs begin with.
    pub(super) fn header(&self) -> Header {
        let kid = self.public.jwk.common.key_id.clone();
        Header { kid, ..Header::new(self.public.algorithm) }
    }
}

impl VerifyingKey {
    /// Reads all keys of a PEM text: public ones, private ones and those of certificates. `None` if there is none, or one of
    /// a kind that no token is checked by.
    pub(super) fn all_from_pem(pem: &[u8]) -> Option<Vec<Self>> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.ok()?;
            match kind {
                SectionKind::PublicKey => keys.push(Self::from_der(&der)?),
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                    keys.push(SigningKey::from_der(kind, &der)?.public);
                }
                SectionKind::Certificate => {
                    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
                    keys.push(Self::from_der(certificate.public_key().raw)?);
                }
                _ => {}
            }
        }
        Some(keys).filter(|keys| !keys.is_empty())
    }

    /// Reads a SubjectPublicKeyInfo.
    fn from_der(der: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let size = info.parsed().ok()?.key_size();
        let bytes = &*info.subject_public_key.data;
        let kind = &info.algorithm.algorithm;
        let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let (algorithm, verification): (_, &'static dyn VerificationAlgorithm) = match curve {
            _ if *kind == OID_PKCS1_RSAENCRYPTION && (2048..=8192).contains(&size) => {
                (Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256)
            }
            Some(curve) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256 => {
                (Algorithm::ES256, &ECDSA_P256_SHA256_FIXED)
            }
            Some(curve) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_NIST_EC_P384 => {
                (Algorithm::ES384, &ECDSA_P384_SHA384_FIXED)
            }
            _ => return None,
        };
        // One that is no key would be found out only by the first token.
        ParsedPublicKey::new(verification, bytes).ok()?;
        let decoding = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_der(bytes),
            _ => DecodingKey::from_ec_der(bytes),
        };
        let mut jwk = Jwk::from_decoding_key(&decoding, Some(algorithm)).ok()?;
        // As upstream: a key is called after its public half.
        jwk.common.key_id = Some(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der)));
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Some(Self { algorithm, decoding, jwk })
    }

    /// Whether it may have signed a token that begins like this.
    pub(super) fn fits(&self, header: &Header) -> bool {
        self.algorithm == header.alg && (header.kid.is_none() || header.kid == self.jwk.common.key_id)
    }
}

/// Returns the key that a PrivateKeyInfo holds (RFC 5208), in the form of its algorithm.
fn inside_pkcs8(der: &[u8]) -> Option<Vec<u8>> {
    let (_, info) = x509_parser::der_parser::parse_der(der).ok()?;
    let [_version, _algorithm, key, ..] = info.as_sequence().ok()?.as_slice() else { return None };
    key.as_slice().ok().map(<[u8]>::to_vec)
}

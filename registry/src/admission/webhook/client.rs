//! Calling a webhook: one POST over HTTP/1.1 and TLS.
//!
//! Each call has a connection of its own, and there are no more than [`MOST_CALLS`] at a time. Answers are bounded, in bytes and in
//! values, and a redirect is an answer like any other that is no review: it is never followed.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::refusal::Why;
use super::target::Place;
use crate::cache::World;
use crate::schema;

/// How many calls go on at a time; others wait for their turn.
const MOST_CALLS: usize = 256;

/// How much of what a webhook says in place of a review is shown.
const LONGEST_MESSAGE: usize = 2048;

/// Calls webhooks.
#[derive(Debug)]
pub(super) struct Client {
    places: Semaphore,
    turns: AtomicUsize,
    transport: transport::Transport,
}

impl Default for Client {
    fn default() -> Self {
        let (turns, transport) = (AtomicUsize::new(0), transport::Transport::default());
        Self { places: Semaphore::new(MOST_CALLS), turns, transport }
    }
}

impl Client {
    /// Waits until there is room for one more call. That is no matter of the webhook: its time begins behind it.
    pub(super) async fn place(&self) -> SemaphorePermit<'_> {
        self.places.acquire().await.expect("nobody closes it")
    }

    /// Sends a body to a webhook, and returns what it answers.
    ///
    /// # Errors
    ///
    /// What went wrong, in upstream's words.
    pub(super) async fn post(
        &self,
        place: &Place,
        world: &World,
        body: Bytes,
        until: Instant,
    ) -> Result<Value, Why> {
        let left = until.saturating_duration_since(Instant::now());
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let url = place.url(seconds);
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let call = async {
            let known = place.resolve(world, turn)?;
            self.transport.post(place, &url, known, body).await
        };
        let answered = match timeout_at(until, call).await {
            Ok(answered) => answered.map_err(|why| format!("Post \"{url}\": {why}"))?,
            Err(_) => return Err(format!("Post \"{url}\": context deadline exceeded").into()),
        };
        answered.review()
    }
}

/// What a server answered.
#[derive(Debug)]
struct Answered {
    code: u16,
    body: Bytes,
}

impl Answered {
    /// Reads the answer as JSON.
    fn review(&self) -> Result<Value, Why> {
        if !(200..=206).contains(&self.code) {
            return Err(self.refusal());
        }
        schema::parse_review(&self.body)
            .map_err(|error| format!("couldn't get version/kind; json parse error: {error}").into())
    }

    /// What upstream's client makes of an answer that is no success, but for the body. Upstream shows up to 2 KiB of any text.
    /// A webhook's address may be any that the server reaches, and who may name one is not to read by it what answers there
    /// (CVE-2020-8561 is of this class): so only what says of itself that it is a Status is shown, and everything else is as
    /// unknown as what upstream cannot show. None of it is logged: who echoes what it is sent would put secrets there.
    fn refusal(&self) -> Why {
        let status = schema::parse_review(&self.body).unwrap_or_default();
        let is_status = status["kind"] == "Status" && status["apiVersion"] == "v1";
        if let Some(message) = status["message"].as_str().filter(|message| is_status && !message.is_empty()) {
            let shown: String = message.chars().take(LONGEST_MESSAGE).collect();
            let logged = format!("a Status of code {} with a message of {} bytes", self.code, message.len());
            return Why::quoting(shown, logged).counted_as(self.code);
        }
        tracing::debug!(
            code = self.code,
            bytes = self.body.len(),
            "a webhook's answer is no success and no Status"
        );
        Why::from(self.meaning()).counted_as(self.code)
    }

    /// What a code says by itself.
    fn meaning(&self) -> String {
        let text = "unknown";
        match self.code {
            400 => "the server rejected our request for an unknown reason".into(),
            401 => "the server has asked for the client to provide credentials".into(),
            403 | 406 => text.to_owned(),
            404 => "the server could not find the requested resource".into(),
            405 => "the server does not allow this method on the requested resource".into(),
            409 => "the server reported a conflict".into(),
            422 => "the server rejected our request due to an error in our request".into(),
            429 => {
                "the server has received too many requests and has asked us to try again later".into()
            }
            503 => "the server is currently unable to handle the request".into(),
            504 => "the server was unable to return a response in the time allotted, but may still be processing \
                    the request"
                .into(),
            code if code >= 500 => {
                let text = quarterdeck_core::labels::quote(text);
                format!("an error on the server ({text}) has prevented the request from succeeding")
            }
            code => {
                format!("the server responded with the status code {code} but did not return more information")
            }
        }
    }
}

#[cfg(not(feature = "tls"))]
mod transport {
    //! No way to anybody.

    use std::net::SocketAddr;

    use bytes::Bytes;

    use super::super::target::Place;
    use super::Answered;

    #[derive(Debug, Default)]
    pub(super) struct Transport;

    impl Transport {
        pub(super) async fn post(
            &self,
            place: &Place,
            _url: &str,
            _known: Option<SocketAddr>,
            _body: Bytes,
        ) -> Result<Answered, String> {
            let _ = (&place.host, &place.bundle);
            Err("the server is built without TLS".into())
        }
    }
}

#[cfg(feature = "tls")]
mod transport {
    //! The way to servers: TCP, TLS, HTTP/1.1.

    use std::collections::BTreeMap;
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use http::{Request, header};
    use http_body_util::{BodyExt, Full, Limited};
    use hyper_util::rt::TokioIo;
    use rustls::pki_types::ServerName;
    use rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::super::target::Place;
    use super::Answered;

    /// How many bytes an answer may have.
    const LONGEST: usize = 3 * 1024 * 1024;
    /// For how many authorities settings are kept.
    const KEPT: usize = 200;

    /// The settings of TLS, by whom they trust.
    #[derive(Debug, Default)]
    pub(super) struct Transport(Mutex<BTreeMap<Option<Vec<u8>>, TlsConnectorOf>>);

    #[derive(Clone)]
    struct TlsConnectorOf(Arc<ClientConfig>);

    impl std::fmt::Debug for TlsConnectorOf {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("TlsConnectorOf")
        }
    }

    impl Transport {
        /// Sends a body.
        pub(super) async fn post(
            &self,
            place: &Place,
            url: &str,
            known: Option<SocketAddr>,
            body: Bytes,
        ) -> Result<Answered, String> {
            let config = self.config(place.bundle.as_deref())?;
            let stream = connect(place, known).await?;
            let name = ServerName::try_from(place.host.clone());
            let name = name.map_err(|_| format!("tls: {:?} is no name of a server", place.host))?;
            let stream = TlsConnector::from(config).connect(name, stream).await;
            let stream = stream.map_err(|error| tls_error(&error, &place.host))?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| http_error(&error))?;
            // The connection ends with the call.
            let mut driver = tokio::task::JoinSet::new();
            driver.spawn(connection);
            let path = url.splitn(4, '/').nth(3).unwrap_or_default();
            let request = Request::post(format!("/{path}"))
                .header(header::HOST, &place.authority)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json, */*")
                .header(header::USER_AGENT, "kube-apiserver-admission")
                .body(Full::new(body))
                .map_err(|error| error.to_string())?;
            let answer = sender.send_request(request).await.map_err(|error| http_error(&error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LONGEST).collect().await;
            let body = body.map_err(|error| format!("reading the answer: {error}"))?.to_bytes();
            Ok(Answered { code: parts.status.as_u16(), body })
        }

        /// The settings that trust the authorities of a bundle, or those of the system.
        fn config(&self, bundle: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
            let key = bundle.map(<[u8]>::to_vec);
            let mut known = self.0.lock().expect("nothing panics while it holds the settings");
            if let Some(config) = known.get(&key) {
                return Ok(config.0.clone());
            }
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| format!("tls: {error}"))?
                .with_root_certificates(roots(bundle)?)
                .with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let config = Arc::new(config);
            if known.len() >= KEPT {
                known.clear();
            }
            known.insert(key, TlsConnectorOf(config.clone()));
            Ok(config)
        }
    }

    fn roots(bundle: Option<&[u8]>) -> Result<Arc<RootCertStore>, String> {
        let Some(bundle) = bundle else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(Arc::new(roots));
        };
        let unusable = || "unable to load root certificates: unable to parse bytes as PEM block".to_owned();
        let text = std::str::from_utf8(bundle).map_err(|_| unusable())?;
        let roots = crate::tls::roots(text).map_err(|_| unusable())?;
        if roots.is_empty() { Err(unusable()) } else { Ok(roots) }
    }

    async fn connect(place: &Place, known: Option<SocketAddr>) -> Result<TcpStream, String> {
        let addresses: Vec<SocketAddr> = match known {
            Some(address) => vec![address],
            None => {
                let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
                found.map_err(|_| format!("dial tcp: lookup {}: no such host", place.host))?.collect()
            }
        };
        let mut why = format!("dial tcp: lookup {}: no such host", place.host);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A small request is sent at once; if the system cannot, it is sent all the same.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    why = format!("dial tcp {address}: connect: connection refused");
                }
                Err(error) => why = format!("dial tcp {address}: connect: {error}"),
            }
        }
        Err(why)
    }

    /// Says in Go's words why TLS was not had, where they are known.
    fn tls_error(error: &std::io::Error, host: &str) -> String {
        let found = error.get_ref().and_then(|source| source.downcast_ref::<TlsError>());
        let certificate = match found {
            Some(TlsError::InvalidCertificate(certificate)) => certificate,
            Some(other) => return format!("tls: {other}"),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => return "EOF".into(),
            None => return error.to_string(),
        };
        let why = match certificate {
            // The signature is checked by the key of whatever trusted authority has the issuer's name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "certificate signed by unknown authority".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate has expired or is not yet valid".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("certificate is not valid for {host}")
            }
            other => other.to_string(),
        };
        format!("tls: failed to verify certificate: x509: {why}")
    }

    fn http_error(error: &hyper::Error) -> String {
        if error.is_incomplete_message() || error.is_closed() { "EOF".into() } else { error.to_string() }
    }
}

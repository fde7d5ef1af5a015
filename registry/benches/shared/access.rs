//! How clients reach a server, and what they show it: files in a directory, written by the server before it says where it is.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quarterdeck_core::component::BoxError;
use quarterdeck_registry::tls::{Authority, Identity};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where every server is.
pub(crate) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How requests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Plain HTTP; nobody is asked who they are.
    Plain,
    /// TLS with a client certificate.
    Certificate,
    /// TLS with a service account's token.
    Token,
}

impl How {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Certificate, Self::Token];

    /// Returns the word for it, on the command line and beside a figure.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Certificate => "x509",
            Self::Token => "token",
        }
    }

    fn parse(word: &str) -> Result<Self, BoxError> {
        let how = Self::ALL.into_iter().find(|how| how.word() == word);
        how.ok_or_else(|| format!("nobody connects by {word}").into())
    }
}

/// A server as one kind of client sees it.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    how: How,
    address: SocketAddr,
    directory: PathBuf,
}

impl Access {
    pub(crate) fn new(how: How, address: SocketAddr, directory: &Path) -> Self {
        Self { how, address, directory: directory.to_owned() }
    }

    pub(crate) fn parse(how: &str, address: &str, directory: &str) -> Result<Self, BoxError> {
        Ok(Self::new(How::parse(how)?, address.parse()?, Path::new(directory)))
    }

    /// Returns what [`parse`](Self::parse) reads.
    pub(crate) fn arguments(&self) -> [String; 3] {
        [self.how.word().into(), self.address.to_string(), self.directory.display().to_string()]
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.how != How::Plain
    }

    /// Returns the header's value by which requests are authenticated, if that is how.
    pub(crate) fn authorization(&self) -> Result<Option<String>, BoxError> {
        Ok(match self.how {
            How::Token => Some(format!("Bearer {}", fs::read_to_string(self.directory.join(TOKEN))?)),
            _ => None,
        })
    }

    /// Makes what opens connections that speak `protocol`.
    pub(crate) fn dialer(&self, protocol: &[u8]) -> Result<Dialer, BoxError> {
        let connector = match self.how {
            How::Plain => None,
            How::Certificate | How::Token => Some(TlsConnector::from(Arc::new(self.config(protocol)?))),
        };
        Ok(Dialer { address: self.address, connector })
    }

    /// Makes what opens connections without TLS, whoever is behind the address.
    pub(crate) fn undressed(&self) -> Dialer {
        Dialer { address: self.address, connector: None }
    }

    fn config(&self, protocol: &[u8]) -> Result<ClientConfig, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.directory.join(AUTHORITY))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let mut config = if self.how == How::Certificate {
            let certificate = fs::read_to_string(self.directory.join(CERTIFICATE))?;
            let key = fs::read_to_string(self.directory.join(KEY))?;
            let (chain, key) = Identity { certificate, key }.der()?;
            builder.with_client_auth_cert(chain, key)?
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }
}

/// Where below a server's directory lies what the agent of a node needs.
pub(crate) const AGENT: &str = "agent";
/// Where lies what another user needs who is like the client.
pub(crate) const NEIGHBOUR: &str = "neighbour";
const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "client.crt";
const KEY: &str = "client.key";
const TOKEN: &str = "token";

/// Leaves what clients need in a directory. A server that knows no tokens has none to leave.
pub(crate) fn leave(
    directory: &Path,
    authority: &Authority,
    client: &Identity,
    token: Option<&str>,
) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join(AUTHORITY), authority.certificate())?;
    fs::write(directory.join(CERTIFICATE), &client.certificate)?;
    fs::write(directory.join(KEY), &client.key)?;
    token.map_or(Ok(()), |token| fs::write(directory.join(TOKEN), token))
}

/// Opens connections.
#[derive(Clone)]
pub(crate) struct Dialer {
    address: SocketAddr,
    connector: Option<TlsConnector>,
}

impl Dialer {
    pub(crate) async fn dial(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(connector) = &self.connector else { return Ok(Stream::Plain(stream)) };
        let stream = connector.connect(ServerName::IpAddress(HOST.into()), stream).await?;
        Ok(Stream::Encrypted(Box::new(stream)))
    }
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

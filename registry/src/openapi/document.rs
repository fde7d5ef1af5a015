//! A document as it is kept and sent: compressed, with a hash that tells its versions apart.

use std::io::Read as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::{GzDecoder, GzEncoder};
use http::{HeaderMap, HeaderValue, Response, header};

use crate::body::Body;
use crate::etag;
use crate::negotiate::accepts_gzip;

/// A document, compressed: clients read it rarely, and it is large.
#[derive(Debug)]
pub(super) struct Document {
    gzip: Bytes,
    /// What tells its versions apart.
    pub hash: String,
}

impl Document {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut gzip = Vec::new();
        GzEncoder::new(bytes, Compression::fast())
            .read_to_end(&mut gzip)
            .expect("compressing memory does not fail");
        Self { gzip: gzip.into(), hash: etag::hash(bytes) }
    }

    /// Returns the document as it was.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(&self.gzip[..]).read_to_end(&mut bytes).expect("what was compressed here is whole");
        bytes
    }

    /// Answers with the document, unless the client has it.
    pub(super) fn answer(&self, content_type: &'static str, headers: &HeaderMap) -> Response<Body> {
        let mut answer = if etag::is_known(headers, &self.hash) {
            etag::not_modified()
        } else if accepts_gzip(headers) {
            let mut answer = Response::new(Body::full(self.gzip.clone()));
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            Response::new(Body::full(self.bytes()))
        };
        let sent = answer.headers_mut();
        sent.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        sent.insert(header::ETAG, etag::tag(&self.hash));
        sent.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        answer
    }
}

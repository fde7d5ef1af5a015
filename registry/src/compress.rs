//! Compressed answers, for clients that take them: large ones only, as in Kubernetes.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::body::Body;
use crate::negotiate::accepts_gzip;

/// How large an answer has to be for compressing to pay.
const THRESHOLD: u64 = 128 * 1024;

/// Compresses an answer if the client takes that and the answer is large.
pub(crate) fn large(answer: Response<Body>, headers: &HeaderMap) -> Response<Body> {
    if answer.body().about() <= THRESHOLD || answer.status() != StatusCode::OK || !accepts_gzip(headers) {
        return answer;
    }
    let mut answer = answer.map(gzip);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    answer
}

fn gzip(body: Body) -> Body {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let state = Some((body.into_pieces(), encoder));
    Body::stream(stream::unfold(state, |state| async {
        let (mut pieces, mut encoder) = state?;
        loop {
            let Some(piece) = pieces.next().await else {
                let rest = encoder.finish().expect("compressing into memory does not fail");
                return Some((Bytes::from(rest), None));
            };
            encoder.write_all(&piece).expect("compressing into memory does not fail");
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() {
                return Some((Bytes::from(ready), Some((pieces, encoder))));
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn sent(body: Body, accept: &'static str) -> (Response<()>, Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
        let (parts, body) = large(Response::new(body), &headers).into_parts();
        let bytes = body.collect().await.expect("a body does not fail").to_bytes();
        (Response::from_parts(parts, ()), bytes.into())
    }

    #[tokio::test]
    async fn a_large_answer_in_pieces_is_compressed_as_one() {
        let pieces: Vec<Bytes> = (0..40).map(|at| Bytes::from(vec![at; 8 * 1024])).collect();
        let whole: Vec<u8> = pieces.concat();
        let body = Body::pieces(stream::iter(pieces), whole.len() as u64);

        let (answer, bytes) = sent(body, "deflate, gzip").await;

        let mut read = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut read).expect("it is gzip");
        assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(read == whole && bytes.len() < whole.len());
    }

    #[tokio::test]
    async fn a_small_answer_and_one_to_who_does_not_take_it_are_sent_as_they_are() {
        let small = vec![b'x'; 1024];
        let large = vec![b'x'; 1024 * 1024];

        assert_eq!(sent(Body::full(small.clone()), "gzip").await.1, small);
        assert_eq!(sent(Body::full(large.clone()), "gzip;q=0, br").await.1, large);
    }
}

//! A request that is measured.

use std::sync::Arc;

use http::Response;
use quarterdeck_core::metrics::Gauge;
use tokio::time::Instant;

use super::Inner;
use super::table::{Asked, Series};
use crate::body::Body;

/// A request that is being served. One whose client goes away before it is answered is not counted.
pub(crate) struct Measured {
    inner: Arc<Inner>,
    series: Arc<Series>,
    began: Instant,
    under_way: Option<Gauge>,
}

impl Measured {
    pub(super) fn begin(inner: &Arc<Inner>, series: Arc<Series>, asked: &Asked<'_>) -> Self {
        let under_way = match &series.lasting {
            Some(lasting) => lasting.clone(),
            None if asked.is_mutating() => inner.mutating.clone(),
            None => inner.reading.clone(),
        };
        under_way.inc();
        Self { inner: inner.clone(), series, began: Instant::now(), under_way: Some(under_way) }
    }

    /// Counts an answer: now if it is there, else when it has been written, or nobody reads it any more.
    pub(crate) fn finish(self, answer: Response<Body>) -> Response<Body> {
        let written = Written { code: answer.status().as_u16(), size: answer.body().about(), request: self };
        if answer.body().is_there() {
            drop(written);
            return answer;
        }
        answer.map(|body| body.holding(written))
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            under_way.dec();
        }
    }
}

/// An answer. It is counted when it is dropped.
struct Written {
    request: Measured,
    code: u16,
    size: u64,
}

impl Drop for Written {
    fn drop(&mut self) {
        let Measured { inner, series, began, .. } = &self.request;
        series.count(inner, self.code);
        series.duration.observe_time(began.elapsed());
        if let Some(size) = &series.size {
            #[expect(clippy::cast_precision_loss, reason = "no answer is that large")]
            size.observe(self.size as f64);
        }
    }
}

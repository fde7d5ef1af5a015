//! What tells the series of a family apart.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};

/// The labels of a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LabelSet {
    names: &'static [&'static str],
    values: Box<[Box<str>]>,
}

impl LabelSet {
    pub(super) fn new(names: &'static [&'static str], values: &[&str]) -> Self {
        let value = |index: usize| values.get(index).copied().unwrap_or_default().into();
        Self { names, values: (0..names.len()).map(value).collect() }
    }
}

impl EncodeLabelSet for LabelSet {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        for (name, value) in self.names.iter().zip(&self.values) {
            (*name, &**value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

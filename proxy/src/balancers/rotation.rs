use quarterdeck_core::balancing::Backend;

/// Goes around among backends in their order, however they change in between.
///
/// All that is remembered is who was last. Whoever is offered all the time is passed once in every round, so that two such
/// backends never differ by more than one.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    last: Option<Backend>,
}

impl Rotation {
    /// Returns the index of the backend that is next of `backends`, which are in order.
    ///
    /// One backend alone is no step around: whoever offers just that one (for a client that is bound to it) leaves the
    /// others' turns as they are.
    pub(super) fn next(&mut self, backends: &[Backend]) -> Option<usize> {
        if backends.len() <= 1 {
            return backends.len().checked_sub(1);
        }
        let after = self.last.map_or(0, |last| backends.partition_point(|backend| *backend <= last));
        let index = if after == backends.len() { 0 } else { after };
        self.last = Some(backends[index]);
        Some(index)
    }
}

//! Choosing a node for a pod: the trait that the scheduler's driver calls.

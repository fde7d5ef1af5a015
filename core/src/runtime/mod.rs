//! Running pods on one node: the trait that the node agent drives.

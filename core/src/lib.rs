//! Contracts of the Quarterdeck SDK: the traits that a control plane is assembled from.

//! The node agent of the Quarterdeck SDK and its runtimes.

pub mod runtime;

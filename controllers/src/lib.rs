//! The default controllers of the Quarterdeck SDK, each usable alone.

//! Properties of ownership.

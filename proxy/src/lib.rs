//! The service proxy of the Quarterdeck SDK and its load balancers.

//! The proxy as a whole: real sockets on the loopback interface.

mod support;
mod tcp;
mod udp;

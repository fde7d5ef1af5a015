//! The proxy as a whole: real sockets on the loopback interface.

mod api;
mod file;
mod support;
mod tcp;
mod udp;

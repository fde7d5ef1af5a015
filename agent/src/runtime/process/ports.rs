//! Loopback ports for pods that have no network of their own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use quarterdeck_core::runtime::{PodUid, Protocol};

use super::places::hash;

/// Below those that the kernel gives to outgoing connections.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Finds a port of the loopback address that nobody uses, for a pod's port. `taken` tells those that were given out and
/// may not be in use yet. Where the search begins depends on the pod, so that nodes that do not know of each other seldom meet.
pub(super) fn find(pod: &PodUid, port: u16, protocol: Protocol, taken: impl Fn(u16) -> bool) -> Option<u16> {
    let start = hash(&[pod.as_str().as_bytes(), &port.to_le_bytes()]) % u64::from(COUNT);
    let start = u16::try_from(start).expect("it is below a 16 bit number");
    let mut candidates = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
    candidates.find(|candidate| !taken(*candidate) && is_free(*candidate, protocol))
}

fn is_free(port: u16, protocol: Protocol) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match protocol {
        Protocol::Udp => UdpSocket::bind(address).is_ok(),
        Protocol::Tcp | Protocol::Sctp => TcpListener::bind(address).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_or_given_out_is_not_found_again() {
        let pod = PodUid::from("a");
        let first = find(&pod, 80, Protocol::Tcp, |_| false).unwrap();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();

        let second = find(&pod, 80, Protocol::Tcp, |_| false).unwrap();
        let third = find(&pod, 80, Protocol::Tcp, |port| port == second).unwrap();

        assert!(first != second && second != third && third != first);
        assert_eq!(find(&pod, 80, Protocol::Tcp, |_| true), None);
    }
}

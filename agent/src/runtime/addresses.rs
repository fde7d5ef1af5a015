//! The addresses of a node's pods.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Hands out the addresses of a network, each to one holder at a time.
///
/// The network's own address, its first host (the gateway) and an IPv4 network's broadcast address are never handed out. An
/// address that was given back is the last to be handed out again, so that late packets do not reach another pod.
#[derive(Debug, Clone)]
pub(crate) struct AddressPool {
    network: IpNet,
    used: BTreeSet<IpAddr>,
    last: u128,
}

impl AddressPool {
    pub(crate) fn new(network: IpNet) -> Self {
        let network = network.trunc();
        Self { network, used: BTreeSet::new(), last: number(network.network()) + 1 }
    }

    /// Takes the next free address, or none if all are taken.
    pub(crate) fn take(&mut self) -> Option<IpAddr> {
        let first = number(self.network.network()) + 2;
        let mut last = number(self.network.broadcast());
        if self.network.addr().is_ipv4() {
            last = last.checked_sub(1)?;
        }
        if last < first || self.used.len() as u128 > last - first {
            return None;
        }
        // At most one more step than there are addresses in use.
        loop {
            self.last = if self.last < first || self.last >= last { first } else { self.last + 1 };
            let address = self.address(self.last);
            if self.used.insert(address) {
                return Some(address);
            }
        }
    }

    /// Marks an address as taken that was handed out in an earlier life. Returns whether it was free.
    pub(crate) fn adopt(&mut self, address: IpAddr) -> bool {
        if self.network.contains(&address) {
            self.last = self.last.max(number(address));
        }
        self.used.insert(address)
    }

    /// Takes an address back.
    pub(crate) fn give_back(&mut self, address: IpAddr) {
        self.used.remove(&address);
    }

    fn address(&self, number: u128) -> IpAddr {
        if self.network.addr().is_ipv4() {
            let number = u32::try_from(number).expect("an IPv4 network's hosts are 32 bits");
            IpAddr::V4(Ipv4Addr::from_bits(number))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(number))
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_given_back_is_the_last_to_be_handed_out_again() {
        let mut pool = AddressPool::new("10.0.0.0/29".parse().unwrap());

        let first = pool.take().unwrap();
        pool.give_back(first);
        let rest: Vec<_> = std::iter::from_fn(|| pool.take()).map(|a| a.to_string()).collect();

        assert_eq!(first.to_string(), "10.0.0.2");
        assert_eq!(rest, ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]);
    }

    #[test]
    fn an_adopted_address_is_not_handed_out() {
        let mut pool = AddressPool::new("fd00::/125".parse().unwrap());

        assert!(pool.adopt("fd00::3".parse().unwrap()));
        let rest: Vec<_> = std::iter::from_fn(|| pool.take()).map(|a| a.to_string()).collect();

        assert_eq!(rest, ["fd00::4", "fd00::5", "fd00::6", "fd00::7", "fd00::2"]);
    }

    #[test]
    fn after_adoption_the_next_address_lies_behind_all_adopted_ones_whatever_their_order() {
        let mut pool = AddressPool::new("10.0.0.0/29".parse().unwrap());

        for address in ["10.0.0.4", "10.0.0.2"] {
            assert!(pool.adopt(address.parse().unwrap()));
        }

        assert_eq!(pool.take().unwrap().to_string(), "10.0.0.5");
    }

    #[test]
    fn a_network_without_room_for_pods_has_no_address() {
        assert_eq!(AddressPool::new("10.0.0.0/31".parse().unwrap()).take(), None);
        assert_eq!(AddressPool::new("10.0.0.4/32".parse().unwrap()).take(), None);
    }
}

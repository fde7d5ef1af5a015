use std::fmt;

use crate::nftables;

/// How clients get to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// They look up proxy ports ([`Proxy::ports`](crate::Proxy::ports), the endpoint), or use node ports. This needs no
    /// rights.
    Userspace,
    /// They use the addresses of services: rules of the kernel redirect connections to proxy ports. This needs root
    /// (`CAP_NET_ADMIN`) and the program `nft`.
    ///
    /// The rules are in one table of the family `inet`, which is removed when the proxy stops. Of several proxies with the same
    /// table in one network, one writes the rules, and another takes over when it ends. Proxies of different clusters
    /// on one machine need different tables, and different service addresses.
    ///
    /// Clients on the machine need a route to the services' addresses; the default route will do.
    Nftables {
        /// The table's name: letters, digits, `-` and `_`, beginning with a letter.
        table: String,
    },
}

impl Mode {
    /// Redirects with the rules of the table `quarterdeck`.
    #[must_use]
    pub fn nftables() -> Self {
        Self::Nftables { table: "quarterdeck".into() }
    }

    /// Returns the mode that this process has the rights for. Whether `nft` is there is not looked at: who may use it and lacks
    /// it is told so when the proxy starts.
    #[must_use]
    pub fn detect() -> Self {
        if nftables::is_permitted() { Self::nftables() } else { Self::Userspace }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Userspace => f.write_str("userspace"),
            Self::Nftables { table } => write!(f, "nftables (table inet {table})"),
        }
    }
}

//! Makes addresses of services work: rules of the kernel that redirect connections to the proxy's local ports.
//!
//! All rules are in one table of nftables, which belongs to one proxy. [`Nftables`] writes what changed, looks whether
//! somebody else changed it, and removes it in the end. `ruleset` knows the table's content, `nft` the way to the kernel.

mod nft;
mod ruleset;

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use quarterdeck_core::client::ObjectKey;

pub(crate) use nft::NftError;
use ruleset::{Content, Wishes};
pub(crate) use ruleset::{Destination, MARK, Wish};

/// The rules of one proxy.
pub(crate) struct Nftables {
    table: String,
    /// Held while the table is ours. Another proxy that wants the same table in the same network waits for it.
    ownership: Option<UnixListener>,
    wishes: Wishes,
    /// What the table holds; unknown before the first writing, and after one that failed.
    installed: Option<Installed>,
}

struct Installed {
    content: Content,
    /// Chains and rules as they were listed after they were written.
    frame: String,
    /// The kernel's count of changes when all was seen to be as it should.
    generation: u32,
}

/// Returns whether this process may use nftables.
pub(crate) fn is_permitted() -> bool {
    nft::generation().is_ok()
}

impl Nftables {
    /// Prepares rules in a table, and changes nothing yet.
    ///
    /// # Errors
    ///
    /// [`NftError::Name`], or [`NftError::Forbidden`] if this process may not use nftables.
    pub(crate) fn new(table: &str) -> Result<Self, NftError> {
        let is_name = table.starts_with(|c: char| c.is_ascii_alphabetic())
            && table.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !is_name {
            return Err(NftError::Name(table.into()));
        }
        nft::generation()?;
        Ok(Self { table: table.into(), ownership: None, wishes: Wishes::default(), installed: None })
    }

    /// Notes what a service wants. [`write`](Self::write) does it.
    pub(crate) fn set(&mut self, service: &ObjectKey, wish: Wish) {
        self.wishes.set(service, wish);
    }

    /// Returns whether the table is this proxy's, and takes it if it is nobody's.
    pub(crate) fn own(&mut self) -> Result<bool, NftError> {
        if self.ownership.is_none() {
            // A name that is not in the file system belongs to the network namespace, as the table does, and is free as soon as
            // its holder ends, however that happens.
            let name = SocketAddr::from_abstract_name(format!("quarterdeck-proxy/{}", self.table))
                .map_err(NftError::Claim)?;
            match UnixListener::bind_addr(&name) {
                Ok(listener) => self.ownership = Some(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(false),
                Err(error) => return Err(NftError::Claim(error)),
            }
        }
        Ok(true)
    }

    /// Writes what changed, all at once.
    pub(crate) async fn write(&mut self) -> Result<(), NftError> {
        let Some(installed) = self.installed.take() else { return self.write_all().await };
        if !self.wishes.is_changed() {
            self.installed = Some(installed);
            return Ok(());
        }
        let (script, content) = self.wishes.difference(&self.table, &installed.content);
        let mut generation = installed.generation;
        if !script.is_empty() {
            let before = nft::generation()?;
            match nft::run(&script).await {
                // The table is not what it was.
                Err(NftError::Refused(_)) => return self.write_all().await,
                end => end?,
            }
            // If somebody else changed rules too, the count stays behind, and the next look sees what they did.
            if before == generation && nft::generation()? == before.wrapping_add(1) {
                generation = before.wrapping_add(1);
            }
        }
        self.wishes.written();
        self.installed = Some(Installed { content, generation, ..installed });
        Ok(())
    }

    /// Writes the whole table, whatever was there.
    async fn write_all(&mut self) -> Result<(), NftError> {
        nft::run(&self.wishes.whole(&self.table)).await?;
        self.wishes.written();
        let generation = nft::generation()?;
        let listing = nft::list(&self.table).await?;
        let frame = listing.map(|listing| listing.frame).unwrap_or_default();
        self.installed = Some(Installed { content: self.wishes.content(), frame, generation });
        Ok(())
    }

    /// Looks whether the table is as it was written, and writes it again if not. Returns whether it was.
    pub(crate) async fn check(&mut self) -> Result<bool, NftError> {
        let Some(installed) = &mut self.installed else { return Ok(false) };
        let generation = nft::generation()?;
        if generation == installed.generation {
            return Ok(true);
        }
        let listing = nft::list(&self.table).await?;
        if listing.is_some_and(|it| it.content == installed.content && it.frame == installed.frame) {
            installed.generation = generation;
            return Ok(true);
        }
        self.write_all().await?;
        Ok(false)
    }

    /// Removes the table, if it is ours.
    pub(crate) async fn remove(self) -> Result<(), NftError> {
        if self.ownership.is_none() {
            return Ok(());
        }
        nft::run(&ruleset::delete(&self.table)).await
    }
}

//! The `nft` program, and the kernel's count of changes to its rules.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use quarterdeck_core::runtime::Protocol;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::ruleset::{Content, Destination};

/// How long `nft` may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of what `nft` complains about is told, in characters.
const COMPLAINT: usize = 300;

/// Why rules could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NftError {
    /// The program cannot be started.
    #[error("cannot run nft: install nftables, or run the proxy in userspace mode")]
    Missing(#[source] io::Error),
    /// The program did not say how it went.
    #[error("cannot talk to nft")]
    Broken(#[source] io::Error),
    /// The program took too long.
    #[error("nft did not end within {} s", PATIENCE.as_secs())]
    Slow,
    /// The program or the kernel said no.
    #[error("nft refused: {0}")]
    Refused(String),
    /// What the program listed cannot be understood.
    #[error("cannot read what nft lists")]
    Listing(#[source] serde_json::Error),
    /// The kernel does not let this process change rules.
    #[error(
        "cannot use nftables: this needs root (CAP_NET_ADMIN) and a kernel with nf_tables; without, run the proxy in \
         userspace mode"
    )]
    Forbidden(#[source] io::Error),
    /// Whether the table is another proxy's cannot be found out.
    #[error("cannot claim the table")]
    Claim(#[source] io::Error),
    /// A table cannot be called so.
    #[error("{0:?} is no name for a table: letters, digits, '-' and '_' make one, and a letter comes first")]
    Name(String),
}

/// Carries out commands: all of them, or none.
pub(super) async fn run(script: &str) -> Result<(), NftError> {
    call(&["-f", "-"], script).await.map(drop)
}

/// What is in the kernel: what the table holds, and a text that tells whether rules and chains are the same as before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) content: Content,
    pub(super) frame: String,
}

/// Lists a table. `None` means that there is none.
pub(super) async fn list(table: &str) -> Result<Option<Listing>, NftError> {
    let text = match call(&["-j", "list", "table", "inet", table], "").await {
        Err(NftError::Refused(reason)) if reason.contains("No such file or directory") => return Ok(None),
        text => text?,
    };
    let listing: Value = serde_json::from_slice(&text).map_err(NftError::Listing)?;
    Ok(Some(read(&listing)))
}

async fn call(arguments: &[&str], input: &str) -> Result<Vec<u8>, NftError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Missing)?;
    let mut stdin = child.stdin.take();
    let write = async {
        if let Some(stdin) = &mut stdin {
            // If it stops reading, it says why when it ends.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin);
    };
    let both = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = tokio::time::timeout(PATIENCE, both).await.map_err(|_| NftError::Slow)?;
    let output = output.map_err(NftError::Broken)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let first = complaint.lines().next().unwrap_or("it did not say why");
    Err(NftError::Refused(first.chars().take(COMPLAINT).collect()))
}

fn read(listing: &Value) -> Listing {
    let (mut content, mut frame) = (Content::default(), String::new());
    for object in listing["nftables"].as_array().into_iter().flatten() {
        let Some((kind, value)) = object.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let mut value = value.clone();
        // Numbers of objects are the kernel's own, and differ each time.
        value.as_object_mut().map(|value| value.remove("handle"));
        match kind.as_str() {
            "metainfo" => continue,
            "map" => content.redirects.extend(redirects(&value["elem"].take())),
            "set" => content.refused.extend(addresses(&value["elem"].take())),
            _ => {}
        }
        frame.push_str(&format!("{kind} {value}\n"));
    }
    Listing { content, frame }
}

fn redirects(elements: &Value) -> BTreeMap<Destination, u16> {
    let elements = elements.as_array().into_iter().flatten();
    let read = |element: &Value| {
        let key = plain(&element[0]);
        let [address, protocol, port] = key["concat"].as_array()?.as_slice() else { return None };
        let protocol = match protocol.as_str()? {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let destination =
            Destination { address: address.as_str()?.parse().ok()?, protocol, port: number(port)? };
        Some((destination, number(plain(&element[1]))?))
    };
    elements.filter_map(read).collect()
}

fn addresses(elements: &Value) -> BTreeSet<std::net::IpAddr> {
    let elements = elements.as_array().into_iter().flatten();
    elements.filter_map(|element| plain(element).as_str()?.parse().ok()).collect()
}

/// Returns an element without its comment.
fn plain(element: &Value) -> &Value {
    let value = &element["elem"]["val"];
    if value.is_null() { element } else { value }
}

fn number(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

/// Returns how often rules were changed in this network namespace, by anybody. It costs next to nothing to ask.
pub(super) fn generation() -> Result<u32, NftError> {
    ask_generation().map_err(NftError::Forbidden)
}

/// The message by which the kernel is asked for its count of changes, and the type of its answer
/// (`linux/netfilter/nf_tables.h`: subsystem 10, messages 16 and 15).
const GET_GENERATION: u16 = 10 << 8 | 16;
const NEW_GENERATION: u16 = 10 << 8 | 15;

/// The lengths of a message's headers (netlink's, netfilter's) and of an attribute's.
const HEADERS: usize = 20;
const ATTRIBUTE: usize = 4;

fn ask_generation() -> io::Result<u32> {
    let netfilter = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    let mut request = Vec::with_capacity(HEADERS);
    request.extend(20_u32.to_ne_bytes()); // length
    request.extend(GET_GENERATION.to_ne_bytes());
    request.extend(1_u16.to_ne_bytes()); // a request
    request.extend([0; 8]); // sequence, sender
    request.extend([0; 4]); // any family, version 0
    sendto(netfilter.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    // The kernel has answered before it returns from sending.
    let mut answer = [0; 4096];
    let length = recv(netfilter.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    read_generation(&answer[..length])
}

fn read_generation(answer: &[u8]) -> io::Result<u32> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is too short");
    let bytes = |from: usize| answer.get(from..from + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    if kind.ok_or_else(short)? != NEW_GENERATION {
        let code = bytes(16).map(i32::from_ne_bytes).ok_or_else(short)?;
        return Err(io::Error::from_raw_os_error(-code));
    }
    // The first attribute is the count.
    bytes(HEADERS + ATTRIBUTE).map(u32::from_be_bytes).ok_or_else(short)
}

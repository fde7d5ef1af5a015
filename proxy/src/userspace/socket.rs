//! Opens sockets with the options that the proxy needs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// What a socket for datagrams may hold before they are dropped, in bytes. The kernel may give less.
const DATAGRAM_BUFFER: usize = 1 << 20;

/// How often a free port is looked for that is free on all addresses.
const ATTEMPTS: usize = 16;

/// Binds one socket per address, all to the same port, and says where each is: to `port`, or to any that is free on all if that is 0.
///
/// Addresses of a family that the machine does not have are left out, unless none is left then.
pub(super) fn bind_all<S>(
    addresses: &[IpAddr],
    port: u16,
    bind: impl Fn(SocketAddr) -> io::Result<(SocketAddr, S)>,
) -> io::Result<Vec<(SocketAddr, S)>> {
    let mut attempt = 1;
    loop {
        match bind_each(addresses, port, &bind) {
            Err(error) if port == 0 && attempt < ATTEMPTS && error.kind() == io::ErrorKind::AddrInUse => {
                attempt += 1;
            }
            end => return end,
        }
    }
}

fn bind_each<S>(
    addresses: &[IpAddr],
    port: u16,
    bind: impl Fn(SocketAddr) -> io::Result<(SocketAddr, S)>,
) -> io::Result<Vec<(SocketAddr, S)>> {
    let (mut sockets, mut port) = (Vec::new(), port);
    let mut refused = io::Error::new(io::ErrorKind::InvalidInput, "there is no address to listen at");
    for address in addresses {
        match bind(SocketAddr::new(*address, port)) {
            Ok((at, socket)) => {
                sockets.push((at, socket));
                port = at.port();
            }
            Err(error) if address.is_ipv6() && is_without_ipv6(&error) => refused = error,
            Err(error) => return Err(error),
        }
    }
    if sockets.is_empty() { Err(refused) } else { Ok(sockets) }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let unsupported = nix::errno::Errno::EAFNOSUPPORT as i32;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}

/// Listens for connections.
pub(super) fn listen(at: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    Ok((listener.local_addr()?, listener))
}

/// Opens a socket for datagrams that tells to which address each one was sent.
pub(super) fn datagrams(at: SocketAddr) -> io::Result<(SocketAddr, UdpSocket)> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    socket.set_recv_buffer_size(DATAGRAM_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    Ok((socket.local_addr()?, socket))
}

/// Connects to a backend.
pub(super) async fn connect(to: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    set_mark(&SockRef::from(&socket), mark)?;
    socket.connect(to).await
}

/// Opens a socket for one client's datagrams to a backend.
pub(super) async fn connect_datagrams(to: SocketAddr, mark: Option<u32>) -> io::Result<UdpSocket> {
    let from: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((from, 0)).await?;
    set_mark(&SockRef::from(&socket), mark)?;
    socket.connect(to).await?;
    Ok(socket)
}

/// Sets what every relayed connection has: small pieces go at once, and a peer that vanished is noticed.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_nodelay(true)
}

fn set_mark(socket: &SockRef<'_>, mark: Option<u32>) -> io::Result<()> {
    mark.map_or(Ok(()), |mark| socket.set_mark(mark))
}

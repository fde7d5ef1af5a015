//! A proxy fed by hand, and backends on the loopback interface that say who they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quarterdeck_core::balancing::{Backend, Backends};
use quarterdeck_core::client::ObjectKey;
use quarterdeck_core::component::{BoxError, Component, Stop, StopSignal};
use quarterdeck_core::runtime::Protocol;
use quarterdeck_proxy::{Proxy, ProxyPort, ProxyPorts, ServicePortConfig, ServiceTable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// What does not happen within this time does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("this happens in time")
}

/// A proxy that runs.
pub(crate) struct Running {
    pub(crate) table: ServiceTable,
    pub(crate) ports: ProxyPorts,
    signal: StopSignal,
    task: JoinSet<Result<(), BoxError>>,
}

impl Running {
    pub(crate) fn start(table: ServiceTable, proxy: Proxy) -> Self {
        let (signal, stop) = Stop::channel();
        let (ports, mut task) = (proxy.ports(), JoinSet::new());
        task.spawn(Box::new(proxy).run(stop));
        Self { table, ports, signal, task }
    }

    /// Sets a service with one port and returns where the proxy answers for it.
    pub(crate) async fn set(&self, name: &str, config: ServicePortConfig) -> SocketAddr {
        let service = ObjectKey::new("default", name);
        let backends: Vec<_> = config.backends.as_slice().iter().map(|backend| backend.0).collect();
        self.table.set(&service, vec![config]);
        let applied = |ports: &[ProxyPort]| ports.iter().any(|port| port.backends == backends);
        in_time(self.ports.wait_for(&service, applied)).await[0].proxy[0]
    }

    pub(crate) async fn remove(&self, name: &str) {
        let service = ObjectKey::new("default", name);
        self.table.remove(&service);
        in_time(self.ports.wait_for(&service, <[ProxyPort]>::is_empty)).await;
    }

    pub(crate) async fn stop(mut self) {
        self.signal.stop();
        in_time(self.task.join_next())
            .await
            .expect("there is one task")
            .expect("no panic")
            .expect("no error");
    }
}

pub(crate) fn tcp(backends: &[SocketAddr]) -> ServicePortConfig {
    let backends = Backends::new(backends.iter().copied().map(Backend));
    ServicePortConfig { backends, ..ServicePortConfig::new(Protocol::Tcp, 8080) }
}

pub(crate) fn udp(backends: &[SocketAddr]) -> ServicePortConfig {
    let backends = Backends::new(backends.iter().copied().map(Backend));
    ServicePortConfig { backends, ..ServicePortConfig::new(Protocol::Udp, 53) }
}

/// Servers that say their number, then what they hear. They end when this is dropped.
pub(crate) struct Echoes {
    /// Where they are, in the order in which round robin goes.
    pub(crate) at: Vec<SocketAddr>,
    tasks: Vec<JoinSet<()>>,
}

impl Echoes {
    pub(crate) async fn tcp(count: usize) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..count {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a port is free"));
        }
        listeners.sort_by_key(|listener| listener.local_addr().expect("it is bound"));
        let at = listeners.iter().map(|listener| listener.local_addr().expect("it is bound")).collect();
        let mut echoes = Self { at, tasks: Vec::new() };
        for (number, listener) in listeners.into_iter().enumerate() {
            echoes.serve(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(echo(stream, number));
                }
            });
        }
        echoes
    }

    pub(crate) async fn udp(count: usize) -> Self {
        let mut sockets = Vec::new();
        for _ in 0..count {
            sockets.push(UdpSocket::bind("127.0.0.1:0").await.expect("a port is free"));
        }
        sockets.sort_by_key(|socket| socket.local_addr().expect("it is bound"));
        let at = sockets.iter().map(|socket| socket.local_addr().expect("it is bound")).collect();
        let mut echoes = Self { at, tasks: Vec::new() };
        for (number, socket) in sockets.into_iter().enumerate() {
            echoes.serve(async move {
                let mut buffer = vec![0; 65_535];
                while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                    let answer = [number.to_string().as_bytes(), &buffer[..length]].concat();
                    let _ = socket.send_to(&answer, from).await;
                }
            });
        }
        echoes
    }

    fn serve(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        self.tasks.push(tasks);
    }

    /// Ends one server and its connections.
    pub(crate) async fn end(&mut self, number: usize) {
        self.tasks[number].shutdown().await;
    }
}

async fn echo(mut stream: TcpStream, number: usize) {
    let (mut from, mut to) = stream.split();
    if to.write_all(number.to_string().as_bytes()).await.is_ok() {
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    }
}

/// Connects and returns the connection and the number of who answered.
pub(crate) async fn call(at: SocketAddr) -> (TcpStream, u8) {
    let mut stream = in_time(TcpStream::connect(at)).await.expect("the proxy listens");
    let number = in_time(stream.read_u8()).await.expect("a backend answers");
    (stream, number - b'0')
}

/// Connects `count` times, one after the other, and returns who answered.
pub(crate) async fn answers(at: SocketAddr, count: usize) -> Vec<u8> {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(call(at).await.1);
    }
    answers
}

/// Sends a line and expects it back.
pub(crate) async fn assert_echo(stream: &mut TcpStream, line: &str) {
    in_time(stream.write_all(line.as_bytes())).await.expect("the connection is open");
    let mut answer = vec![0; line.len()];
    in_time(stream.read_exact(&mut answer)).await.expect("the connection is open");
    assert_eq!(answer, line.as_bytes());
}

/// Returns the text that an HTTP server answers, and its status.
pub(crate) async fn get(at: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = in_time(TcpStream::connect(at)).await.expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    in_time(stream.write_all(request.as_bytes())).await.expect("the server reads");
    let mut answer = String::new();
    in_time(stream.read_to_string(&mut answer)).await.expect("the server answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("the answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("the answer has a status"), body.into())
}

/// A client of UDP.
pub(crate) async fn client(at: SocketAddr) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    socket.connect(at).await.expect("the address is good");
    Arc::new(socket)
}

/// A client of UDP at any of this machine's addresses.
pub(crate) async fn client_anywhere(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a port is free");
    socket.connect(at).await.expect("the address is good");
    socket
}

/// Sends a datagram and returns the answer.
pub(crate) async fn ask(socket: &UdpSocket, question: &str) -> String {
    let mut buffer = vec![0; 65_535];
    in_time(socket.send(question.as_bytes())).await.expect("somebody listens");
    let length = in_time(socket.recv(&mut buffer)).await.expect("somebody listens");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Sends a datagram until it is answered, and returns the answer.
pub(crate) async fn ask_often(socket: &UdpSocket, question: &str) -> String {
    let mut buffer = vec![0; 65_535];
    let answered = async {
        loop {
            // What an earlier datagram met may be told now.
            let _ = socket.send(question.as_bytes()).await;
            let answer = tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await;
            if let Ok(Ok(length)) = answer {
                return length;
            }
        }
    };
    let length = in_time(answered).await;
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

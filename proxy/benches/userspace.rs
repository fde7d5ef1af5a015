//! How much a connection through the proxy costs: bytes and connections per second on the loopback interface, direct, through
//! the proxy, and through HAProxy if that is installed. Takes about 20 seconds.
//!
//! Clients, servers and what is between share the machine's processors, so that the ratios tell more than the numbers.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on may panic")]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quarterdeck_core::balancing::{Backend, Backends};
use quarterdeck_core::client::ObjectKey;
use quarterdeck_core::component::{Component, Stop};
use quarterdeck_core::runtime::Protocol;
use quarterdeck_proxy::{Proxy, RoundRobin, ServicePortConfig, ServiceTable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(3);

/// How many clients connect at a time.
const CLIENTS: usize = 8;

#[tokio::main]
async fn main() {
    // `cargo test` runs benches too, to see that they work.
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    let time = if is_test { Duration::from_millis(50) } else { TIME };

    let mut servers = JoinSet::new();
    let (sink, hello) = (listen().await, listen().await);
    let targets = [sink.local_addr().unwrap(), hello.local_addr().unwrap()];
    let received = Arc::new(AtomicU64::new(0));
    servers.spawn(serve_sink(sink, received.clone()));
    servers.spawn(serve_hello(hello));

    println!("{:<12} {:>10} {:>15} {:>10} {:>10}", "through", "GB/s", "connections/s", "p50 µs", "p99 µs");
    report("nothing", targets, &received, time).await;

    let (signal, stop) = Stop::channel();
    let (through, proxy) = start_proxy(targets, stop).await;
    report("quarterdeck", through, &received, time).await;
    signal.stop();
    proxy.join_all().await;

    match start_haproxy(targets).await {
        Some((through, mut haproxy)) => {
            report("haproxy", through, &received, time).await;
            haproxy.kill().unwrap();
            haproxy.wait().unwrap();
        }
        None => println!("haproxy      is not installed"),
    }
}

async fn report(name: &str, [sink, hello]: [SocketAddr; 2], received: &Arc<AtomicU64>, time: Duration) {
    let bytes = measure_bytes(sink, received, time).await;
    let mut times = measure_connections(hello, time).await;
    times.sort_unstable();
    let rate = times.len() as f64 / time.as_secs_f64();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0, Duration::as_micros);
    println!("{name:<12} {:>10.2} {rate:>15.0} {:>10} {:>10}", bytes / 1e9, at(50), at(99));
}

/// Sends as much as goes through one connection, and returns how much arrived, in bytes per second.
async fn measure_bytes(to: SocketAddr, received: &AtomicU64, time: Duration) -> f64 {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let block = vec![7; 256 * 1024];
    let (before, start) = (received.load(Ordering::Relaxed), Instant::now());
    while start.elapsed() < time {
        stream.write_all(&block).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    // The server ends its half when it has all.
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    (received.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64()
}

/// Connects again and again, and returns how long each connection took until its first byte.
async fn measure_connections(to: SocketAddr, time: Duration) -> Vec<Duration> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let (mut times, end) = (Vec::new(), Instant::now() + time);
            while Instant::now() < end {
                let start = Instant::now();
                let mut stream = TcpStream::connect(to).await.unwrap();
                stream.read_u8().await.unwrap();
                times.push(start.elapsed());
                // Otherwise the machine runs out of ports that are not in TIME_WAIT.
                stream.set_zero_linger().unwrap();
            }
            times
        });
    }
    clients.join_all().await.concat()
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn serve_sink(listener: TcpListener, received: Arc<AtomicU64>) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok((mut stream, _)) = listener.accept().await {
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            received.fetch_add(read as u64, Ordering::Relaxed);
        }
    }
}

async fn serve_hello(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            // A client that is gone already has been counted as one that failed.
            let _ = stream.write_all(b"x").await;
            let _ = stream.read_u8().await;
        });
    }
}

async fn start_proxy(targets: [SocketAddr; 2], stop: Stop) -> ([SocketAddr; 2], JoinSet<()>) {
    let table = ServiceTable::new();
    let proxy = Proxy::from_table(&table, RoundRobin::new());
    let (ports, mut task) = (proxy.ports(), JoinSet::new());
    task.spawn(async move { Box::new(proxy).run(stop).await.unwrap() });
    let mut through = targets;
    for (number, target) in targets.into_iter().enumerate() {
        let service = ObjectKey::new("default", format!("service-{number}"));
        let backends = Backends::new([Backend(target)]);
        table
            .set(&service, vec![ServicePortConfig { backends, ..ServicePortConfig::new(Protocol::Tcp, 80) }]);
        through[number] = ports.wait_for(&service, |ports| !ports.is_empty()).await[0].proxy[0];
    }
    (through, task)
}

async fn start_haproxy(targets: [SocketAddr; 2]) -> Option<([SocketAddr; 2], Child)> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("haproxy.cfg");
    let free = [listen().await, listen().await].map(|listener| listener.local_addr().unwrap());
    let mut config = String::from(
        "global\n  maxconn 4096\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n",
    );
    for (number, (at, target)) in free.iter().zip(targets).enumerate() {
        config += &format!("listen service-{number}\n  bind {at}\n  server one {target}\n");
    }
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("haproxy");
    let child = command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.ok()?;
    for at in free {
        while TcpStream::connect(at).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Some((free, child))
}

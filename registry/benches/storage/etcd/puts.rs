//! The load generator for etcd: puts by gRPC over HTTP/2, on connections that cost as little as they can.
//!
//! A connection sends what it may at once, reads what there is, and sends again: at most a system call each way for all that is
//! ready. So the client, which has its share of the machine's cores, takes little of what etcd could use.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use quarterdeck_core::component::BoxError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use crate::http2::{
    self, DATA, END_HEADERS, END_STREAM, FIRST_WINDOW, HEADERS, PING, SETTINGS, WINDOW_UPDATE,
};
use crate::load::Work;
use crate::process;
use crate::rate::Rate;

/// Over how many connections puts are sent: one alone would be one core's work for etcd.
const CONNECTIONS: usize = 8;
/// No load takes longer than this.
const PATIENCE: Duration = Duration::from_secs(200);
/// How much is read at a time.
const READ: usize = 64 * 1024;
/// What a message of gRPC begins with: whether it is compressed, and its length.
const MESSAGE: usize = 5;

/// What is to be put.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Puts {
    address: SocketAddr,
    size: usize,
    work: Work,
}

impl Puts {
    /// Returns what [`parse`](Self::parse) reads.
    pub(crate) fn arguments(address: SocketAddr, size: usize, work: Work) -> Vec<String> {
        [address.to_string(), size.to_string()].into_iter().chain(work.arguments()).collect()
    }

    /// Reads where, of what size, how often, how many at a time, and from which number on.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, BoxError> {
        let [address, size, count, in_flight, first] = arguments else {
            return Err("put needs five values".into());
        };
        let work = Work { count: count.parse()?, in_flight: in_flight.parse()?, first: first.parse()? };
        Ok(Self { address: address.parse()?, size: size.parse()?, work })
    }
}

/// Sends the puts and prints what came of it.
pub(crate) fn put(puts: &Puts) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async { tokio::time::timeout(PATIENCE, send(*puts)).await? };
    println!("{}", LocalSet::new().block_on(&runtime, work)?.line());
    Ok(())
}

async fn send(puts: Puts) -> Result<Rate, BoxError> {
    let Work { count, in_flight, first } = puts.work;
    let connections = CONNECTIONS.min(in_flight);
    let next = Rc::new(Cell::new(first));
    let value = Bytes::from(vec![b'v'; puts.size]);
    let mut open = Vec::new();
    for index in 0..connections {
        let share = in_flight / connections + usize::from(index < in_flight % connections);
        open.push(Connection::open(puts.address, share).await?);
    }
    let (started, before) = (Instant::now(), process::worked(std::process::id())?);
    let mut workers = JoinSet::new();
    for connection in open {
        workers.spawn_local(connection.work(next.clone(), first + count, value.clone()));
    }
    let mut times = Vec::with_capacity(count);
    while let Some(worked) = workers.join_next().await {
        times.extend(worked??);
    }
    let (took, cpu) = (started.elapsed(), process::worked(std::process::id())?.saturating_sub(before));
    Ok(Rate { client_cpu: cpu.div_f64(count as f64), ..Rate::of(took, times, 0) })
}

/// A put that is under way.
struct Pending {
    sent: Instant,
    /// Whether there was an answer: a call that fails has none, and ends.
    is_answered: bool,
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    out: BytesMut,
    in_flight: usize,
    pending: BTreeMap<u32, Pending>,
    next_stream: u32,
    /// How many bytes etcd lets this side send now.
    window: i64,
    times: Vec<Duration>,
}

impl Connection {
    async fn open(address: SocketAddr, in_flight: usize) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut out = BytesMut::new();
        http2::begin(&mut out);
        Ok(Self {
            stream,
            buffer: BytesMut::with_capacity(READ),
            out,
            in_flight,
            pending: BTreeMap::new(),
            next_stream: 1,
            window: i64::from(FIRST_WINDOW),
            times: Vec::new(),
        })
    }

    /// Puts one key after the other until `end`.
    async fn work(
        mut self,
        next: Rc<Cell<usize>>,
        end: usize,
        value: Bytes,
    ) -> Result<Vec<Duration>, BoxError> {
        loop {
            while next.get() < end && self.pending.len() < self.in_flight {
                let request = request(next.get(), &value);
                if self.window < request.len() as i64 {
                    break;
                }
                next.set(next.get() + 1);
                self.send(&request);
            }
            if !self.out.is_empty() {
                self.stream.write_all(&self.out).await?;
                self.out.clear();
            }
            if next.get() >= end && self.pending.is_empty() {
                return Ok(self.times);
            }
            self.buffer.reserve(READ);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("etcd closed a connection".into());
            }
            self.read()?;
        }
    }

    fn send(&mut self, request: &[u8]) {
        let number = self.next_stream;
        let headers = headers(number == 1);
        http2::head(&mut self.out, headers.len(), HEADERS, END_HEADERS, number);
        self.out.put_slice(&headers);
        http2::head(&mut self.out, request.len(), DATA, END_STREAM, number);
        self.out.put_slice(request);
        self.window -= request.len() as i64;
        self.next_stream += 2;
        self.pending.insert(number, Pending { sent: Instant::now(), is_answered: false });
    }

    /// Takes the frames that are there.
    fn read(&mut self) -> Result<(), BoxError> {
        while let Some(frame) = http2::Frame::take(&mut self.buffer) {
            match frame.kind {
                DATA => {
                    if let Some(pending) = self.pending.get_mut(&frame.stream) {
                        pending.is_answered |= frame.payload.len() > MESSAGE;
                    }
                }
                WINDOW_UPDATE if frame.stream == 0 => {
                    self.window += i64::from((&frame.payload[..]).get_u32())
                }
                SETTINGS | PING => frame.acknowledge(&mut self.out),
                WINDOW_UPDATE | HEADERS => {}
                kind => return Err(format!("etcd sent a frame of type {kind}").into()),
            }
            if frame.ends_stream() {
                let done = self.pending.remove(&frame.stream).filter(|pending| pending.is_answered);
                self.times.push(done.ok_or("etcd refused a put")?.sent.elapsed());
            }
        }
        Ok(())
    }
}

/// Writes the headers of a call, in HPACK. The first on a connection puts them into the table, from which the others take them.
fn headers(is_first: bool) -> BytesMut {
    // From the static table: a POST by http.
    let mut headers = BytesMut::from(&[0x83, 0x86][..]);
    if is_first {
        // Names of the static table by their numbers: :path, :authority, content-type; and one that is not in it.
        for (name, value) in [(4, "/etcdserverpb.KV/Put"), (1, "127.0.0.1"), (31, "application/grpc")] {
            headers.put_u8(0x40 | name);
            http2::text(&mut headers, value);
        }
        headers.put_u8(0x40);
        http2::text(&mut headers, "te");
        http2::text(&mut headers, "trailers");
    } else {
        headers.put_slice(&[0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
    }
    headers
}

/// Writes a message of gRPC: a `PutRequest` of key (field 1) and value (field 2).
fn request(index: usize, value: &[u8]) -> Vec<u8> {
    let key = format!("/registry/configmaps/default/map-{index}");
    let mut message = vec![0; MESSAGE];
    for (tag, bytes) in [(0x0a, key.as_bytes()), (0x12, value)] {
        message.push(tag);
        varint(&mut message, bytes.len());
        message.extend_from_slice(bytes);
    }
    let length = u32::try_from(message.len() - MESSAGE).expect("a message is small");
    message[1..MESSAGE].copy_from_slice(&length.to_be_bytes());
    message
}

fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 128 {
        out.push(128 | (number & 127) as u8);
        number >>= 7;
    }
    out.push(number as u8);
}

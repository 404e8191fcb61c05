//! A minimal registry that serves a layout, and fails as a test asks.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::layout::{INDEX, MANIFEST, TestLayout, digest};
use serde_json::Value;

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers by name, in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    pub fn authorization(&self) -> Option<&str> {
        self.headers.get("authorization").map(String::as_str)
    }

    /// Start of the requested range, from the header `Range: bytes=START-`.
    pub fn range_start(&self) -> Option<usize> {
        let range = self.headers.get("range")?;
        Some(range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().unwrap())
    }
}

/// The response to a request.
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Ends the connection after fewer bytes than `Content-Length`.
    Cut { announced: usize, body: Vec<u8> },
    /// Status 206: the bytes from `start` on of a blob of `all` bytes.
    Part { start: usize, body: Vec<u8>, all: usize },
    /// A body without `Content-Length`, up to the end of the connection.
    Unsized {
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Sends the body of a reply in 16 parts, with pauses between them.
    Slow { reply: Box<Reply>, pause: Duration },
    /// Sends the first bytes of a longer body, then nothing for two minutes.
    Stall { announced: usize, body: Vec<u8> },
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::Answer {
            status: 200,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Returns an [`Reply::Answer`] without its `Content-Length`, with status 200.
    pub fn without_length(self) -> Self {
        match self {
            Self::Answer { headers, body, .. } => Self::Unsized { headers, body },
            other => other,
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        }
    }

    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Answer {
                status,
                mut headers,
                body,
            } => {
                headers.push((name, value.into()));
                Self::Answer { status, headers, body }
            }
            Self::Unsized { mut headers, body } => {
                headers.push((name, value.into()));
                Self::Unsized { headers, body }
            }
            other => other,
        }
    }
}

/// A server on an unused loopback port. It runs until the test process ends.
pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server. `handle` gets each request and the number of requests before it.
    pub fn start(handle: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handle, log) = (Arc::new(handle), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, handle, log) = (stream.unwrap(), Arc::clone(&handle), Arc::clone(&log));
                thread::spawn(move || serve(stream, handle.as_ref(), &log));
            }
        });
        Self { address, requests }
    }

    /// Starts a server of a layout's blobs, with `image` as the tag `latest`. Where `fault` returns
    /// a reply, the server sends that instead.
    pub fn of(
        layout: &TestLayout,
        image: &Value,
        fault: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let blobs = layout.path().join("blobs/sha256");
        let latest = digest(image).to_owned();
        Self::start(move |request, before| {
            fault(request, before).unwrap_or_else(|| stored_reply(&blobs, &latest, request))
        })
    }

    pub fn reference(&self, version: &str) -> String {
        format!("{}/team/app{version}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn count(&self, part: &str) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.path.contains(part))
            .count()
    }
}

/// Returns the reply of a correct registry: a blob or document, or a part of it, or status 404.
pub fn stored_reply(blobs: &Path, latest: &str, request: &Request) -> Reply {
    let name = request.path.rsplit('/').next().unwrap();
    let digest = if name == "latest" { latest } else { name };
    match std::fs::read(blobs.join(digest.trim_start_matches("sha256:"))) {
        Ok(body) if request.range_start().is_some_and(|start| start < body.len()) => {
            let (start, all) = (request.range_start().unwrap(), body.len());
            Reply::Part {
                start,
                body: body[start..].to_vec(),
                all,
            }
        }
        Ok(body) => {
            let is_index = String::from_utf8_lossy(&body).contains("\"manifests\"");
            let media_type = if is_index { INDEX } else { MANIFEST };
            Reply::Answer {
                status: 200,
                headers: vec![("Content-Type", media_type.to_owned())],
                body,
            }
        }
        Err(_) => Reply::status(404),
    }
}

fn serve(stream: TcpStream, handle: &(impl Fn(&Request, usize) -> Reply + ?Sized), log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = read_request(&mut reader) else {
        return;
    };
    let before = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len() - 1
    };
    // A client may close the connection early, once it has what it needs.
    let _ = write_reply(stream, &handle(&request, before));
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first()?.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let header = |line: &String| {
        line.split_once(": ")
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
    };
    let headers: BTreeMap<_, _> = lines[1..].iter().filter_map(header).collect();
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

fn write_reply(mut stream: TcpStream, reply: &Reply) -> io::Result<()> {
    let (reply, pause) = match reply {
        Reply::Slow { reply, pause } => (&**reply, *pause),
        reply => (reply, Duration::ZERO),
    };
    let (status, mut headers, announced, body) = match reply {
        Reply::Slow { .. } => unreachable!("a slow reply holds another kind"),
        Reply::Answer { status, headers, body } => (*status, headers.clone(), Some(body.len()), body),
        Reply::Part { start, body, all } => {
            let range = format!("bytes {start}-{}/{all}", all - 1);
            (206, vec![("Content-Range", range)], Some(all - start), body)
        }
        Reply::Cut { announced, body } | Reply::Stall { announced, body } => (200, Vec::new(), Some(*announced), body),
        Reply::Unsized { headers, body } => (200, headers.clone(), None, body),
    };
    headers.extend(announced.map(|len| ("Content-Length", len.to_string())));
    write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\n")?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    for piece in body.chunks(if pause.is_zero() {
        usize::MAX
    } else {
        body.len() / 16 + 1
    }) {
        stream.write_all(piece)?;
        thread::sleep(pause);
    }
    if matches!(reply, Reply::Stall { .. }) {
        thread::sleep(Duration::from_mins(2));
    }
    Ok(())
}

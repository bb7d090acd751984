//! What tests ask of the cluster, over HTTP on an address of its own. Answers are lines of text.
//!
//! | path | what it does |
//! |---|---|
//! | `/nodes` | `NUMBER ADDRESS up/down BACKEND:GROUP:STATE …` for each node |
//! | `/stop?node=N`, `/start?node=N&data=kept/empty` | a node goes or comes, with what it had (stale, if others were written to) |
//! | `/fault?…` | adds a fault: `fault.rs` says what it may be |
//! | `/faults/clear` | forgets the faults |
//! | `/faults/struck` | how many commands were struck by faults |
//! | `/backend?node=N&backend=B&state=enabled/disabled/read-only/writable` | changes a backend |
//! | `/damage?node=N&id=HEX` | spoils the content that a node has of a record |
//! | `/forget?node=N&id=HEX` | a node loses a record |
//! | `/holds?node=N` | `NODE BACKEND GROUP ID SIZE SECONDS NANOSECONDS USER-FLAGS RECORD-FLAGS` for each record; all nodes without `node` |
//! | `/counts` | `NODE COMMAND COUNT FAILED` |
//! | `/frames` | `NODE HEAD BODY` in hexadecimal digits: the last 10,000 frames, of a body the attribute |
//! | `/problems` | `NODE SENTENCE`: what no careful client sends |
//! | `/clear` | forgets counts, frames and problems |

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Node};
use crate::fault::Fault;
use crate::id::Id;
use crate::running::Running;

/// What is controlled.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) running: Running,
}

/// Serves the control interface on a free port. Returns its address.
///
/// # Errors
/// When no port is free.
pub(crate) async fn serve(control: Arc<Control>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        loop {
            let Ok((connection, _)) = listener.accept().await else { continue };
            let control = Arc::clone(&control);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&control), request));
                // Whoever goes away is not its business.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(connection), service)
                    .await;
            });
        }
    });
    Ok(address)
}

async fn answer(
    control: Arc<Control>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let (status, mut text) = match control.act(request.uri().path(), &pairs).await {
        Ok(lines) => (200, lines.join("\n")),
        Err(sentence) => (400, sentence),
    };
    if !text.is_empty() {
        text.push('\n');
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("it is one");
    Ok(response)
}

impl Control {
    async fn act(&self, path: &str, pairs: &[(String, String)]) -> Result<Vec<String>, String> {
        let values: HashMap<&str, &str> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let value = |key: &str| values.get(key).copied().ok_or_else(|| format!("{key} is missing"));
        let number = |key: &str| {
            let text = value(key)?;
            text.parse::<usize>().map_err(|_| format!("{key}={text} is no number"))
        };
        let id = || Id::parse(value("id")?).ok_or_else(|| "id is none".to_owned());
        let journal = &self.cluster.journal;
        match path {
            "/nodes" => return Ok(self.cluster.nodes.iter().map(describe).collect()),
            "/counts" => return Ok(journal.counts()),
            "/frames" => return Ok(journal.frames()),
            "/faults/struck" => return Ok(vec![self.cluster.faults.struck().to_string()]),
            "/problems" => return Ok(journal.problems()),
            "/clear" => journal.clear(),
            "/stop" => self.running.stop(number("node")?).await?,
            "/start" => match value("data").unwrap_or("kept") {
                "kept" => self.running.start(number("node")?, false).await?,
                "empty" => self.running.start(number("node")?, true).await?,
                other => return Err(format!("data={other} is neither kept nor empty")),
            },
            "/fault" => self.cluster.faults.add(Fault::parse(pairs)?),
            "/faults/clear" => self.cluster.faults.clear(),
            "/holds" if values.contains_key("node") => {
                return Ok(holds(self.cluster.node(number("node")?)?.1));
            }
            "/holds" => return Ok(self.cluster.nodes.iter().flat_map(holds).collect()),
            "/backend" => {
                let (node, backend) = (number("node")?, number("backend")?);
                let one = self.cluster.node(node)?.1.backends.get(backend);
                let one = one.ok_or_else(|| format!("node {node} has no backend {backend}"))?;
                match value("state")? {
                    "enabled" => self.running.enable(node, backend, true).await?,
                    "disabled" => self.running.enable(node, backend, false).await?,
                    "read-only" => one.read_only.store(true, Ordering::SeqCst),
                    "writable" => one.read_only.store(false, Ordering::SeqCst),
                    other => return Err(format!("{other} is no state of a backend")),
                }
            }
            "/damage" | "/forget" => {
                let (id, node) = (id()?, self.cluster.node(number("node")?)?.1);
                let mut struck = false;
                for backend in &node.backends {
                    let mut records = backend.records.lock().expect("no holder panics");
                    struck |=
                        if path == "/damage" { records.damage(&id) } else { records.remove(&id) }.is_ok();
                }
                if !struck {
                    return Err(format!("node {} has no such record", node.number));
                }
            }
            other => return Err(format!("there is no {other} here")),
        }
        Ok(Vec::new())
    }
}

fn describe(node: &Node) -> String {
    let state = if node.is_up() { "up" } else { "down" };
    let mut line = format!("{} {} {state}", node.number, node.address);
    for backend in &node.backends {
        let state = match (backend.enabled.load(Ordering::SeqCst), backend.read_only.load(Ordering::SeqCst)) {
            (false, _) => "disabled",
            (true, true) => "read-only",
            (true, false) => "enabled",
        };
        line.push_str(&format!(" {}:{}:{state}", backend.number, backend.group));
    }
    line
}

fn holds(node: &Node) -> Vec<String> {
    let mut lines = Vec::new();
    for backend in &node.backends {
        let records = backend.records.lock().expect("no holder panics");
        lines.extend(records.iter().map(|(id, record)| {
            format!(
                "{} {} {} {id} {} {} {} {} {:#x}",
                node.number,
                backend.number,
                backend.group,
                record.size,
                record.timestamp.seconds,
                record.timestamp.nanoseconds,
                record.user_flags,
                record.flags
            )
        }));
    }
    lines
}

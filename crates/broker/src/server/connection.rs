//! Owns one connection: frames in, answers out, one request after the other as the protocol wants it. What is malformed,
//! oversized or too slow closes this connection and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, FetchRequest, FetchResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Shared;
use super::frame::{self, Door, HEAD, Refused};
use crate::api::{Answer, Api, Call, Cost, Malformed, api_versions, fetch, join_group, sync_group};
use crate::config::Fsync;

/// Records beyond this are not written on the reactor's threads.
const INLINE: usize = 256 * 1024;
/// Reads beyond this are not done on them either.
const READ_INLINE: usize = 128 * 1024;
/// A fetch waits no longer, whatever it says.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Frames and responses up to this size wait for no budget.
const SMALL: usize = 64 * 1024;

/// Why a connection ends before its client closes it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no progress for too long")]
    Stalled,
    #[error("a handler failed: {0}")]
    Handler(String),
}

impl Ended {
    /// Worth a warning: the client has broken the protocol.
    pub(super) fn is_misuse(&self) -> bool {
        !matches!(self, Ended::Io(_) | Ended::Stalled)
    }
}

/// One request, past the door.
struct Frame {
    api: &'static Api,
    version: i16,
    correlation: i32,
    client: String,
    body: Bytes,
    /// Only the answer that this version is not supported.
    unsupported: bool,
    _memory: Option<OwnedSemaphorePermit>,
}

/// A response and the memory that it holds of the common budget.
struct Response {
    bytes: BytesMut,
    _memory: Option<OwnedSemaphorePermit>,
}

impl From<BytesMut> for Response {
    fn from(bytes: BytesMut) -> Response {
        Response { bytes, _memory: None }
    }
}

/// What stays the same for a connection.
struct Origin {
    peer: String,
    host: String,
    port: i32,
}

pub(super) async fn serve(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let origin = Arc::new(Origin {
        peer: format!("/{}", peer.ip()),
        host: shared.advertised(stream.local_addr()?).to_string(),
        port: shared.addr.port().into(),
    });
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    while let Some(frame) = read(shared, &mut reader).await? {
        let Some(response) = handle(shared, &origin, frame).await? else { continue };
        let written = timeout(shared.config.stalled, writer.write_all(&response.bytes));
        written.await.map_err(|_| Ended::Stalled)??;
    }
    Ok(())
}

/// The next frame; `None` when the client has closed.
async fn read(shared: &Shared, reader: &mut BufReader<OwnedReadHalf>) -> Result<Option<Frame>, Ended> {
    let first = timeout(shared.config.idle, reader.read_i32()).await.map_err(|_| Ended::Stalled)?;
    let size = match first {
        Ok(size) => size,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let length = frame::length(size, shared.config.max_frame)?;
    let whole = timeout(shared.config.stalled, read_rest(shared, reader, length));
    whole.await.map_err(|_| Ended::Stalled)?.map(Some)
}

async fn read_rest(
    shared: &Shared,
    reader: &mut BufReader<OwnedReadHalf>,
    length: usize,
) -> Result<Frame, Ended> {
    let mut head = [0u8; HEAD];
    reader.read_exact(&mut head).await?;
    let door = frame::door(&head, length)?;
    let memory = budget(&shared.frames, length).await?;
    let mut buffer = BytesMut::with_capacity(length);
    buffer.extend_from_slice(&head);
    while buffer.len() < length {
        let missing = (length - buffer.len()) as u64;
        if (&mut *reader).take(missing).read_buf(&mut buffer).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
    let (client, body) = door.open(buffer.freeze())?;
    let Door { api, version, correlation, unsupported } = door;
    Ok(Frame { api, version, correlation, client, body, unsupported, _memory: memory })
}

/// Room for `bytes`; small things are bounded by the number of connections and wait for nothing.
async fn budget(of: &Arc<Semaphore>, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Ended> {
    if bytes <= SMALL {
        return Ok(None);
    }
    let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
    let permit = of.clone().acquire_many_owned(kib).await;
    permit.map(Some).map_err(|e| Ended::Handler(e.to_string()))
}

fn call<'a>(shared: &'a Shared, origin: &'a Origin, frame: &'a Frame) -> Call<'a> {
    Call {
        node: &shared.node,
        now: shared.clock.now(),
        version: frame.version,
        correlation: frame.correlation,
        client: &frame.client,
        peer: &origin.peer,
        host: &origin.host,
        port: origin.port,
    }
}

/// The response frame, unless the client wants none.
async fn handle(
    shared: &Arc<Shared>,
    origin: &Arc<Origin>,
    mut frame: Frame,
) -> Result<Option<Response>, Ended> {
    if frame.unsupported {
        frame.version = 0;
        let Answer::Ready(response) = api_versions::unsupported(&call(shared, origin, &frame))? else {
            return Ok(None);
        };
        return Ok(Some(response.into()));
    }
    let (answer, frame) = run(shared, origin, frame).await?;
    let gone = |e: tokio::sync::oneshot::error::RecvError| Ended::Handler(e.to_string());
    match answer {
        Answer::Ready(response) => Ok(Some(response.into())),
        Answer::Silent => Ok(None),
        Answer::Join(answer) => {
            let response = join_group::response(answer.await.map_err(gone)?, frame.version);
            Ok(Some(call(shared, origin, &frame).frame(&response)?.into()))
        }
        Answer::Sync(answer) => {
            let response = sync_group::response(answer.await.map_err(gone)?);
            Ok(Some(call(shared, origin, &frame).frame(&response)?.into()))
        }
        Answer::Fetch(request) => {
            let (response, memory) = wait_for_data(shared, origin, &frame, &request).await?;
            let bytes = call(shared, origin, &frame).frame(&response)?;
            Ok(Some(Response { bytes, _memory: memory }))
        }
    }
}

/// Runs the handler, here or where it may block.
async fn run(shared: &Arc<Shared>, origin: &Arc<Origin>, mut frame: Frame) -> Result<(Answer, Frame), Ended> {
    let strict = shared.config.fsync == Fsync::Strict && frame.api.key != ApiKey::Fetch;
    let body = std::mem::take(&mut frame.body);
    if !strict && frame.api.cost == Cost::Small && body.len() <= INLINE {
        let answer = (frame.api.run)(&call(shared, origin, &frame), body)?;
        return Ok((answer, frame));
    }
    let tracker = &shared.tracker;
    let (shared, origin) = (shared.clone(), origin.clone());
    let done = tracker.spawn_blocking(move || {
        let answer = (frame.api.run)(&call(&shared, &origin, &frame), body)?;
        Ok::<_, Malformed>((answer, frame))
    });
    Ok(done.await.map_err(|e| Ended::Handler(e.to_string()))??)
}

/// Answers a fetch when it has enough, when something fails, or when its time is over.
async fn wait_for_data(
    shared: &Arc<Shared>,
    origin: &Origin,
    frame: &Frame,
    request: &FetchRequest,
) -> Result<(FetchResponse, Option<OwnedSemaphorePermit>), Ended> {
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64).min(MAX_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    let waiter = Arc::new(Notify::new());
    loop {
        // Registered before looking, so that nothing that happens in between is missed.
        let waiting = Waiting::register(fetch::partitions(&call(shared, origin, frame), request), &waiter);
        let plan = match fetch::plan(&call(shared, origin, frame), request) {
            Ok(plan) => plan,
            Err(error) => return Ok((FetchResponse::default().with_error_code(error.code()), None)),
        };
        let min_bytes = request.min_bytes;
        let size = plan.size();
        // Twice: as read, and in the response.
        let memory = budget(&shared.fetches, size * 2).await?;
        let (response, enough) = if size <= READ_INLINE {
            plan.read(min_bytes)
        } else {
            let read = shared.tracker.spawn_blocking(move || plan.read(min_bytes));
            read.await.map_err(|e| Ended::Handler(e.to_string()))?
        };
        if enough || tokio::time::Instant::now() >= deadline {
            return Ok((response, memory));
        }
        drop(memory);
        let woken = tokio::time::timeout_at(deadline, waiter.notified()).await.is_ok();
        drop(waiting);
        // Nothing was there and nothing has happened: what most of the waits of an idle consumer come to. Where there was
        // something, too little, its memory has been given back: one more look, then the answer as it is.
        if !woken && size == 0 {
            return Ok((response, None));
        }
    }
}

/// A waiter in its partitions; taken out again however the wait ends.
struct Waiting {
    partitions: Vec<Arc<crate::partition::Partition>>,
    waiter: Arc<Notify>,
}

impl Waiting {
    fn register(partitions: Vec<Arc<crate::partition::Partition>>, waiter: &Arc<Notify>) -> Waiting {
        partitions.iter().for_each(|p| p.register(waiter));
        Waiting { partitions, waiter: waiter.clone() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.partitions.iter().for_each(|p| p.unregister(&self.waiter));
    }
}

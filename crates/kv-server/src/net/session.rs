//! One client's connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kv_core::{Answer, GroupId, Outcome, Page, Served};
use kv_proto::{
    FrameCodec, FrameError, Message, Refusal, RefusalCode, Request, RequestBody, Response,
    ResponseBody, checkpoint_chunks,
};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::codec::{Encoder, FramedRead};

use crate::client_number::ClientNumber;
use crate::config::DumpHook;
use crate::driver::{Backlog, ClientEvent, Replies, SessionReply};
use crate::net::framed;

/// Serves a client whose handshake is done, until either side goes.
pub(crate) struct Session {
    pub(crate) client: ClientNumber,
    pub(crate) inbox: mpsc::Sender<ClientEvent>,
    pub(crate) in_flight_max: u32,
    pub(crate) on_dump: Option<DumpHook>,
}

impl Session {
    pub(crate) async fn run(
        self,
        reader: FramedRead<OwnedReadHalf, FrameCodec>,
        writer: OwnedWriteHalf,
    ) {
        let (replies, outgoing) = Replies::channel();
        let backlog = replies.backlog();
        let client = self.client;
        let opened = ClientEvent::Opened { client, replies: replies.clone() };
        if self.inbox.send(opened).await.is_err() {
            return;
        }
        let permits = usize::try_from(self.in_flight_max).unwrap_or(Semaphore::MAX_PERMITS);
        let in_flight = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let on_dump = self.on_dump.clone();
        let inbox = self.inbox.clone();
        let read = self.read(reader, &replies, &in_flight);
        let write = write(writer, outgoing, (&in_flight, &backlog), on_dump);
        tokio::pin!(write);
        tokio::select! {
            mut rest = read => {
                if let Some((reader, refusal)) = rest.take() {
                    // The channel is open: its other end is polled below.
                    let _ = replies.send(vec![SessionReply::Refuse(refusal)]);
                    drop(replies);
                    write.await;
                    framed::drain(reader).await;
                }
            }
            () = &mut write => {}
            () = backlog.overflow() => {
                tracing::warn!(
                    client = client.0,
                    "closing the connection of a client that asks for much and does not read it"
                );
            }
            () = inbox.closed() => {
                // The driver has stopped; what it has answered is still written.
                drop(replies);
                write.await;
            }
        }
        // A driver that has stopped knows of no client any more.
        let _ = inbox.send(ClientEvent::Closed { client }).await;
    }

    /// Hands on requests until the client goes (then `None`) or sends what is no request.
    async fn read(
        self,
        mut reader: FramedRead<OwnedReadHalf, FrameCodec>,
        replies: &Replies,
        in_flight: &Semaphore,
    ) -> Option<(FramedRead<OwnedReadHalf, FrameCodec>, Refusal)> {
        let backlog = replies.backlog();
        loop {
            backlog.has_room().await;
            match framed::next(&mut reader).await {
                Ok(Some(Message::Request(request))) => {
                    self.on_request(request, replies, in_flight).await?;
                }
                Ok(Some(Message::MalformedRequest { id, error })) => {
                    in_flight.acquire().await.ok()?.forget();
                    let body = ResponseBody::Malformed(error.to_string());
                    replies.send(vec![SessionReply::Respond(Response { id, body })]).ok()?;
                }
                Ok(None) | Err(FrameError::Io(_)) => return None,
                Ok(Some(_)) => {
                    let why = "only requests may follow a client's hello: use a client of this \
                               release";
                    return Some((reader, Refusal::new(RefusalCode::Malformed, why)));
                }
                Err(error) => {
                    tracing::warn!(client = self.client.0, %error, "closing a client's connection");
                    return Some((reader, framed::refusal_of(&error)));
                }
            }
        }
    }

    /// `None` once the driver or the writer has gone.
    async fn on_request(
        &self,
        Request { id, body }: Request,
        replies: &Replies,
        in_flight: &Semaphore,
    ) -> Option<()> {
        let client = self.client;
        match body {
            RequestBody::Execute { op, options } => {
                in_flight.acquire().await.ok()?.forget();
                self.inbox.send(ClientEvent::Request { client, id, op, options }).await.ok()
            }
            RequestBody::Cancel => self.inbox.send(ClientEvent::Cancel { client, id }).await.ok(),
            RequestBody::Status => {
                in_flight.acquire().await.ok()?.forget();
                let (reply, status) = oneshot::channel();
                self.inbox.send(ClientEvent::Status { reply }).await.ok()?;
                let body = ResponseBody::Status(Box::new(status.await.ok()?));
                replies.send(vec![SessionReply::Respond(Response { id, body })]).ok()
            }
            RequestBody::Checkpoint => self.send_checkpoint(id, replies, in_flight).await,
        }
    }

    /// Sends all that the server holds, no faster than the client takes it; `None` as above.
    async fn send_checkpoint(
        &self,
        id: u64,
        replies: &Replies,
        in_flight: &Semaphore,
    ) -> Option<()> {
        let (reply, checkpoint) = oneshot::channel();
        self.inbox.send(ClientEvent::Checkpoint { reply }).await.ok()?;
        let backlog = replies.backlog();
        for chunk in checkpoint_chunks(id, checkpoint.await.ok()?) {
            in_flight.acquire().await.ok()?.forget();
            backlog.has_room().await;
            let body = ResponseBody::Checkpoint(chunk);
            replies.send(vec![SessionReply::Respond(Response { id, body })]).ok()?;
        }
        Some(())
    }
}

/// Writes replies, as many as wait in one go, until the connection or the driver has gone. A
/// request counts as in flight until its reply has been written, so that a client that does not
/// read is not read from either.
async fn write(
    mut writer: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Vec<SessionReply>>,
    (in_flight, backlog): (&Semaphore, &Backlog),
    on_dump: Option<DumpHook>,
) {
    let mut batch = ReplyBatch::new();
    while let Some(replies) = outgoing.recv().await {
        let mut replies = VecDeque::from(replies);
        loop {
            while let Some(reply) = replies.pop_front() {
                if let SessionReply::Respond(response) = &reply {
                    show_dump(response, on_dump.as_ref()).await;
                    backlog.take(response);
                }
                batch.add(reply);
                if batch.is_full() {
                    break;
                }
            }
            if replies.is_empty() && !batch.is_full() {
                match outgoing.try_recv() {
                    Ok(more) => {
                        replies.extend(more);
                        continue;
                    }
                    Err(_) if batch.is_empty() => break,
                    Err(_) => {}
                }
            }
            match batch.write_to(&mut writer).await {
                Some(written) => in_flight.add_permits(written),
                None => return,
            }
        }
    }
}

/// Replies that are written in one go.
struct ReplyBatch {
    codec: FrameCodec,
    wire: BytesMut,
    answered: usize,
    refused: bool,
}

impl ReplyBatch {
    fn new() -> Self {
        let codec = FrameCodec::new(GroupId(0));
        Self { codec, wire: BytesMut::new(), answered: 0, refused: false }
    }

    fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.answered == 0
    }

    fn is_full(&self) -> bool {
        self.refused || self.wire.len() >= WRITE_BYTES
    }

    fn add(&mut self, reply: SessionReply) {
        let message = match reply {
            SessionReply::Released => {
                self.answered += 1;
                return;
            }
            SessionReply::Respond(response) => {
                self.answered += 1;
                Message::Response(response)
            }
            SessionReply::Refuse(refusal) => {
                self.refused = true;
                Message::Refusal(refusal)
            }
        };
        if let Err(error) = self.codec.encode(message, &mut self.wire) {
            // The client's own timeout answers its request.
            tracing::error!(%error, "a response does not fit into a frame");
        }
    }

    /// Returns how many requests are no longer in flight, or `None` if the connection is to end.
    async fn write_to(&mut self, writer: &mut OwnedWriteHalf) -> Option<usize> {
        timeout(WRITE_MAX, writer.write_all(&self.wire)).await.ok()?.ok()?;
        if self.wire.capacity() > WRITE_CAPACITY_MAX {
            self.wire = BytesMut::new();
        }
        self.wire.clear();
        (!self.refused).then(|| std::mem::take(&mut self.answered))
    }
}

/// A page served from this server alone is a page of a dump, which the server shows as well.
async fn show_dump(response: &Response, on_dump: Option<&DumpHook>) {
    if let (Some(hook), Some(page)) = (on_dump, dumped_page(response)) {
        let (hook, page) = (hook.clone(), page.clone());
        if tokio::task::spawn_blocking(move || (hook.0)(&page)).await.is_err() {
            tracing::error!("the dump could not be shown on the server's side");
        }
    }
}

fn dumped_page(response: &Response) -> Option<&Page> {
    match &response.body {
        ResponseBody::Outcome(Outcome::Done(done)) if done.served == Served::Local => {
            match &done.answer {
                Answer::Page(page) => Some(page),
                Answer::Results(_) => None,
            }
        }
        ResponseBody::Outcome(_)
        | ResponseBody::Status(_)
        | ResponseBody::Malformed(_)
        | ResponseBody::Checkpoint(_) => None,
    }
}

/// A write takes no further reply once it has this many bytes.
const WRITE_BYTES: usize = 256 << 10;

/// A buffer that has grown beyond this is given back after the write.
const WRITE_CAPACITY_MAX: usize = 1 << 20;

/// A client that takes nothing for this long counts as gone.
const WRITE_MAX: Duration = Duration::from_secs(30);

//! A connection to a server for tools: one request after the other, without a runtime.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use kv_core::{GroupId, Operation, Outcome, RequestOptions, SnapshotPart, Status};
use kv_proto::{
    CLUSTER_NAME_LEN_MAX, Frame, FrameDecoder, Hello, HelloReply, Liveness, Request, RequestBody,
    Response, ResponseBody, Role, ServerToClient, Welcome, put_alive, put_message,
};

/// A connection to a server.
pub(crate) struct Remote {
    address: String,
    stream: TcpStream,
    decoder: FrameDecoder,
    received: BytesMut,
    welcome: Welcome,
    last_id: u64,
    /// When this program last showed that it lives.
    shown: Instant,
}

impl Remote {
    /// Connects to `host:port` as a client of a cluster.
    pub(crate) fn connect(address: &str, cluster: &str) -> anyhow::Result<Self> {
        let addresses = address.to_socket_addrs().with_context(|| format!("cannot find {address}"));
        let stream = addresses?
            .find_map(|address| TcpStream::connect_timeout(&address, CONNECT_MAX).ok())
            .with_context(|| format!("no server answers at {address}"))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        stream.set_nodelay(true)?;
        let mut decoder = FrameDecoder::new(GROUP);
        let mut received = BytesMut::new();
        ensure!(
            cluster.len() <= CLUSTER_NAME_LEN_MAX,
            "the cluster's name has more than {CLUSTER_NAME_LEN_MAX} bytes: name the one that the \
             servers were started with"
        );
        let hello = Hello { cluster: cluster.to_owned(), role: Role::Client };
        let mut wire = BytesMut::new();
        put_message(GROUP, &hello, &mut wire)?;
        (&stream).write_all(&wire)?;
        let reply = HelloReply::from_frame(receive(&stream, &decoder, &mut received)?);
        let reply = reply.with_context(|| format!("what listens at {address} is no server"));
        let welcome = match reply? {
            HelloReply::Welcome(welcome) => welcome,
            HelloReply::Refusal(refusal) => bail!("{address} refuses: {refusal}"),
        };
        decoder.lift_limit();
        let (address, shown) = (address.to_owned(), Instant::now());
        Ok(Self { address, stream, decoder, received, welcome, last_id: 0, shown })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Who answers.
    pub(crate) const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Does several things at once; their outcomes are in the order of the operations.
    pub(crate) fn execute_all(
        &mut self,
        operations: impl IntoIterator<Item = Operation>,
    ) -> anyhow::Result<Vec<Outcome>> {
        let first = self.last_id + 1;
        for op in operations {
            let body = RequestBody::Execute { op, options: RequestOptions::default() };
            self.ask(body)?;
        }
        let count = self.last_id + 1 - first;
        let mut outcomes = BTreeMap::new();
        for _ in 0..count {
            let response = self.answer()?;
            let ResponseBody::Outcome(outcome) = response.body else {
                bail!("{} answers with {:?}", self.address, response.body);
            };
            outcomes.insert(response.id, outcome);
        }
        Ok(outcomes.into_values().collect())
    }

    /// Does one thing.
    pub(crate) fn execute(&mut self, operation: Operation) -> anyhow::Result<Outcome> {
        let mut outcomes = self.execute_all([operation])?;
        outcomes.pop().context("there is an outcome for each operation")
    }

    pub(crate) fn status(&mut self) -> anyhow::Result<Status> {
        self.ask(RequestBody::Status)?;
        let body = self.answer()?.body;
        let ResponseBody::Status(status) = body else {
            bail!("{} answers with {body:?}", self.address);
        };
        Ok(*status)
    }

    /// Begins to fetch all that the server holds.
    pub(crate) fn begin_checkpoint(&mut self) -> anyhow::Result<()> {
        self.ask(RequestBody::Snapshot)
    }

    /// The next part of it.
    pub(crate) fn next_chunk(&mut self) -> anyhow::Result<SnapshotPart> {
        match self.answer()?.body {
            ResponseBody::Snapshot(part) => Ok(part),
            ResponseBody::Malformed(_) => {
                bail!("{} is of an older release that gives no backup", self.address)
            }
            ResponseBody::Outcome(Outcome::NotDone(reason)) => bail!("{}: {reason}", self.address),
            ResponseBody::Outcome(_) | ResponseBody::Status(_) => {
                bail!("{} answers with what is no part of its data", self.address)
            }
        }
    }

    fn ask(&mut self, body: RequestBody) -> anyhow::Result<()> {
        self.last_id += 1;
        let mut wire = BytesMut::new();
        put_message(GROUP, &Request { id: self.last_id, body }, &mut wire)?;
        let written = self.stream.write_all(&wire);
        written.with_context(|| format!("the connection to {} is lost", self.address))
    }

    fn answer(&mut self) -> anyhow::Result<Response> {
        if self.shown.elapsed() >= Liveness::OF_CLIENT.interval {
            let mut wire = BytesMut::new();
            put_alive(GROUP, &mut wire);
            self.stream.write_all(&wire)?;
            self.shown = Instant::now();
        }
        loop {
            let received = receive(&self.stream, &self.decoder, &mut self.received);
            let frame =
                received.with_context(|| format!("the connection to {} is lost", self.address));
            let answer = ServerToClient::from_frame(frame?)
                .with_context(|| format!("{} answers with what is no answer", self.address));
            match answer? {
                ServerToClient::Response(response) => return Ok(response),
                ServerToClient::Refusal(refusal) => bail!("{} refuses: {refusal}", self.address),
                // All servers have the same data in the end.
                ServerToClient::State(_) => {}
            }
        }
    }
}

fn receive(
    mut stream: &TcpStream,
    decoder: &FrameDecoder,
    received: &mut BytesMut,
) -> anyhow::Result<Frame> {
    let mut part = vec![0; READ_BYTES];
    loop {
        if let Some(frame) = decoder.decode(received)? {
            return Ok(frame);
        }
        let len = stream.read(&mut part)?;
        if len == 0 {
            bail!("it was closed");
        }
        received.extend_from_slice(part.get(..len).unwrap_or_default());
    }
}

/// The group that a client talks to.
const GROUP: GroupId = GroupId(0);

/// How long a server may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How long a server may say nothing while it is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(60);

const READ_BYTES: usize = 64 << 10;

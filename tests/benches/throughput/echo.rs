//! A server that says yes to everything, for comparison.

use std::process::{Command, Stdio};

use bytes::BytesMut;
use futures_util::StreamExt;
use kv_core::{
    Answer, ClusterConfig, CommandResult, Done, GroupId, Incarnation, NodeId, Outcome, Quorum,
    Served,
};
use kv_proto::{
    Frame, FrameCodec, Hello, Request, RequestBody, Response, ResponseBody, Welcome, put_message,
};
use kv_tests::Process;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::FramedRead;

pub(crate) const ARGUMENT: &str = "echo-at";

/// Starts this very program as an echo process.
pub(crate) fn start(address: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ARGUMENT).arg(address);
    let mut process = Process::start("echo".to_owned(), command, Stdio::null());
    process.wait_for("ready");
    process
}

/// Runs the echo process.
pub(crate) fn run(address: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.unwrap();
        println!("ready");
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
}

/// Answers all requests that came together in one write, as the server does.
async fn serve(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut frames = FramedRead::new(reader, FrameCodec::new(GROUP));
    let mut wire = BytesMut::new();
    let Some(Ok(hello)) = frames.next().await else { return };
    Hello::from_frame(hello).unwrap();
    frames.decoder_mut().lift_limit();
    put_message(GROUP, &welcome(), &mut wire).unwrap();
    writer.write_all(&wire).await.unwrap();
    wire.clear();
    let mut frames = frames.ready_chunks(1024);
    while let Some(chunk) = frames.next().await {
        for frame in chunk {
            let Ok(frame) = frame else { return };
            let Some(response) = answer(frame) else { continue };
            put_message(GROUP, &response, &mut wire).unwrap();
        }
        if writer.write_all(&wire).await.is_err() {
            return;
        }
        wire.clear();
    }
}

fn answer(frame: Frame) -> Option<Response> {
    match Request::from_frame(frame).unwrap().unwrap() {
        Request { id, body: RequestBody::Execute { .. } } => {
            let answer = Answer::Results(vec![CommandResult::Written]);
            let done = Done { answer, version: None, served: Served::Local };
            let body = ResponseBody::Outcome(Outcome::Done(done));
            Some(Response { id, body })
        }
        _ => None,
    }
}

fn welcome() -> Welcome {
    let node = NodeId::FIRST;
    Welcome {
        node,
        incarnation: Incarnation::UNKNOWN,
        engine: "echo".to_owned(),
        config: ClusterConfig::new([node], Quorum::All, Quorum::All).unwrap(),
        cluster_id: None,
        in_flight_max: 1024,
        sessions: false,
        sequencer: None,
    }
}

const GROUP: GroupId = GroupId(0);

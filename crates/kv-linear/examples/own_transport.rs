//! Three servers of the linearizable engine in a program of your own: a thread each, channels
//! between them, no runtime. `cargo run -p kv-linear --example own_transport`
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program has clocks")]
#![allow(clippy::indexing_slicing, reason = "every server is in the network")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, UNIX_EPOCH};

use kv_core::driver::PeerFrame;
use kv_core::local::{LocalNode, LocalOutput};
use kv_core::{ClusterConfig, ConsistencyEngine, EngineConfig, Incarnation, Key, NodeId, NotDone};
use kv_core::{Now, Operation, Outcome, Quorum, RequestOptions, Value};
use kv_linear::{LinearEngine, Message};

/// What comes to a server.
enum Event {
    Connected(NodeId),
    Frame { from: NodeId, frame: PeerFrame<Message> },
    Request { tag: u64, op: Operation },
}

type Inbox = Receiver<Event>;
type Reply = Sender<Outcome>;
type Network = std::collections::BTreeMap<NodeId, Sender<Event>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes @ [_, second, third] = [NodeId::new(1)?, NodeId::new(2)?, NodeId::new(3)?];
    let cluster = ClusterConfig::new(nodes, Quorum::Majority, Quorum::Majority)?;
    let (senders, inboxes): (Vec<_>, Vec<_>) = nodes.iter().map(|_| channel()).unzip();
    let network: Network = nodes.into_iter().zip(senders).collect();
    let (reply, replies) = channel();
    for (node, inbox) in nodes.into_iter().zip(inboxes) {
        for peer in cluster.peers_of(node) {
            network[&node].send(Event::Connected(peer))?;
        }
        let config = EngineConfig::new(node, cluster.clone());
        let engine = LinearEngine::recover(config, None, [])?;
        let server = LocalNode::new(engine, cluster.peers_of(node));
        let (network, reply) = (network.clone(), reply.clone());
        std::thread::spawn(move || serve(node, server, &inbox, &network, &reply));
    }
    let mut requests = vec![(third, Operation::get(Key::new("x")?))];
    requests.push((second, Operation::put(Key::new("x")?, Value::new("1")?)));
    for tag in 1.. {
        let Some((node, op)) = requests.last().cloned() else { break };
        network[&node].send(Event::Request { tag, op })?;
        let outcome = replies.recv_timeout(Duration::from_secs(10))?;
        // The servers have only just found each other; a client that is told to wait tries again.
        if !matches!(outcome, Outcome::NotDone(NotDone::Waiting(_))) {
            println!("server {node}: {outcome:?}");
            requests.pop();
        }
    }
    Ok(())
}

/// Drives a server by what comes and by its deadlines, and carries what it says to the others.
fn serve(
    node: NodeId,
    mut server: LocalNode<LinearEngine>,
    inbox: &Inbox,
    network: &Network,
    reply: &Reply,
) {
    let start = Instant::now();
    loop {
        let due = server.next_deadline().unwrap_or(Duration::MAX);
        let event = inbox.recv_timeout(due.saturating_sub(start.elapsed()));
        let now = Now { mono: start.elapsed(), wall: UNIX_EPOCH.elapsed().unwrap_or_default() };
        let outputs = match event {
            Ok(Event::Connected(peer)) => server.peer_up(now, peer, Incarnation::UNKNOWN),
            Ok(Event::Frame { from, frame }) => server.receive(now, from, frame),
            Ok(Event::Request { tag, op }) => {
                server.request(now, tag, op, RequestOptions::default())
            }
            Err(_) => server.tick(now),
        };
        for output in outputs {
            match output {
                // What is sent to a server or a client that has gone is lost, as on any network.
                LocalOutput::Send { to, frame } => {
                    drop(network[&to].send(Event::Frame { from: node, frame }));
                }
                LocalOutput::Reply { outcome, .. } => drop(reply.send(outcome)),
                LocalOutput::Halt { reason } => return println!("server {node} stops: {reason}"),
            }
        }
    }
}

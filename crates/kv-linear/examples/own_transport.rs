//! Three servers of the linearizable engine in a program of your own: a thread each, channels
//! between them, no runtime. `cargo run -p kv-linear --example own_transport`
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program has clocks")]
#![allow(clippy::indexing_slicing, reason = "every server is in the network")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, UNIX_EPOCH};

use kv_core::local::{LocalNode, Output};
use kv_core::{ClusterConfig, ConsistencyEngine, EngineConfig, Incarnation, Input, Key, NodeId};
use kv_core::{NotDone, Now, Operation, Outcome, Quorum, RequestId, RequestOptions, Value};
use kv_linear::{LinearEngine, Message};

type Inbox = Receiver<Input<Message>>;
type Reply = Sender<Outcome>;
type Network = std::collections::BTreeMap<NodeId, Sender<Input<Message>>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes @ [_, second, third] = [NodeId::new(1)?, NodeId::new(2)?, NodeId::new(3)?];
    let cluster = ClusterConfig::new(nodes, Quorum::Majority, Quorum::Majority)?;
    let (senders, inboxes): (Vec<_>, Vec<_>) = nodes.iter().map(|_| channel()).unzip();
    let network: Network = nodes.into_iter().zip(senders).collect();
    let (reply, replies) = channel();
    for (node, inbox) in nodes.into_iter().zip(inboxes) {
        for peer in cluster.peers_of(node) {
            network[&node].send(Input::PeerUp { peer, incarnation: Incarnation::UNKNOWN })?;
        }
        let config = EngineConfig::new(node, cluster.clone(), u64::from(node.number()));
        let engine = LinearEngine::recover(config, None, [])?;
        let (network, reply) = (network.clone(), reply.clone());
        std::thread::spawn(move || serve(node, engine, &inbox, &network, &reply));
    }
    let mut requests = vec![(third, Operation::get(Key::new("x")?))];
    requests.push((second, Operation::put(Key::new("x")?, Value::new("1")?)));
    for id in (1..).map(RequestId) {
        let Some((node, op)) = requests.last().cloned() else { break };
        network[&node].send(Input::Request { id, op, options: RequestOptions::default() })?;
        let outcome = replies.recv_timeout(Duration::from_secs(10))?;
        // The servers have only just found each other; a client that is told to wait tries again.
        if !matches!(outcome, Outcome::NotDone(NotDone::Waiting(_))) {
            println!("server {node}: {outcome:?}");
            requests.pop();
        }
    }
    Ok(())
}

/// Steps an engine for each message and deadline, and carries what it says to the others.
fn serve(node: NodeId, engine: LinearEngine, inbox: &Inbox, network: &Network, reply: &Reply) {
    // What is sent to a server or a client that has gone is lost, as on any network.
    let send = |to: NodeId, input| drop(network[&to].send(input));
    let (start, mut server) = (Instant::now(), LocalNode::new(engine));
    loop {
        let due = server.engine().next_deadline().unwrap_or(Duration::MAX);
        let wait = due.saturating_sub(start.elapsed());
        let input = inbox.recv_timeout(wait).unwrap_or(Input::Timeout);
        let now = Now { mono: start.elapsed(), wall: UNIX_EPOCH.elapsed().unwrap_or_default() };
        for output in server.step(now, input) {
            match output {
                Output::Send { to, message } => send(to, Input::Message { from: node, message }),
                Output::SendCheckpoint { to, checkpoint } => {
                    send(to, Input::CheckpointInstalled { from: node, checkpoint });
                }
                Output::Reply { outcome, .. } => drop(reply.send(outcome)),
                Output::Halt { reason } => return println!("server {node} stops: {reason}"),
            }
        }
    }
}

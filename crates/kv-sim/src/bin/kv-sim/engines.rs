//! What the engines of this workspace survive today.

use std::time::Duration;

use kv_check::evidence::KeptWrite;
use kv_core::{ConsistencyEngine, Counter, Key, NodeId, Role, Status, Version, Wire, digest};
use kv_eventual::{Entry, EventualEngine, Record, Write};
use kv_linear::LinearEngine;
use kv_sim::{
    Availability, Cluster, Declaration, Fault, Needs, OperationKind, Oracle, Probe, Sometimes,
};

/// The linearizable engine. A server that lost its disk counts again once it has caught up; until
/// then a quorum of others must have theirs.
pub(crate) fn linearizable() -> Declaration {
    let operations = [
        OperationKind::Put,
        OperationKind::Get,
        OperationKind::Delete,
        OperationKind::Increment,
        OperationKind::Append,
        OperationKind::ConditionalPut,
        OperationKind::Transaction,
        OperationKind::Scan,
        OperationKind::Dump,
        OperationKind::PutForATime,
        OperationKind::Expiry,
    ];
    let declaration = Declaration::all(Oracle::Linearizability, &operations).keeping_quorum();
    // One that is set back may halt, as it should.
    let availability = Availability { needs: Needs::Sequencer, within: Duration::from_secs(15) };
    Declaration {
        sessions: true,
        availability: Some(availability),
        ..declaration.but_not(&[Fault::Lull])
    }
}

/// The eventual engine. If all servers lose their disks at about the same time, a message that was
/// sent before that and arrives after it makes a server believe in an incarnation of its sender
/// that is gone, and it takes no message of the present one until they connect anew: seed 1721
/// without `keeps_a_disk` shows it. Nobody leads, so that nobody can hand over.
pub(crate) fn eventual() -> Declaration {
    let operations =
        [OperationKind::Put, OperationKind::Get, OperationKind::Delete, OperationKind::Dump];
    let declaration =
        Declaration::all(Oracle::LastWriterWins, &operations).but_not(&[Fault::HandOver]);
    let availability = Availability { needs: Needs::Quorums, within: Duration::from_secs(5) };
    Declaration {
        request_quorums: true,
        session_guarantees: true,
        keeps_a_disk: true,
        availability: Some(availability),
        ..declaration
    }
}

/// An engine that says what it holds.
pub(crate) trait Holder: ConsistencyEngine + 'static {
    /// The states that runs must reach.
    const SOMETIMES: &'static [Sometimes<Self>];

    /// Whether what is on this disk includes a write that `answered` acknowledged.
    fn holds(&self, answered: &Self, key: &Key, version: Version) -> bool;

    /// The version of a key that this server itself holds.
    fn held(&self, key: &Key) -> Option<Version>;

    /// The write that a record asks a server to keep.
    fn kept(record: &Self::Record) -> Option<KeptWrite>;

    /// Whether a disk knows of another server.
    fn knows(&self, node: NodeId) -> bool;

    /// The four questions.
    fn probe() -> Probe<Self> {
        Probe { holds: Self::holds, held: Self::held, kept: Self::kept, knows: Self::knows }
    }
}

/// Whether some server says this of itself.
fn any<E: ConsistencyEngine>(cluster: &Cluster<E>, is_so: impl Fn(Status) -> bool) -> bool {
    cluster.nodes().filter_map(|node| cluster.status(node)).any(is_so)
}

/// Messages wait in a connection that takes no more.
const fn congested_link<E: ConsistencyEngine>() -> Sometimes<E> {
    Sometimes {
        name: "a connection to a peer takes no more",
        is_so: Cluster::holds_messages_back,
        per_mille: 50,
        runs_min: 100,
    }
}

/// Answers wait for a client.
const fn congested_client<E: ConsistencyEngine>() -> Sometimes<E> {
    Sometimes {
        name: "answers wait for a client that reads nothing",
        is_so: Cluster::holds_answers_back,
        per_mille: 50,
        runs_min: 100,
    }
}

/// A checkpoint has failed.
const fn failed_checkpoint<E: ConsistencyEngine>() -> Sometimes<E> {
    Sometimes {
        name: "a server could not write its last checkpoint",
        is_so: |cluster| cluster.nodes().any(|node| cluster.owes_checkpoint(node)),
        per_mille: 50,
        runs_min: 100,
    }
}

/// A backup was read bit by bit.
const fn backup<E: ConsistencyEngine>() -> Sometimes<E> {
    Sometimes {
        name: "a server's state changed while a backup of it was read to its end",
        is_so: Cluster::has_backed_up_what_changed,
        per_mille: 20,
        runs_min: 100,
    }
}

/// Whether a client waits.
fn is_asked<E: ConsistencyEngine>(cluster: &Cluster<E>) -> bool {
    cluster.requests().rev().any(|(_, request)| !request.has_ended())
}

impl Holder for LinearEngine {
    const SOMETIMES: &'static [Sometimes<Self>] = &[
        Sometimes {
            name: "a sequencer was chosen anew",
            is_so: |cluster| any(cluster, |status| status.positions.epoch_round > Some(0)),
            per_mille: 300,
            runs_min: 100,
        },
        Sometimes {
            name: "no sequencer is known while clients wait",
            is_so: |cluster| {
                !any(cluster, |status| status.role == Role::Sequencer)
                    && any(cluster, |status| status.positions.epoch_round > Some(0))
                    && is_asked(cluster)
            },
            per_mille: 50,
            runs_min: 100,
        },
        Sometimes {
            name: "a server joins a cluster that has a sequencer",
            is_so: |cluster| {
                any(cluster, |status| status.role == Role::Sequencer)
                    && any(cluster, |status| status.role == Role::Joining)
            },
            per_mille: 50,
            runs_min: 100,
        },
        Sometimes {
            name: "two servers take themselves for the sequencer",
            is_so: |cluster| {
                let nodes = cluster.nodes().filter_map(|node| cluster.status(node));
                nodes.filter(|status| status.role == Role::Sequencer).count() > 1
            },
            per_mille: 1,
            runs_min: 100,
        },
        congested_link(),
        congested_client(),
        failed_checkpoint(),
        backup(),
    ];

    fn holds(&self, answered: &Self, _key: &Key, version: Version) -> bool {
        match version {
            Version::Log(number) => self.has_operation_of(answered, number),
            Version::Stamp { .. } | Version::Tag { .. } => false,
        }
    }

    fn held(&self, key: &Key) -> Option<Version> {
        self.held_version(key)
    }

    /// Its writes have places in the log, and no names.
    fn kept(_record: &Self::Record) -> Option<KeptWrite> {
        None
    }

    /// It asks all servers that are listed.
    fn knows(&self, _node: NodeId) -> bool {
        true
    }
}

impl Holder for EventualEngine {
    const SOMETIMES: &'static [Sometimes<Self>] = &[
        Sometimes {
            name: "a server has lost its disk",
            is_so: Cluster::has_lost_disks,
            per_mille: 300,
            runs_min: 100,
        },
        Sometimes {
            name: "a server is joining while clients wait",
            is_so: |cluster| {
                any(cluster, |status| status.role == Role::Joining) && is_asked(cluster)
            },
            per_mille: 50,
            runs_min: 100,
        },
        Sometimes {
            name: "a server lacks writes that a peer numbered",
            is_so: |cluster| any(cluster, |status| status.positions.gaps > Some(0)),
            per_mille: 1,
            runs_min: 100,
        },
        Sometimes {
            name: "a read waits for what its client has seen",
            is_so: |cluster| {
                any(cluster, |status| status.counter(Counter::ReadsBehindSession) > Some(0))
            },
            per_mille: 20,
            runs_min: 100,
        },
        congested_link(),
        congested_client(),
        failed_checkpoint(),
        backup(),
    ];

    fn holds(&self, _answered: &Self, key: &Key, version: Version) -> bool {
        self.held_version(key).is_some_and(|held| held >= version)
    }

    fn held(&self, key: &Key) -> Option<Version> {
        self.held_version(key)
    }

    fn knows(&self, node: NodeId) -> bool {
        self.has_met(node)
    }

    fn kept(record: &Self::Record) -> Option<KeptWrite> {
        let Record::Write(Write { key, entry }) = record else {
            return None;
        };
        let Entry { stamp, seq, value } = entry;
        Some(KeptWrite {
            origin: stamp.origin,
            incarnation: stamp.incarnation,
            seq: seq.0,
            time: stamp.time,
            key: key.clone(),
            content: digest(&value.to_bytes()),
        })
    }
}

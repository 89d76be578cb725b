//! What the engines of this workspace survive today.

use kv_core::NodeId;
use kv_sim::{Declaration, OperationKind, Oracle};

/// The linearizable engine, whose sequencer has no successor: server 1 may crash and restart, but
/// must not lose its disk, whatever happens to the others.
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
    ];
    Declaration::all(Oracle::Linearizability, &operations).keeping_disk_of(NodeId::FIRST)
}

/// The eventual engine. If all servers lose their disks at about the same time, a message that was
/// sent before that and arrives after it makes a server believe in a life of its sender that is
/// gone, and it takes no message of the present one until they connect anew: seed 1721 without
/// `keeps_a_disk` shows it.
pub(crate) fn eventual() -> Declaration {
    let operations =
        [OperationKind::Put, OperationKind::Get, OperationKind::Delete, OperationKind::Dump];
    let declaration = Declaration::all(Oracle::LastWriterWins, &operations);
    Declaration { request_quorums: true, keeps_a_disk: true, ..declaration }
}

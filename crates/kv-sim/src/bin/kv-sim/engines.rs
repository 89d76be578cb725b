//! What the engines of this workspace survive today.

use kv_core::NodeId;
use kv_sim::{Declaration, OperationKind, Oracle};

/// The linearizable engine, in memory and with fixed epochs: its sequencer must neither crash nor
/// lose its disk, whatever happens to the others.
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
    Declaration::all(Oracle::Linearizability, &operations).sparing(NodeId::FIRST)
}

/// The eventual engine.
pub(crate) fn eventual() -> Declaration {
    let operations =
        [OperationKind::Put, OperationKind::Get, OperationKind::Delete, OperationKind::Dump];
    let declaration = Declaration::all(Oracle::LastWriterWins, &operations);
    Declaration { request_quorums: true, ..declaration }
}

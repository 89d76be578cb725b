//! What the majority register says of itself.

use std::time::Duration;

use kv_check::oracle::Promise;
use kv_sim::{
    Availability, Declaration, Fault, Needs, OperationKind, Oracle, QuorumRule, VersionScope,
};

/// It survives all but the loss of disks; it orders the writes of each key and no more; and it
/// serves whoever is connected to a majority.
pub(crate) fn declaration() -> Declaration {
    let operations =
        [OperationKind::Put, OperationKind::Get, OperationKind::Delete, OperationKind::Dump];
    let not_survived =
        [Fault::WipedDisk, Fault::SetBackDisk, Fault::FlippedBit, Fault::HandOver, Fault::Lull];
    let availability = Availability { needs: Needs::Quorums, within: Duration::from_secs(5) };
    let mut declaration =
        Declaration::all(Oracle::Linearizability, &operations).but_not(&not_survived);
    declaration.quorums = QuorumRule::Majority;
    declaration.versions = VersionScope::Key;
    declaration.availability = Some(availability);
    // What a server missed while it was away stays missing there until somebody reads it.
    declaration.converges = false;
    declaration.promises.retain(|promise| *promise != Promise::VersionOrder);
    declaration
}

//! Whether what a server of the linearizable engine says is borne out by its disk and its log.

use kv_core::NodeId;
use kv_linear::{Ack, Body, LinearEngine, Message, Promise};
use kv_sim::Cluster;

use super::breakable::Linear;
use super::holders::on_disk;

/// What a server said although its disk does not have it; linear.md, "What must be on disk before
/// it is sent".
///
/// The step that sent it may have had more written after that, and a disk may have it at once: so
/// the disk is also looked at without its last records.
pub(super) fn unfounded(
    cluster: &Cluster<Linear>,
    (from, to, message): &(NodeId, NodeId, Message),
) -> Option<String> {
    let from = *from;
    if let Body::Refuse { receiver, requests, .. } = &message.body {
        let engine = cluster.engine(from).map(Linear::engine)?;
        let is_placed = |(number, _): &&(u64, _)| engine.has_placed(*to, *receiver, *number);
        let (number, _) = requests.iter().find(is_placed)?;
        return Some(format!("server {from} refuses request {number} of {to}, which its log has"));
    }
    let (_, records) = cluster.disk(from).ok()?;
    let finding = of(cluster, &on_disk(cluster, from, records.len())?, message)?;
    let shortest = records.len().saturating_sub(RECORDS_AT_ONCE_MAX);
    let is_borne_out = (shortest..records.len()).any(|count| {
        on_disk(cluster, from, count).is_some_and(|disk| of(cluster, &disk, message).is_none())
    });
    (!is_borne_out).then(|| format!("server {from} {finding}"))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other messages say nothing of the disk")]
fn of(cluster: &Cluster<Linear>, disk: &LinearEngine, message: &Message) -> Option<String> {
    match &message.body {
        Body::Promise(promise) => of_promise(disk, promise),
        Body::Ack(ack) => of_ack(cluster, disk, ack),
        Body::Prepare(prepare) => (disk.promised() < prepare.epoch)
            .then(|| format!("speaks in {}, and its disk does not have it", prepare.epoch)),
        _ => None,
    }
}

/// Whether a message is of those that are looked at.
pub(super) const fn is_looked_at(message: &Message) -> bool {
    matches!(message.body, Body::Promise(_) | Body::Ack(_) | Body::Prepare(_) | Body::Refuse { .. })
}

fn of_promise(disk: &LinearEngine, Promise { epoch, tail, .. }: &Promise) -> Option<String> {
    if disk.is_recovering() {
        return Some(format!("promises {epoch}, and its disk lost its data"));
    }
    if disk.promised() < *epoch {
        return Some(format!("promises {epoch}, and its disk has {}", disk.promised()));
    }
    (disk.log_hash(tail.last) != Some(tail.last_hash))
        .then(|| format!("promises a log to {}, and its disk has another one", tail.last))
}

fn of_ack(cluster: &Cluster<Linear>, disk: &LinearEngine, ack: &Ack) -> Option<String> {
    let Ack { epoch, durable, recovering, .. } = ack;
    if disk.is_recovering() && !recovering {
        return Some(format!("counts in {epoch}, and its disk lost its data"));
    }
    if disk.promised() != *epoch {
        return Some(format!("acknowledges in {epoch}, and its disk has {}", disk.promised()));
    }
    if disk.last_index() < *durable {
        let last = disk.last_index();
        return Some(format!("acknowledges {durable}, and its disk has {last}"));
    }
    let sequencer = cluster.engine(epoch.owner).map(Linear::engine);
    let sequencer = sequencer.filter(|engine| engine.sequences() == Some(*epoch))?;
    let differs = match (sequencer.log_hash(*durable), disk.log_hash(*durable)) {
        (Some(theirs), Some(own)) => theirs != own,
        _ => sequencer.last_index() < *durable,
    };
    differs.then(|| format!("acknowledges {durable} of {epoch}, of which its disk has another log"))
}

/// How many records may be written, and be on disk, in the step that sent a message.
const RECORDS_AT_ONCE_MAX: usize = 8;

//! Why a run does not pass.

mod fault_span;
mod shown_by;

use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kv_check::oracle::{NamedCalls, OracleFinding, Promise};
use kv_check::{Bound, Counterexample, HistoryError};
use kv_core::{ClusterConfigError, Done, HaltReason, Key, NodeId, Outcome, RequestId, Version};

use crate::fault::FaultCounts;
use crate::violation::{Breach, Violation};
pub use fault_span::{FaultSpan, FaultsBetween};
pub use shown_by::ShownBy;

/// Why a run of a simulation does not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationFailure {
    /// The engine broke its contract.
    #[error(transparent)]
    Contract(#[from] Violation),
    /// An engine halted though nothing was damaged.
    #[error("server {node} halted: {reason}")]
    Halted {
        /// Which server.
        node: NodeId,
        /// Its reason.
        reason: HaltReason,
    },
    /// After all faults had ended, a server did not serve.
    #[error(
        "server {node} did no write within {bound:?} after all faults had ended; {}",
        LastAnswer(last.as_ref())
    )]
    NeverServes {
        /// Which server.
        node: NodeId,
        /// How long it was given, in virtual time.
        bound: Duration,
        /// Its last answer.
        last: Option<Outcome>,
    },
    /// With servers away that the engine can do without, another one did not serve.
    #[error("server {node} did no write and read within {bound:?} while {away}")]
    NeverServesWithout {
        /// Which server.
        node: NodeId,
        /// Who was away, and why.
        away: Box<Away>,
        /// How long it was given, in virtual time.
        bound: Duration,
    },
    /// After all faults had ended, a read got no answer.
    #[error("server {node} did not read {key:?} after all faults had ended")]
    NeverReads {
        /// Which server.
        node: NodeId,
        /// Which key.
        key: Key,
    },
    /// After all faults had ended, a client still waited for an answer.
    #[error(
        "server {node} did not answer request {id} within {bound:?} after its timeout{shown_by}"
    )]
    NeverAnswered {
        /// Which request.
        id: RequestId,
        /// Which server.
        node: NodeId,
        /// How long it was given beyond the timeout, in virtual time.
        bound: Duration,
        /// The request, and the faults since it was put.
        shown_by: Box<ShownBy>,
    },
    /// After all faults had ended, a client still waited for a part of its backup.
    #[error("server {node} did not end a backup within {bound:?} after all faults had ended")]
    BackupNeverEnds {
        /// Which server.
        node: NodeId,
        /// How long it was given, in virtual time.
        bound: Duration,
    },
    /// After all faults had ended, a checkpoint that had failed was not written.
    #[error(
        "server {node} wrote no checkpoint within {bound:?} after all faults had ended, though its \
         last one had failed"
    )]
    CheckpointNotWritten {
        /// Which server.
        node: NodeId,
        /// How long it was given, in virtual time.
        bound: Duration,
    },
    /// A backup lacks a write that was acknowledged before it began.
    #[error(
        "write {id} of {key:?} was acknowledged as {acknowledged}, but {backup} shows {}{shown_by}",
        found.map_or_else(|| "nothing".to_owned(), |version| version.to_string())
    )]
    NotInBackup {
        /// The write.
        id: RequestId,
        /// Its key.
        key: Key,
        /// Its version.
        acknowledged: Version,
        /// The backup.
        backup: Box<BackupTaken>,
        /// What the backup has.
        found: Option<Version>,
        /// The write, the one that the backup shows, and the faults until it was begun.
        shown_by: Box<ShownBy>,
    },
    /// After all faults had ended, the servers still held different things.
    #[error("the servers still differ {bound:?} after all faults had ended")]
    NotConverged {
        /// How long they were given, in virtual time.
        bound: Duration,
    },
    /// After all faults had ended, servers held on to what nobody needs.
    #[error(
        "servers still hold deletes that all have, or do not know what former incarnations wrote, \
         {bound:?} after all faults had ended"
    )]
    NotTidy {
        /// How long they were given, in virtual time.
        bound: Duration,
    },
    /// A server took records from a peer that it should have had: no fault makes a server lose single
    /// records, so a rule of the engine did.
    #[error(
        "server {node} lacked {records} records that its disk had had, and took them from a peer"
    )]
    Mended {
        /// Which server.
        node: NodeId,
        /// How many records, since it was last started.
        records: u64,
    },
    /// The history is not linearizable.
    #[error(
        "the history is not linearizable: no order explains these calls\n{}",
        with_faults(counterexample, faults)
    )]
    NotLinearizable {
        /// Calls that no order explains.
        counterexample: Box<Counterexample>,
        /// The faults between these calls.
        faults: FaultsBetween,
    },
    /// The checker's budget was used up.
    #[error(
        "undecided whether the history is linearizable: at key {key:?} the check ran out of {bound}"
    )]
    Undecided {
        /// The least key of a part that could not be judged.
        key: Key,
        /// What was used up there.
        bound: Bound,
    },
    /// A promise of the engine is broken.
    #[error("{promise:?}: {finding}{calls}{faults}")]
    Promise {
        /// Which one.
        promise: Promise,
        /// How.
        finding: Box<OracleFinding>,
        /// The calls that show it.
        calls: NamedCalls,
        /// The faults between these calls.
        faults: FaultsBetween,
    },
    /// Two copies of one request were answered differently.
    #[error("requests {one} and {other} are copies of one, and brought different things{shown_by}")]
    AnsweredTwice {
        /// A copy.
        one: RequestId,
        /// Another one.
        other: RequestId,
        /// Both, and the faults between them.
        shown_by: Box<ShownBy>,
    },
    /// A page of a scan is no answer to it.
    #[error(
        "the page that answers scan {id} is out of order, too long, or of another range{shown_by}"
    )]
    Disorderly {
        /// The scan.
        id: RequestId,
        /// The scan with its page, and the faults meanwhile.
        shown_by: Box<ShownBy>,
    },
    /// The history cannot be judged: a defect of the simulator.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A key is there although its time is over.
    #[error(
        "server {node} shows write {version} of {key:?}, which was put for a time that is \
         over{shown_by}"
    )]
    NotExpired {
        /// Which key.
        key: Key,
        /// Who was asked.
        node: NodeId,
        /// What was shown.
        version: Version,
        /// The put and the read, and the faults between them.
        shown_by: Box<ShownBy>,
    },
    /// An acknowledged write is gone.
    #[error(
        "write {id} of {key:?} was acknowledged as {acknowledged}, but a read from all servers \
         through server {node} shows {}{shown_by}",
        found.map_or_else(|| "nothing".to_owned(), |version| version.to_string())
    )]
    WriteLost {
        /// The write.
        id: RequestId,
        /// Its key.
        key: Key,
        /// Its version.
        acknowledged: Version,
        /// Who was asked.
        node: NodeId,
        /// What was shown.
        found: Option<Version>,
        /// The write, the read and the write that it shows, and the faults between them.
        shown_by: Box<ShownBy>,
    },
    /// So little happened that the run shows nothing.
    #[error("the run shows too little: {acknowledged} operations acknowledged, faults: {faults}")]
    TooLittle {
        /// How many operations were acknowledged.
        acknowledged: u64,
        /// What went wrong.
        faults: FaultCounts,
    },
    /// No cluster can be made of the plan: a defect of the simulator.
    #[error(transparent)]
    Config(#[from] ClusterConfigError),
}

/// What kind of failure it is: two runs that fail by the same kind show the same fault, as far as can
/// be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailureKind {
    of: Discriminant<SimulationFailure>,
    breach: Option<Discriminant<Breach>>,
    promise: Option<Promise>,
}

impl FailureKind {
    pub(crate) fn of(failure: &SimulationFailure) -> Self {
        let of = discriminant(failure);
        let breach = if let SimulationFailure::Contract(Violation { breach, .. }) = failure {
            Some(discriminant(breach))
        } else {
            None
        };
        let promise = if let SimulationFailure::Promise { promise, .. } = failure {
            Some(*promise)
        } else {
            None
        };
        Self { of, breach, promise }
    }
}

/// What comes of a run that fails; the inner `None` if the engine panicked.
pub(crate) fn failure_of(
    run: impl FnOnce() -> Result<(), SimulationFailure>,
) -> Option<Option<SimulationFailure>> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(Some(failure)),
        Err(_) => Some(None),
    }
}

/// Servers that were taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Which.
    pub nodes: Vec<NodeId>,
    /// Whether they had crashed; otherwise they were cut off from all others.
    pub by_crash: bool,
    /// The last answer of the one that should have served.
    pub last: Option<Outcome>,
}

/// `servers 2 and 3 were cut off`
impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let were = if self.nodes.len() == 1 { "was" } else { "were" };
        let how = if self.by_crash { "down" } else { "cut off" };
        write!(f, "{} {were} {how}", servers(&self.nodes))?;
        write!(f, "; {}", LastAnswer(self.last.as_ref()))
    }
}

/// A backup that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupTaken {
    /// Of which servers.
    pub nodes: Vec<NodeId>,
    /// When it was begun, in virtual time.
    pub begun: Duration,
}

/// `a backup of servers 2 and 3 that was begun at 7s`
impl fmt::Display for BackupTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a backup of {} that was begun at {:?}", servers(&self.nodes), self.begun)
    }
}

/// `servers 2 and 3`
fn servers(nodes: &[NodeId]) -> String {
    let numbers: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let servers = if numbers.len() == 1 { "server" } else { "servers" };
    format!("{servers} {}", numbers.join(" and "))
}

fn with_faults(counterexample: &Counterexample, faults: &FaultsBetween) -> String {
    let calls = counterexample.to_string();
    if faults.faults.is_empty() { calls } else { format!("{}{faults}\n", calls.trim_end()) }
}

/// `its last answer: not done: ...`
struct LastAnswer<'a>(Option<&'a Outcome>);

impl fmt::Display for LastAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("it gave no answer"),
            Some(Outcome::Done(Done { version: None, .. })) => f.write_str("its last answer: done"),
            Some(Outcome::Done(Done { version: Some(version), .. })) => {
                write!(f, "its last answer: done as version {version}")
            }
            Some(Outcome::NotDone(reason)) => write!(f, "its last answer: not done: {reason}"),
            Some(Outcome::Unknown(unknown)) => write!(f, "its last answer: {unknown}"),
        }
    }
}

//! Judges what clients of a replicated store saw.
//!
//! Two types to read first: [`History`], calls and their ends on one clock, which comes from
//! requests, from JSON lines or from the servers' logs of operations; and [`evidence::Evidence`],
//! what clients were told call by call, with versions and servers. [`linearizability`] judges the
//! first; the rules in [`oracle`] judge the second.
//!
//! There are no engines here and nothing runs: whoever has a history can judge it.

mod brief;
mod broken_promise;
pub mod evidence;
mod expiry;
mod history;
mod history_file;
mod linearizability;
mod op_log;
pub mod oracle;
mod requests;
mod transcript;

pub use history::{Event, History, Process, Refusal, Seen};
pub use history_file::{HistoryFileError, HistoryFlaw};
pub use linearizability::{
    Bound, Budget, CallText, Counterexample, CounterexampleCall, HistoryError, Verdict,
    linearizability, linearizability_until,
};
pub use op_log::{InitialState, OpLogError, OpLogHistory};
pub use requests::{
    NamedRequest, NamedRequests, Request, RequestState, answered_twice, disorderly_page, merged,
};

//! Histories from the servers' logs of operations.

mod calls;
mod line;
mod pairing;

use kv_core::Key;

use crate::history::History;

use calls::Calls;
use pairing::{Fault, Pairing};

/// What the keys held when the logs began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialState {
    /// Nothing: the logs begin with the servers' first start on empty disks.
    Empty,
    /// Nobody knows, as when a log was rotated away: the first reads define it.
    Unknown,
}

/// What logs of operations tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpLogHistory {
    /// The calls that can be judged. If they are not linearizable, neither is the whole, unless a
    /// server was killed and a value was put on the same key more than once: see
    /// [`OpLogHistory::before_kills`].
    pub history: History,
    /// What happened before the first server was killed; `None` if none was. If this is not
    /// linearizable, the whole is not, whatever was lost. If it is and
    /// [`OpLogHistory::history`] is not, a read after the kill shows a value that another call had
    /// put and that was overwritten: either the servers are wrong, or it was put again by a call whose
    /// lines are lost. Only whoever made the calls knows whether that may be.
    pub before_kills: Option<History>,
    /// The keys of which the history has no more than the beginning, in ascending order: they are
    /// counted on or appended to, and a server was killed. If there are any, a history that is
    /// linearizable does not say that the whole is.
    pub cut_keys: Vec<Key>,
}

impl History {
    /// Reads the logs of operations of a cluster's servers, `output_log<ID>.txt`, as one history.
    ///
    /// The logs know milliseconds and the servers' own clocks, so each call is taken to begin
    /// `widen_ms` before its `req` and to end `widen_ms` after the millisecond of its `resp`: with
    /// as much as the clocks may differ, no wrong order is seen where there was none. Calls that
    /// never end are open. Each command is a process of its own: the logs do not say which
    /// commands were one request. A `cas` counts as a write of what it wrote, whatever its
    /// condition; scans are left out.
    ///
    /// A server that was killed takes its last lines with it. Half a line counts for nothing, and
    /// a value that is shown and that no line writes is from a write that was lost, if it is shown
    /// after a server was killed. For each kill, a key that is missing later may have been deleted by
    /// one. A lost write of a value that another line writes is not assumed: where calls may put the same value
    /// on a key again, see [`OpLogHistory::before_kills`]. What lost increments and
    /// appends made cannot be told from what is shown later, so the calls on a key that is counted on
    /// or appended to are left out from the first kill on: see [`OpLogHistory::cut_keys`].
    ///
    /// A client that does not learn how a write ended sends it again, to whichever server. Such a line
    /// is marked with how long ago that was, and the write may have taken effect since. What an increment
    /// or an append that was sent again brings may be what its first copy did, so it counts as one that
    /// is not known to have taken effect.
    ///
    /// Logs say which engine and, where it has one, which cluster they are of. Lines of two are no
    /// history of one.
    ///
    /// The keys are taken to hold nothing at first: see [`History::from_op_logs_since`].
    ///
    /// # Errors
    /// [`OpLogError`] for a line of another form, and for a log in which events are missing.
    pub fn from_op_logs<'a>(
        logs: impl IntoIterator<Item = &'a str>,
        widen_ms: u64,
    ) -> Result<OpLogHistory, OpLogError> {
        Self::from_op_logs_since(InitialState::Empty, logs, widen_ms)
    }

    /// The same for logs that may begin in the middle.
    ///
    /// With [`InitialState::Unknown`] a call that ends and does not begin, in the part of a log before
    /// its server started again, began before the log; what a read shows that no call can have
    /// written by then was there from the first; and keys that were counted on or appended to are
    /// left out.
    ///
    /// # Errors
    /// As there.
    pub fn from_op_logs_since<'a>(
        initial: InitialState,
        logs: impl IntoIterator<Item = &'a str>,
        widen_ms: u64,
    ) -> Result<OpLogHistory, OpLogError> {
        let mut pairing = Pairing::new(widen_ms);
        for (log, text) in logs.into_iter().enumerate() {
            pairing.read(initial, text).map_err(|(line, fault)| match fault {
                Fault::Gap => OpLogError::Gap { log, line },
                Fault::OtherCluster => OpLogError::OtherCluster { log, line },
                Fault::NotBegun => OpLogError::NotBegun { log, line },
                Fault::Line(what) => OpLogError::Line { log, line, what },
            })?;
        }
        let mut calls = pairing.calls();
        let mut before_kills = calls.before_kills();
        let cut_keys = calls.cut_computed();
        calls.add_lost_writes();
        if initial == InitialState::Unknown {
            before_kills.iter_mut().for_each(Calls::add_initial_values);
            calls.add_initial_values();
        }
        let before_kills = before_kills.map(Calls::history);
        Ok(OpLogHistory { history: calls.history(), before_kills, cut_keys })
    }
}

/// Why a log of operations cannot be read as a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpLogError {
    /// A line is not one of an operation.
    #[error("log {log}, line {line}: {what}")]
    Line {
        /// Which log, from 0.
        log: usize,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A call ends that has not begun.
    #[error(
        "log {log}, line {line}: a call ends here that has not begun; put what was rotated away \
         before the log, or read it with an unknown initial state"
    )]
    NotBegun {
        /// Which log, from 0.
        log: usize,
        /// Which line, from 1.
        line: usize,
    },
    /// The logs are of two clusters, or of two engines.
    #[error(
        "log {log}, line {line}: what follows is of another cluster or engine than what stands \
         before it; judge the logs of each cluster by themselves"
    )]
    OtherCluster {
        /// Which log, from 0.
        log: usize,
        /// Which line, from 1.
        line: usize,
    },
    /// The server could not write all that happened.
    #[error("log {log}, line {line}: events are missing here, so that nothing can be judged")]
    Gap {
        /// Which log, from 0.
        log: usize,
        /// Which line, from 1.
        line: usize,
    },
}

impl OpLogError {
    /// Which log it is about, from 0, and which line, from 1.
    #[must_use]
    pub const fn place(&self) -> (usize, usize) {
        match self {
            Self::Line { log, line, .. }
            | Self::NotBegun { log, line }
            | Self::OtherCluster { log, line }
            | Self::Gap { log, line } => (*log, *line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linearizability::{Budget, Verdict, linearizability};

    fn verdict(logs: &[&str], widen_ms: u64) -> Verdict {
        let read = History::from_op_logs(logs.iter().copied(), widen_ms).unwrap();
        linearizability(&read.history, Budget::default()).unwrap()
    }

    #[test]
    fn a_stale_read_is_seen_across_logs() {
        let one = "1,0,put,x,100,req,a\n1,0,put,x,110,resp,a\n";
        let two = "2,0,get,x,120,req,\n2,0,get,x,130,resp,\n";
        assert!(matches!(verdict(&[one, two], 1), Verdict::NotLinearizable(_)));
        assert_eq!(verdict(&[one, two], 5), Verdict::Linearizable, "the clocks may differ by 10");
        let fresh = "2,0,get,x,120,req,\n2,0,get,x,130,resp,a\n";
        assert_eq!(verdict(&[one, fresh], 1), Verdict::Linearizable);
    }

    #[test]
    fn what_shares_a_millisecond_may_have_overlapped() {
        let one = "1,0,put,x,100,req,a\n1,0,put,x,110,resp,a\n";
        let two = "2,0,get,x,110,req,\n2,0,get,x,111,resp,\n";
        assert_eq!(verdict(&[one, two], 0), Verdict::Linearizable);
    }

    #[test]
    fn of_two_like_calls_either_may_end_first() {
        // The second get read the old value; its line comes first, since both look the same.
        let log = "1,0,put,x,1,req,a\n1,0,put,x,2,resp,a\n1,0,get,x,10,req,\n1,1,put,x,20,req,b\n\
                   1,1,put,x,30,resp,b\n1,0,get,x,40,req,\n1,0,get,x,50,resp,b\n1,0,get,x,60,resp,a\n";
        assert_eq!(verdict(&[log], 0), Verdict::Linearizable);
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let log = "1,0,put,a\\x2cb,1,req,\"\"\n1,0,put,a\\x2cb,2,resp,\"\"\n1,1,get,a\\x2cb,3,req,\n\
                   1,1,get,a\\x2cb,4,resp,\"\"\n1,1,incr,n,5,req,2\n1,1,incr,n,6,resp,2\n\
                   1,2,append,s,7,req,x\n1,2,append,s,8,resp,x\n1,3,cas,a\\x2cb,9,req,new\n\
                   1,3,cas,a\\x2cb,10,resp,new\n1,3,delete,s,11,req,\n1,3,delete,s,12,info,\n\
                   1,4,get,q,13,req,\n1,4,get,q,14,fail,\n1,4,scan,q,15,req,\n1,4,scan,q,15,resp,\n";
        let read = History::from_op_logs([log], 0).unwrap();
        assert_eq!((read.history.events.len(), read.cut_keys), (14, Vec::new()));
        assert_eq!(verdict(&[log], 0), Verdict::Linearizable);
        let wrong = log.replace("4,resp,\"\"", "4,resp,old");
        assert!(matches!(verdict(&[&wrong], 0), Verdict::NotLinearizable(_)));
    }

    #[test]
    fn what_is_no_log_is_refused_with_its_line() {
        let read = |log| History::from_op_logs([log], 0).unwrap_err();
        assert_eq!(
            read("1,0,get,x,1,req,\n# 3 events are missing: the log's disk is slow\n"),
            OpLogError::Gap { log: 0, line: 2 }
        );
        assert_eq!(read("1,0,get,x,1,resp,\n"), OpLogError::NotBegun { log: 0, line: 1 });
        for log in ["x\n", "1,0,get,x,z,req,\n", "1,0,get,\\xzz,1,req,\n"] {
            assert!(matches!(read(log), OpLogError::Line { line: 1, .. }), "{log}");
        }
    }

    const STARTED: &str = "# started: its last lines may be missing above\n";

    fn put(client: u32, value: &str, from_ms: u64) -> String {
        let to_ms = from_ms + 5;
        format!("1,{client},put,x,{from_ms},req,{value}\n1,{client},put,x,{to_ms},resp,{value}\n")
    }

    fn get(client: u32, value: &str, from_ms: u64) -> String {
        let to_ms = from_ms + 5;
        format!("1,{client},get,x,{from_ms},req,\n1,{client},get,x,{to_ms},resp,{value}\n")
    }

    /// What stands before a call that was first made so many milliseconds earlier.
    fn again(call: &str, ms: u64) -> String {
        format!("# repeated: the next line was first asked for {ms} ms earlier\n{call}")
    }

    #[test]
    fn what_was_sent_again_may_have_taken_effect_since_it_was_first_sent() {
        // Another put took effect between the first copy of `a` and the answer to the second.
        let others = put(3, "b", 20) + &get(3, "b", 60);
        let late = again(&put(2, "a", 40), 30);
        let first = "2,0,put,x,10,req,a\n";
        for end in ["", "2,0,put,x,30,info,a\n", "2,0,put,x,15,resp,a\n"] {
            let first = format!("{first}{end}");
            assert_eq!(verdict(&[&first, &late, &others], 0), Verdict::Linearizable, "{end}");
        }
        // The first copy's lines died with its server, whether it was started again or not.
        for killed in ["", STARTED] {
            assert_eq!(verdict(&[killed, &late, &others], 0), Verdict::Linearizable);
        }
        // It was first made after the other put was done, or it is no repetition.
        for log in [again(&put(2, "a", 40), 14), put(2, "a", 40)] {
            assert!(matches!(verdict(&[&log, &others], 0), Verdict::NotLinearizable(_)));
            let killed = format!("2,0,get,y,9,req,\n{STARTED}");
            assert!(matches!(verdict(&[&killed, &log, &others], 0), Verdict::NotLinearizable(_)));
        }
    }

    #[test]
    fn an_increment_that_was_sent_again_counts_once_though_both_copies_were_answered() {
        let copy = "1,1,incr,n,20,req,5\n1,1,incr,n,25,resp,5\n";
        let first = "2,0,incr,n,5,req,5\n2,0,incr,n,10,resp,5\n";
        let read = "1,2,get,n,30,req,\n1,2,get,n,35,resp,5\n";
        let logs = [first.to_owned(), again(copy, 15), read.to_owned()];
        let logs = logs.each_ref().map(String::as_str);
        assert_eq!(verdict(&logs, 0), Verdict::Linearizable);
        assert!(matches!(verdict(&[first, copy, read], 0), Verdict::NotLinearizable(_)));
    }

    #[test]
    fn a_lost_copy_is_seen_although_another_one_was_refused() {
        let killed = format!("2,0,get,y,5,req,\n{STARTED}");
        let refused = again("1,1,put,x,20,req,a\n1,1,put,x,25,fail,a\n", 10);
        let logs = [killed, refused, get(2, "a", 40)];
        assert_eq!(verdict(&logs.each_ref().map(String::as_str), 0), Verdict::Linearizable);
    }

    #[test]
    fn logs_of_two_clusters_or_engines_are_refused() {
        let of = |data: &str, cluster: &str, call: &str| {
            format!("# data: {data}\n# cluster: {cluster}\n{call}")
        };
        let first = of("linearizable, store 01", "0a", &put(0, "a", 10));
        let second = of("linearizable, store 02", "0a", &get(1, "a", 20));
        assert_eq!(verdict(&[&first, &second], 0), Verdict::Linearizable);
        let again = format!("{first}{STARTED}{}", of("linearizable, store 01", "0a", ""));
        assert_eq!(verdict(&[&again], 0), Verdict::Linearizable);
        let read = |logs: &[&str]| History::from_op_logs(logs.iter().copied(), 0).map(drop);
        let other = of("linearizable, store 02", "0b", &get(1, "b", 20));
        assert_eq!(read(&[&first, &other]), Err(OpLogError::OtherCluster { log: 1, line: 2 }));
        let both = format!("{first}{STARTED}{other}");
        assert_eq!(read(&[&both]), Err(OpLogError::OtherCluster { log: 0, line: 7 }));
        let other = of("eventual, store 02", "0a", &get(1, "b", 20));
        assert_eq!(read(&[&first, &other]), Err(OpLogError::OtherCluster { log: 1, line: 1 }));
    }

    #[test]
    fn a_call_of_a_killed_server_hides_no_later_one() {
        let stale =
            [put(1, "a", 20), put(1, "b", 30), get(1, "b", 50), get(1, "b", 70), get(1, "a", 100)];
        assert!(matches!(verdict(&[&stale.concat()], 0), Verdict::NotLinearizable(_)));
        let killed = format!("1,0,get,x,10,req,\n{STARTED}{}", stale.concat());
        assert!(matches!(verdict(&[&killed], 0), Verdict::NotLinearizable(_)));
        // Even if the numbers of clients began anew.
        let killed = killed.replace("1,1,", "1,0,");
        assert!(matches!(verdict(&[&killed], 0), Verdict::NotLinearizable(_)));
    }

    #[test]
    fn a_value_that_was_put_again_by_a_lost_call_shows_in_what_went_before_the_kill() {
        let before = |log: &str| {
            let read = History::from_op_logs([log], 0).unwrap().before_kills;
            read.map(|before| linearizability(&before, Budget::default()).unwrap())
        };
        // The lines of a second `put x a` may have died with the server.
        let twice = put(0, "a", 10) + &put(0, "b", 20) + STARTED + &get(1, "a", 40);
        assert!(matches!(verdict(&[&twice], 0), Verdict::NotLinearizable(_)));
        assert_eq!(before(&twice), Some(Verdict::Linearizable));
        // Nothing was lost of what ended before.
        let wrong = put(0, "a", 10) + &put(0, "b", 20) + &get(0, "a", 30) + &put(0, "c", 40);
        assert_eq!(before(&wrong), None);
        let killed = wrong + STARTED + &get(1, "c", 60);
        assert!(matches!(before(&killed), Some(Verdict::NotLinearizable(_))));
        // A call of another server that was under way may have any end.
        let other = put(0, "a", 10) + &put(0, "b", 20) + "1,2,get,x,24,req,\n" + STARTED;
        let late = "2,0,get,x,24,req,\n2,0,get,x,29,resp,a\n";
        let read = History::from_op_logs([other.as_str(), late], 0).unwrap();
        let verdict = linearizability(&read.before_kills.unwrap(), Budget::default());
        assert_eq!(verdict, Ok(Verdict::Linearizable));
    }

    #[test]
    fn half_a_line_counts_for_nothing_and_what_it_began_may_be_seen() {
        let cut = "1,1,put,x,20,req,long\n";
        for half in 0..cut.len() {
            let first = format!("{}{}", put(0, "a", 10), &cut[..half]);
            assert_eq!(verdict(&[&first], 0), Verdict::Linearizable, "{first}");
            let mark = if half > 0 { "\n# cut: the line above is not whole\n" } else { "" };
            let log = format!("{first}{mark}{STARTED}{}", get(2, "longer", 40));
            assert_eq!(verdict(&[&log], 0), Verdict::Linearizable, "{log}");
        }
        // It was lost after the server's last line, and nothing is lost of a server that ran on.
        let early = get(0, "longer", 5) + &put(0, "a", 30) + STARTED;
        assert!(matches!(verdict(&[&early], 0), Verdict::NotLinearizable(_)));
        let none = put(0, "a", 10) + &get(2, "longer", 40);
        assert!(matches!(verdict(&[&none], 0), Verdict::NotLinearizable(_)));
        let twice = put(0, "a", 10) + STARTED + &get(1, "b", 30) + &put(1, "c", 40);
        let twice = twice + &get(1, "b", 50) + &get(1, "c", 60) + &get(1, "b", 70);
        assert!(matches!(verdict(&[&twice], 0), Verdict::NotLinearizable(_)));
    }

    #[test]
    fn a_delete_may_have_been_lost_with_a_killed_server_once() {
        let missing = |from_ms| get(1, "", from_ms);
        let ran_on = put(0, "a", 10) + &missing(30);
        assert!(matches!(verdict(&[&ran_on], 0), Verdict::NotLinearizable(_)));
        let killed = put(0, "a", 10) + STARTED + &missing(30);
        assert_eq!(verdict(&[&killed], 0), Verdict::Linearizable);
        let back = killed.clone() + &get(1, "a", 50);
        assert!(matches!(verdict(&[&back], 0), Verdict::NotLinearizable(_)));
        let again = killed + &put(1, "b", 50) + &missing(70);
        assert!(matches!(verdict(&[&again], 0), Verdict::NotLinearizable(_)));
        let early = put(0, "a", 10) + &missing(20) + &put(0, "b", 30) + STARTED;
        assert!(matches!(verdict(&[&early], 0), Verdict::NotLinearizable(_)));
    }

    fn incr(number: u64, from_ms: u64) -> String {
        format!("1,0,incr,n,{from_ms},req,1\n1,0,incr,n,{},resp,{number}\n", from_ms + 5)
    }

    #[test]
    fn lost_increments_and_appends_accuse_nobody_and_their_keys_are_named() {
        let key = |name: &'static str| Key::new(name).unwrap();
        let appended = "1,1,append,s,30,req,x\n1,1,append,s,35,resp,x\n";
        let shown = "1,1,get,s,50,req,\n1,1,get,s,55,resp,xyx\n";
        for (before, after, cut) in [
            (incr(1, 10), incr(3, 40), "n"),
            (incr(1, 10), "1,1,get,n,40,req,\n1,1,get,n,45,resp,7\n".to_owned(), "n"),
            (appended.to_owned(), shown.to_owned(), "s"),
            (String::new(), incr(2, 40), "n"),
        ] {
            let ran_on = format!("{}{before}{after}", put(0, "a", 5));
            assert!(matches!(verdict(&[&ran_on], 0), Verdict::NotLinearizable(_)), "{ran_on}");
            let killed = format!("{}{before}{STARTED}{after}{}", put(0, "a", 5), get(2, "a", 60));
            assert_eq!(verdict(&[&killed], 0), Verdict::Linearizable, "{killed}");
            let read = History::from_op_logs([killed.as_str()], 0).unwrap();
            assert_eq!(read.cut_keys, [key(cut)]);
        }
    }

    #[test]
    fn what_ended_before_a_server_was_killed_is_judged() {
        let wrong = incr(1, 10) + &incr(1, 20) + &put(0, "a", 30) + STARTED + &incr(9, 50);
        assert!(matches!(verdict(&[&wrong], 0), Verdict::NotLinearizable(_)));
        let rest = incr(1, 10) + &put(0, "a", 30) + STARTED + &put(0, "b", 50);
        let read = History::from_op_logs([rest.as_str()], 0).unwrap();
        assert_eq!(read.cut_keys, [], "nothing was left out");
    }

    #[test]
    fn a_log_that_begins_in_the_middle_is_read_if_that_is_known() {
        let since = |log: &str| {
            let read = History::from_op_logs_since(InitialState::Unknown, [log], 0)?;
            Ok(linearizability(&read.history, Budget::default()).unwrap())
        };
        let older = "1,0,put,x,10,resp,a\n1,0,get,x,11,resp,old\n1,3,incr,n,12,resp,7\n";
        let log = format!("{older}{}{}", get(1, "a", 20), get(1, "a", 40));
        let begun = History::from_op_logs([log.as_str()], 0);
        assert_eq!(begun, Err(OpLogError::NotBegun { log: 0, line: 1 }));
        assert_eq!(since(&log), Ok(Verdict::Linearizable));
        let rest = get(1, "old", 20) + &put(1, "b", 30) + &get(1, "b", 40);
        assert!(matches!(verdict(&[&rest], 0), Verdict::NotLinearizable(_)));
        assert_eq!(since(&rest), Ok(Verdict::Linearizable));
        let stale = rest + &get(1, "old", 50);
        assert!(matches!(since(&stale), Ok(Verdict::NotLinearizable(_))));
        let two = get(1, "old", 20) + &get(1, "older", 30);
        assert!(matches!(since(&two), Ok(Verdict::NotLinearizable(_))));
        // Once a server has started, its calls are whole: this is damage.
        let damaged = format!("{}{STARTED}{older}", put(0, "z", 1));
        assert_eq!(since(&damaged), Err(OpLogError::NotBegun { log: 0, line: 4 }));
    }
}

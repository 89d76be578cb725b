//! What findings about single requests show of them.

use kv_core::{Page, RequestIdentity, RequestOptions, Scan, Served, SessionId, Version, Versioned};
use kv_linear::LinearEngine;

use super::*;
use crate::config::SimConfig;
use crate::injection::Injection;
use crate::simulation::Plan;
use crate::simulation::declaration::{Declaration, Oracle};

/// A run in which requests end as they are told to: number N is put at second N, and a crash of
/// server 2 lasts from second 3 to 4, one of server 3 from second 50 on.
struct Told {
    cluster: Cluster<LinearEngine>,
    clients: Clients,
    asked: Vec<(RequestId, Process)>,
    faults: Vec<FaultSpan>,
}

impl Told {
    fn new() -> Self {
        let crash = |node, begun, ended: Option<u32>| FaultSpan {
            injection: Injection::Crash { node: NodeId::new(node).unwrap() },
            begun: SECOND * begun,
            ended: ended.map(|at| SECOND * at),
        };
        let plan = Plan::of(1, &Declaration::all(Oracle::Linearizability, &[])).unwrap();
        Self {
            cluster: Cluster::new(SimConfig::new(3, 2, 2, 1).unwrap()).unwrap(),
            clients: Clients::new(1, plan.clients),
            asked: Vec::new(),
            faults: vec![crash(2, 3, Some(4)), crash(3, 50, None)],
        }
    }

    fn request(&mut self, id: u32, client: u64, op: Operation) -> &mut Request {
        let request = Request {
            node: NodeId::FIRST,
            op,
            options: RequestOptions::default(),
            invoked_at: SECOND * id,
            cancelled: false,
            state: RequestState::Waiting,
        };
        let id = RequestId(u64::from(id));
        self.asked.push((id, Process(client)));
        self.cluster.requests.entry(id).or_insert(request)
    }

    fn done(&mut self, id: u32, client: u64, op: Operation, answer: Answer) -> &mut Request {
        let version = Some(Version::Log(u64::from(id) + 10));
        let outcome = Outcome::Done(Done { answer, version, served: Served::Linearizable });
        let request = self.request(id, client, op);
        request.state = RequestState::Replied { at: SECOND * (id + 1), outcome };
        request
    }

    fn put(&mut self, id: u32, text: &'static str) {
        let put = Operation::put(key(), Value::new(text).unwrap());
        self.done(id, 5, put, Answer::Results(vec![CommandResult::Written]));
    }

    fn get(&mut self, id: u32, found: Option<Versioned>) {
        let results = vec![CommandResult::Value(found)];
        self.done(id, 6, Operation::get(key()), Answer::Results(results));
    }

    fn judged(&self) -> Judged<'_, LinearEngine> {
        let Self { cluster, clients, asked, faults } = self;
        Judged { cluster, clients, asked, faults }
    }
}

#[test]
fn a_lost_write_is_shown_with_the_read_the_write_that_it_shows_and_the_faults_between() {
    let mut run = Told::new();
    run.put(1, "older");
    run.put(2, "v18...............");
    run.get(7, Some(found("older", 11)));
    let judge = |run: &Told| judge_last_writes(&run.judged(), &[RequestId(7)], &[]);
    assert_eq!(
        judge(&run).unwrap_err().to_string(),
        "write 2 of b\"k\" was acknowledged as 12, but a read from all servers through server 1 \
         shows 11\
         \n  call 1 of client 5 at server 1, 1s to 2s: put b\"k\" b\"older\": written as version 11\
         \n  call 2 of client 5 at server 1, 2s to 3s: put b\"k\" b\"v18.............\"... (18 \
         bytes): written as version 12\
         \n  call 7 of client 6 at server 1, 7s to 8s: get b\"k\": b\"older\" (version 11)\
         \n  faults between them:\
         \n    3s to 4s: server 2 crashes"
    );
    run.cluster.requests.remove(&RequestId(7));
    run.get(7, Some(found("v18...............", 12)));
    assert_eq!(judge(&run), Ok(()));
}

#[test]
fn a_key_that_should_have_expired_is_shown_with_its_put() {
    let mut run = Told::new();
    let (time_to_live, value) = (Some(SECOND), Value::new("v").unwrap());
    let put = Operation::of(Command::Put { key: key(), value, time_to_live });
    run.done(4, 5, put, Answer::Results(vec![CommandResult::Written]));
    run.get(7, Some(found("v", 14)));
    assert_eq!(
        judge_expiry(&run.judged(), &[RequestId(7)]).unwrap_err().to_string(),
        "server 1 shows write 14 of b\"k\", which was put for a time that is over\
         \n  call 4 of client 5 at server 1, 4s to 5s: put b\"k\" b\"v\" for 1s: written as version \
         14\
         \n  call 7 of client 6 at server 1, 7s to 8s: get b\"k\": b\"v\" (version 14)\
         \n  faults between them:\
         \n    3s to 4s: server 2 crashes"
    );
}

#[test]
fn two_answers_to_one_request_are_shown() {
    let mut run = Told::new();
    for id in [1, 5] {
        let op = Operation::of(Command::Increment { key: key(), by: 1 });
        let answer = Answer::Results(vec![CommandResult::Number(i64::from(id))]);
        let session = SessionId(3);
        let identity = Some(RequestIdentity { session, number: 2, acknowledged_below: 1 });
        run.done(id, 5, op, answer).options.identity = identity;
    }
    assert_eq!(
        judge_linearizability(&run.judged()).unwrap_err().to_string(),
        "requests 1 and 5 are copies of one, and brought different things\
         \n  call 1 of client 5 at server 1, 1s to 2s: incr b\"k\" 1 (request 2 of session 3): 1 as \
         version 11\
         \n  call 5 of client 5 at server 1, 5s to 6s: incr b\"k\" 1 (request 2 of session 3): 5 as \
         version 15\
         \n  faults between them:\
         \n    3s to 4s: server 2 crashes"
    );
}

#[test]
fn a_page_out_of_order_is_shown() {
    let mut run = Told::new();
    let scan = Scan { from: "".into(), until: None, after: None, limit: 1 };
    let entries = vec![(key(), found("v", 1)), (key(), found("w", 2))];
    run.done(8, 5, Operation::Scan(scan), Answer::Page(Page { entries, next: None }));
    assert_eq!(
        judge_linearizability(&run.judged()).unwrap_err().to_string(),
        "the page that answers scan 8 is out of order, too long, or of another range\
         \n  call 8 of client 5 at server 1, 8s to 9s: scan limit 1: b\"k\" = b\"v\", b\"k\" = \
         b\"w\", the last page"
    );
}

#[test]
fn a_request_that_is_never_answered_is_shown_with_all_faults_since() {
    let mut run = Told::new();
    run.request(4, 5, Operation::get(key()));
    let (id, node, bound) = (RequestId(4), NodeId::FIRST, SECOND * 60);
    let shown_by = run.judged().shown_by([id]);
    assert_eq!(
        SimulationFailure::NeverAnswered { id, node, bound, shown_by }.to_string(),
        "server 1 did not answer request 4 within 60s after its timeout\
         \n  call 4 of client 5 at server 1, 4s to the end: get b\"k\": no answer\
         \n  faults between them:\
         \n    3s to 4s: server 2 crashes\
         \n    50s to the end: server 3 crashes"
    );
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn found(text: &'static str, version: u64) -> Versioned {
    Versioned { value: Value::new(text).unwrap(), version: Version::Log(version) }
}

const SECOND: Duration = Duration::from_secs(1);

//! How the sequencer makes sure that what it says of its commit is still true.

use std::collections::{BTreeMap, VecDeque};

use kv_core::{Incarnation, NodeId, NotDone};

use crate::core::{Core, Out};
use crate::log::epoch::LogIndex;
use crate::message::Body;
use crate::mutation::Mutation;
use crate::sequencer::Sequencer;

/// The questions of servers that want to read, until R servers have confirmed that nobody has taken
/// the sequencer's place since they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Confirming {
    /// Questions that came since the last round began: of each server the latest.
    waiting: BTreeMap<NodeId, (Incarnation, u64)>,
    rounds: VecDeque<Round>,
    /// The number of the last round; acknowledgements name it.
    last: u64,
}

/// Questions that are confirmed together.
#[derive(Clone, Debug)]
struct Round {
    number: u64,
    /// What was committed when it began.
    index: LogIndex,
    questions: BTreeMap<NodeId, (Incarnation, u64)>,
}

impl Confirming {
    /// The number of the last round.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }
}

impl Sequencer {
    /// A server asks how far the log is committed.
    pub(crate) fn on_read_index(&mut self, from: NodeId, incarnation: Incarnation, number: u64) {
        let question = (incarnation, number);
        let known = self.confirming.waiting.entry(from).or_insert(question);
        *known = question.max(*known);
    }

    /// Answers the questions that need no round, and begins one for all others that came since the
    /// last one.
    ///
    /// An entry that was committed before may not be known to be so before this epoch's first entry
    /// is committed. A question never joins a round that began before it came: the confirmations of
    /// that may be older than a later sequencer's first write.
    pub(crate) fn begin_round(&mut self, core: &mut Core, out: &mut Out) {
        if let Err(reason) = self.check_reachable(core, true) {
            return self.refuse_questions(core, &reason, out);
        }
        let early = core.broken.is(Mutation::ReadBeforeOpening);
        if !self.is_settled(core) && !early {
            return;
        }
        self.answer_who_confirm(core, out);
        if self.confirming.rounds.len() >= ROUNDS_MAX {
            return;
        }
        if core.reads.has_waiting()
            && let Some(number) = core.reads.ask()
        {
            self.on_read_index(core.node(), core.incarnation(), number);
        }
        let questions = std::mem::take(&mut self.confirming.waiting);
        if questions.is_empty() {
            return;
        }
        if !core.broken.is(Mutation::ReadJoinsEarlierRound) || self.confirming.last == 0 {
            self.confirming.last += 1;
        }
        let (number, index) = (self.confirming.last, core.replica.commit());
        self.confirming.rounds.push_back(Round { number, index, questions });
        self.end_rounds(core, out);
    }

    /// With R = 2, answers the servers that count: each confirms the sequencer by its question.
    ///
    /// It was sent after the reads came that it is for, by a server that had promised no later epoch
    /// then, so it is worth what an acknowledgement of a round is. It is so for no others' reads: they
    /// may have come after it was sent.
    fn answer_who_confirm(&mut self, core: &mut Core, out: &mut Out) {
        if self.others_needed(core) != 1 {
            return;
        }
        let index = core.replica.commit();
        let Self { epoch, peers, confirming, .. } = self;
        let mut is_answered = false;
        confirming.waiting.retain(|server, (incarnation, number)| {
            let confirms = peers.get(server).is_some_and(|progress| {
                progress.counted_incarnation() == *incarnation && progress.counts(*server, core)
            });
            if confirms {
                let (epoch, receiver, number) = (*epoch, *incarnation, *number);
                core.send(*server, Body::ReadIndexOk { epoch, receiver, number, index }, out);
                is_answered = true;
            }
            !confirms
        });
        if is_answered && core.broken.is(Mutation::QuestionConfirmsForAll) {
            core.reads.ask();
            core.reads.grant(u64::MAX, index);
            core.answer_reads(out);
        }
    }

    /// How many servers beside this one must confirm what it says.
    fn others_needed(&self, core: &Core) -> u16 {
        let fewer = u16::from(core.broken.is(Mutation::ReadConfirmedByOneFewer));
        core.quorums.read.saturating_sub(1 + fewer)
    }

    /// Too few servers can be reached: no question is answered.
    fn refuse_questions(&mut self, core: &mut Core, reason: &NotDone, out: &mut Out) {
        let Confirming { waiting, rounds, .. } = &mut self.confirming;
        let asked = rounds.drain(..).flat_map(|round| round.questions);
        for (server, (receiver, number)) in asked.chain(std::mem::take(waiting)) {
            if server != core.node() {
                let (epoch, reason) = (self.epoch, reason.clone());
                let body = Body::RefuseReads { epoch, receiver, number, reason };
                core.send(server, body, out);
            }
        }
        core.reads.ask();
        for id in core.reads.settle_asked(u64::MAX) {
            core.refuse(id, reason.clone(), out);
        }
    }

    /// Whether questions wait for another round, and there is room for it.
    pub(crate) fn may_begin_round(&self, core: &Core) -> bool {
        let has_questions = !self.confirming.waiting.is_empty() || core.reads.has_waiting();
        has_questions && self.confirming.rounds.len() < ROUNDS_MAX
    }

    /// Answers the questions of the rounds that R servers have confirmed, this one among them.
    pub(crate) fn end_rounds(&mut self, core: &mut Core, out: &mut Out) {
        if self.confirming.rounds.is_empty() {
            return;
        }
        let confirmed = self.confirmed_round(core);
        while self.confirming.rounds.front().is_some_and(|round| round.number <= confirmed) {
            let Some(Round { index, questions, .. }) = self.confirming.rounds.pop_front() else {
                break;
            };
            for (server, (incarnation, number)) in questions {
                if server == core.node() {
                    core.reads.grant(number, index);
                } else if core.known.highest(server) == incarnation {
                    let receiver = incarnation;
                    let body = Body::ReadIndexOk { epoch: self.epoch, receiver, number, index };
                    core.send(server, body, out);
                }
            }
        }
        core.answer_reads(out);
    }

    /// The last round that R servers have confirmed.
    fn confirmed_round(&self, core: &Core) -> u64 {
        let Some(nth) = usize::from(self.others_needed(core)).checked_sub(1) else {
            return u64::MAX;
        };
        let counted = self.peers.iter().filter(|(peer, progress)| progress.counts(**peer, core));
        let mut rounds: Vec<u64> = counted.map(|(_, progress)| progress.confirmed).collect();
        rounds.sort_unstable_by(|a, b| b.cmp(a));
        rounds.get(nth).copied().unwrap_or(0)
    }
}

/// How many rounds may be unconfirmed; further questions wait for the next one.
const ROUNDS_MAX: usize = 256;

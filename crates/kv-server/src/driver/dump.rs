//! Pages of dumps are shown on the server's side by a thread of its own.

use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;

use kv_core::{Answer, Outcome, Page, Served};

use crate::config::DumpHook;

/// Shows pages in the order in which they come. A hook that waits, as for a terminal that is
/// stopped, holds up nothing else: pages that come meanwhile wait for it, and beyond a bound are
/// not shown.
#[derive(Debug)]
pub(crate) struct DumpThread {
    pages: SyncSender<Page>,
}

impl DumpThread {
    /// Starts the thread; `None` if the system gives none, and then nothing is shown.
    pub(crate) fn start(DumpHook(show): DumpHook) -> Option<Self> {
        let (pages, inbox) = mpsc::sync_channel::<Page>(PAGES_MAX);
        let thread = thread::Builder::new().name("dump".to_owned());
        let started = thread.spawn(move || inbox.iter().for_each(|page| show(&page)));
        match started {
            Ok(_) => Some(Self { pages }),
            Err(error) => {
                tracing::error!(%error, "dumps are not shown on the server's side");
                None
            }
        }
    }

    /// Shows an answer, if it is a page of a dump: one that was served from this server alone.
    pub(crate) fn show(&self, outcome: &Outcome) {
        let Some(page) = dumped_page(outcome) else {
            return;
        };
        match self.pages.try_send(page.clone()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::warn!("a page of a dump is not shown here: those before it still wait");
            }
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("the thread that shows dumps died");
            }
        }
    }
}

fn dumped_page(outcome: &Outcome) -> Option<&Page> {
    match outcome {
        Outcome::Done(done) if done.served == Served::Local => match &done.answer {
            Answer::Page(page) => Some(page),
            Answer::Results(_) => None,
        },
        Outcome::Done(_) | Outcome::NotDone(_) | Outcome::Unknown(_) => None,
    }
}

/// How many pages of about a megabyte may wait to be shown.
const PAGES_MAX: usize = 16;

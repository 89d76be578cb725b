//! Ctrl-C at the prompt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::{Cmd, ConditionalEventHandler, Event, EventContext, EventHandler, KeyEvent};
use rustyline::{Editor, Helper, history::History};

/// Notices Ctrl-C, which submits the line: the editor's own way to interrupt a line forgets what was
/// typed after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interruption {
    noticed: Arc<AtomicBool>,
}

impl Interruption {
    /// Lets an editor take keys so.
    pub(crate) fn bind<H: Helper, I: History>(&self, editor: &mut Editor<H, I>) {
        let (noticed, forgotten) = (self.clone(), self.clone());
        let notice = EventHandler::Conditional(Box::new(Notice(noticed)));
        editor.bind_sequence(KeyEvent::ctrl('C'), notice);
        editor.bind_sequence(Event::Any, EventHandler::Conditional(Box::new(Forget(forgotten))));
    }

    /// Whether Ctrl-C ended the line that was submitted.
    pub(crate) fn take(&self) -> bool {
        self.noticed.swap(false, Ordering::Relaxed)
    }
}

struct Notice(Interruption);

impl ConditionalEventHandler for Notice {
    fn handle(&self, _: &Event, _: u16, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.noticed.store(true, Ordering::Relaxed);
        Some(Cmd::AcceptLine)
    }
}

/// Any other key comes after a Ctrl-C that did not submit the line, as in a list of completions.
struct Forget(Interruption);

impl ConditionalEventHandler for Forget {
    fn handle(&self, _: &Event, _: u16, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.noticed.store(false, Ordering::Relaxed);
        None
    }
}

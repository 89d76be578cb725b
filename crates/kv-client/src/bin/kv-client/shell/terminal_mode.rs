//! How the terminal hands over what is typed.

#[cfg(unix)]
use std::sync::{Arc, Mutex, PoisonError};

/// The mode of the terminal, which a session with an editor holds from its beginning to its end.
///
/// What is typed while no line is being edited waits in the terminal as it was typed, Ctrl-C
/// included, and is neither echoed nor changed nor dropped: the editor reads it when it comes to
/// the next line. Clones are for the same terminal.
#[derive(Clone, Debug, Default)]
pub(crate) struct TerminalMode {
    #[cfg(unix)]
    modes: Option<Arc<Modes>>,
}

#[cfg(unix)]
#[derive(Debug)]
struct Modes {
    /// As it was when the program began.
    before: rustix::termios::Termios,
    /// Every key is handed over.
    keys: rustix::termios::Termios,
    /// Keys such as Ctrl-C are signals, the others are handed over.
    signals: rustix::termios::Termios,
    last: Mutex<Held>,
}

/// How the terminal is held.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    ByNobody,
    WithKeys,
    WithSignals,
}

/// Sets the terminal back to how it was, when dropped: the program may end while a line is being
/// typed.
#[derive(Debug)]
pub(crate) struct Restoration {
    mode: TerminalMode,
}

impl TerminalMode {
    /// Holds the terminal until the restoration is dropped.
    pub(crate) fn hold() -> (Self, Restoration) {
        let mode = Self::of_terminal();
        mode.hand_over_keys();
        (mode.clone(), Restoration { mode })
    }

    /// Hands over every key as it is typed.
    pub(crate) fn hand_over_keys(&self) {
        #[cfg(unix)]
        self.set(Held::WithKeys);
    }

    /// Makes signals of keys such as Ctrl-C, for a time in which nobody reads what is typed. Ctrl-C
    /// then drops what waits.
    pub(crate) fn heed_signals(&self) {
        #[cfg(unix)]
        self.set(Held::WithSignals);
    }

    /// Gives the terminal to another program, until keys are handed over again.
    pub(crate) fn give_back(&self) {
        #[cfg(unix)]
        self.set(Held::ByNobody);
    }
}

#[cfg(unix)]
impl TerminalMode {
    fn of_terminal() -> Self {
        use rustix::termios::{InputModes, LocalModes, SpecialCodeIndex};

        let Ok(before) = rustix::termios::tcgetattr(rustix::stdio::stdin()) else {
            return Self::default();
        };
        // The editor's own mode, so that nothing changes when it begins and ends. The codes of the
        // keys stay: the editor learns from them which key is which.
        let mut keys = before.clone();
        keys.input_modes -= InputModes::BRKINT
            | InputModes::ICRNL
            | InputModes::INPCK
            | InputModes::ISTRIP
            | InputModes::IXON;
        keys.local_modes -=
            LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG;
        keys.special_codes[SpecialCodeIndex::VMIN] = 1;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        let mut signals = keys.clone();
        signals.local_modes |= LocalModes::ISIG;
        let last = Mutex::new(Held::ByNobody);
        Self { modes: Some(Arc::new(Modes { before, keys, signals, last })) }
    }

    fn set(&self, held: Held) {
        if let Some(modes) = &self.modes {
            let mut last = modes.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = held;
            modes.apply(held);
        }
    }

    /// Lets the program be stopped as by Ctrl-Z, with the terminal as it was before. Nothing happens
    /// where no shell could let it go on.
    pub(super) fn suspend(&self) {
        use rustix::process::{Signal, getpgrp, getpid, getsid, kill_process};

        let has_shell = getsid(None).is_ok_and(|leader| leader != getpgrp());
        if let (true, Some(modes)) = (has_shell, &self.modes) {
            modes.apply(Held::ByNobody);
            let _ = kill_process(getpid(), Signal::STOP);
        }
    }

    /// Holds the terminal as before the program was stopped.
    pub(super) fn resume(&self) {
        if let Some(modes) = &self.modes {
            let last = *modes.last.lock().unwrap_or_else(PoisonError::into_inner);
            // A pager takes the terminal back by itself.
            if last != Held::ByNobody {
                modes.apply(last);
            }
        }
    }
}

#[cfg(unix)]
impl Modes {
    fn apply(&self, held: Held) {
        let mode = match held {
            Held::ByNobody => &self.before,
            Held::WithKeys => &self.keys,
            Held::WithSignals => &self.signals,
        };
        // Unlike `Flush`, this drops nothing that was typed. Where the terminal is gone there is
        // nobody left to tell.
        let when = rustix::termios::OptionalActions::Drain;
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), when, mode);
    }
}

#[cfg(not(unix))]
impl TerminalMode {
    const fn of_terminal() -> Self {
        Self {}
    }
}

impl Restoration {
    /// For whoever ends the program without dropping this.
    pub(super) fn of(mode: TerminalMode) -> Self {
        Self { mode }
    }
}

impl Drop for Restoration {
    fn drop(&mut self) {
        self.mode.give_back();
        // Where the terminal is gone there is nobody left to tell.
        let _ = kv_cli::output::write(BRACKETED_PASTE_OFF);
    }
}

const BRACKETED_PASTE_OFF: &[u8] = b"\x1b[?2004l";

//! How the terminal hands over what is typed.

#[cfg(unix)]
use std::sync::Arc;

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
        self.set(|modes| &modes.keys);
    }

    /// Makes signals of keys such as Ctrl-C, for a time in which nobody reads what is typed. Ctrl-C
    /// then drops what waits.
    pub(crate) fn heed_signals(&self) {
        #[cfg(unix)]
        self.set(|modes| &modes.signals);
    }

    /// Gives the terminal to another program, until keys are handed over again.
    pub(crate) fn give_back(&self) {
        #[cfg(unix)]
        self.set(|modes| &modes.before);
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
        Self { modes: Some(Arc::new(Modes { before, keys, signals })) }
    }

    fn set(&self, of: impl Fn(&Modes) -> &rustix::termios::Termios) {
        if let Some(modes) = &self.modes {
            // Where the terminal is gone there is nobody left to tell.
            let _ = set(of(modes));
        }
    }

    /// Lets the program be stopped as by Ctrl-Z, with the terminal as it was before; returns when
    /// it goes on. Nothing happens where no shell could let it go on.
    pub(super) fn suspend(&self) {
        use rustix::process::{Signal, getpgrp, getpid, getsid, kill_process};

        let has_shell = getsid(None).is_ok_and(|leader| leader != getpgrp());
        let now = rustix::termios::tcgetattr(rustix::stdio::stdin());
        if let (true, Ok(now)) = (has_shell, now) {
            self.give_back();
            let _ = kill_process(getpid(), Signal::STOP);
            let _ = set(&now);
        }
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
        use std::io::Write;

        self.mode.give_back();
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(BRACKETED_PASTE_OFF).and_then(|()| out.flush());
    }
}

#[cfg(unix)]
fn set(mode: &rustix::termios::Termios) -> rustix::io::Result<()> {
    // Unlike `Flush`, this drops nothing that was typed.
    let when = rustix::termios::OptionalActions::Drain;
    rustix::termios::tcsetattr(rustix::stdio::stdin(), when, mode)
}

const BRACKETED_PASTE_OFF: &[u8] = b"\x1b[?2004l";

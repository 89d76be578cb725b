//! How the terminal was set when the program began.

/// Sets the terminal back, when dropped, to how it was: the program may end while a line is being
/// typed, and the terminal then still hands over single keys.
#[derive(Debug)]
pub(crate) struct TerminalMode {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl TerminalMode {
    pub(crate) fn keep() -> Self {
        Self {
            #[cfg(unix)]
            before: rustix::termios::tcgetattr(rustix::stdio::stdin()).ok(),
        }
    }
}

#[cfg(unix)]
impl Drop for TerminalMode {
    fn drop(&mut self) {
        use std::io::Write;

        if let Some(before) = &self.before {
            // There is nobody left to tell.
            let _ = rustix::termios::tcsetattr(
                rustix::stdio::stdin(),
                rustix::termios::OptionalActions::Drain,
                before,
            );
            let _ = std::io::stdout().write_all(BRACKETED_PASTE_OFF);
            let _ = std::io::stdout().flush();
        }
    }
}

#[cfg(unix)]
const BRACKETED_PASTE_OFF: &[u8] = b"\x1b[?2004l";

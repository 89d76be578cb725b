//! Signals that end or stop the program, which must not leave the terminal as the editor needs it.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::terminal_mode::{Restoration, TerminalMode};
use crate::output::console::Console;

/// From now on sets the terminal back before a signal ends the program, and before Ctrl-Z stops it.
///
/// # Errors
/// If the system has no room for a handler.
pub(crate) fn watch(mode: TerminalMode, console: Console) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut stop = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
    let mut goes_on = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
    tokio::spawn(async move {
        let kind = loop {
            tokio::select! {
                _ = terminate.recv() => break SignalKind::terminate(),
                _ = hangup.recv() => break SignalKind::hangup(),
                _ = quit.recv() => break SignalKind::quit(),
                _ = stop.recv() => mode.suspend(),
                _ = goes_on.recv() => {
                    mode.resume();
                    console.ring();
                }
            }
        };
        console.abandon_line();
        drop(Restoration::of(mode));
        // The thread that reads the terminal cannot be asked to end.
        std::process::exit(EXIT_CODE_OF_SIGNALS + kind.as_raw_value());
    });
    Ok(())
}

/// What shells add to a signal's number.
const EXIT_CODE_OF_SIGNALS: i32 = 128;

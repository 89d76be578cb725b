//! Where many lines go, which come little by little.

use std::io;

use super::pager::{Paged, Pager, Paging};
use super::screen::Screen;

/// Takes lines and prints them, through a pager once they are more than the screen has.
#[derive(Debug)]
pub(crate) enum PagedOutput {
    /// They are printed as they come.
    Direct,
    /// They may fit the screen.
    Few {
        text: Vec<u8>,
        lines: usize,
        rows: usize,
        pager: Pager,
    },
    Paged(Paging),
}

impl PagedOutput {
    /// Prints without a pager.
    pub(crate) const fn direct() -> Self {
        Self::Direct
    }

    /// Prints through a pager, if there is one.
    pub(crate) fn through(pager: &Pager) -> Self {
        match pager.rows() {
            Some(rows) => Self::Few { text: Vec::new(), lines: 0, rows, pager: pager.clone() },
            None => Self::Direct,
        }
    }

    /// Takes whole lines. True if whoever looks at them has seen enough.
    ///
    /// # Errors
    /// Like [`Screen::line`].
    pub(crate) fn take(
        &mut self,
        more: &[u8],
        screen: &mut Screen,
        lend: impl FnOnce(),
    ) -> io::Result<bool> {
        if let Self::Few { text, lines, rows, pager } = self {
            text.extend_from_slice(more);
            *lines += more.iter().filter(|byte| **byte == b'\n').count();
            if *lines < *rows {
                return Ok(false);
            }
            let text = std::mem::take(text);
            lend();
            *self = match pager.start() {
                Ok(paging) => Self::Paged(paging),
                Err(_) => Self::Direct,
            };
            return self.show(&text, screen);
        }
        self.show(more, screen)
    }

    /// Prints what is left and waits for the pager to be left.
    ///
    /// # Errors
    /// Like [`Screen::line`].
    pub(crate) fn end(self, screen: &mut Screen) -> io::Result<()> {
        match self {
            Self::Direct => Ok(()),
            Self::Few { text, .. } => screen.exactly(&text),
            Self::Paged(paging) => match paging.end()? {
                Paged::Shown => Ok(()),
                Paged::Missing(text) => screen.exactly(&text),
            },
        }
    }

    fn show(&mut self, text: &[u8], screen: &mut Screen) -> io::Result<bool> {
        if let Self::Paged(paging) = self
            && paging.show(text)
        {
            return Ok(false);
        }
        match std::mem::replace(self, Self::Direct) {
            Self::Direct | Self::Few { .. } => screen.exactly(text).map(|()| false),
            Self::Paged(paging) => match paging.end()? {
                Paged::Shown => Ok(true),
                Paged::Missing(text) => screen.exactly(&text).map(|()| false),
            },
        }
    }
}

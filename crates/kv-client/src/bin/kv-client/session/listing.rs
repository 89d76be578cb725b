//! Keys with what they hold, printed as they come.

use std::io;
use std::time::Instant;

use kv_client::{ClientError, Pages};
use kv_core::{Key, RequestOptions, Versioned};

use super::interrupts::Interrupts;
use super::wait::{LinesDropped, WaitMode};
use crate::args::start::Defaults;
use crate::output::exit::ExitStatus;
use crate::output::finished::{Effect, Failure, Finished, Interrupted, Success};
use crate::output::json;
use crate::output::paged_output::PagedOutput;
use crate::output::screen::{Screen, Style, at_line};
use crate::output::text::{entry_line, error_text};
use crate::session::{Mode, Session, Work};

/// What is listed.
pub(super) enum Listing {
    /// The keys that begin with these bytes.
    Scan(Vec<u8>),
    /// All of one server.
    Dump,
}

/// How keys are written.
enum Form {
    Lines {
        style: Style,
        output: PagedOutput,
    },
    /// One object, whose entries are printed before its other parts.
    Json {
        has_begun: bool,
    },
}

/// How a listing ended.
enum End {
    All,
    /// Who looks at it has seen enough.
    Enough,
    Failed(ClientError),
    Interrupted(LinesDropped),
}

impl Session {
    /// Prints page by page; no more than one page is in memory.
    pub(super) async fn list(&mut self, listing: Listing, defaults: Defaults) -> io::Result<Work> {
        let begin = Instant::now();
        let options = RequestOptions { timeout: defaults.timeout, ..RequestOptions::default() };
        let (command, mut pages) = match &listing {
            Listing::Scan(prefix) => ("scan", self.client.scan_pages(prefix, options)),
            Listing::Dump => ("dump", self.client.dump_pages(options)),
        };
        let mut form = self.form(defaults);
        let mut count = 0;
        let end = self.print_pages(&mut pages, &mut form, &mut count).await?;
        let server = pages.server().or(self.client.server());
        let (line, elapsed) = (self.line, begin.elapsed());
        let finished = |result| Finished { command, key: None, line, server, elapsed, result };
        let work = match end {
            End::Interrupted(LinesDropped(lines_dropped)) => {
                let interrupted = Interrupted { effect: Effect::None, lines_dropped };
                let failure = || Err(Failure::Interrupted(interrupted));
                if matches!(form, Form::Json { .. }) {
                    self.leave_interrupted_line();
                    form.end(finished(failure()), &mut self.screen)?;
                    Work::Told(ExitStatus::Unclear)
                } else {
                    form.end(finished(failure()), &mut self.screen)?;
                    Work::Ended(command, None, failure())
                }
            }
            End::Failed(error) => {
                let status = ExitStatus::of_error(&error);
                let message = match count {
                    0 => error_text(&error),
                    _ => format!("only {} shown: {}", are(count), error_text(&error)),
                };
                let is_json = matches!(form, Form::Json { .. });
                form.end(finished(Err(error.into())), &mut self.screen)?;
                if !is_json {
                    self.screen.complain(&at_line(line, &message));
                }
                Work::Told(status)
            }
            End::All | End::Enough => {
                let place = match (&listing, server) {
                    (Listing::Dump, Some(server)) => format!(" at server {server}"),
                    (Listing::Dump | Listing::Scan(_), _) => String::new(),
                };
                if let Form::Lines { style: Style::Terminal, output } = &mut form
                    && matches!(end, End::All)
                {
                    output.take(&format!("{}{place}\n", keys(count)), &mut self.screen, || {})?;
                }
                form.end(finished(Ok(Success::Listed)), &mut self.screen)?;
                Work::Told(ExitStatus::Done)
            }
        };
        self.source.take_terminal();
        Ok(work)
    }

    /// The terminal is lent to a pager only where no line is being typed.
    fn form(&mut self, defaults: Defaults) -> Form {
        if defaults.json {
            return Form::Json { has_begun: false };
        }
        let style = self.style(defaults);
        let output = match style {
            Style::Terminal if !self.source.is_open() => {
                if self.mode == Mode::One {
                    // Ctrl-C is the pager's.
                    self.interrupts = Interrupts::taken();
                }
                PagedOutput::through(self.screen.pager())
            }
            Style::Terminal | Style::Pipe | Style::Raw | Style::Exact => PagedOutput::direct(),
        };
        Form::Lines { style, output }
    }

    async fn print_pages(
        &mut self,
        pages: &mut Pages,
        form: &mut Form,
        count: &mut u64,
    ) -> io::Result<End> {
        let mode = match self.source.is_open() {
            true => WaitMode::Request,
            false => WaitMode::Output,
        };
        self.source.heed_signals();
        loop {
            let page = match self.wait_for(mode, pages.next()).await {
                Ok(Ok(Some(page))) => page,
                Ok(Ok(None)) => return Ok(End::All),
                Ok(Err(error)) => return Ok(End::Failed(error)),
                Err(dropped) => return Ok(End::Interrupted(dropped)),
            };
            *count += u64::try_from(page.len()).unwrap_or(u64::MAX);
            page.iter().for_each(|(key, _)| self.known.add(key));
            let source = &self.source;
            if form.print(&page, &mut self.screen, || source.give_terminal())? {
                return Ok(End::Enough);
            }
        }
    }
}

impl Form {
    /// True if whoever looks at it has seen enough.
    fn print(
        &mut self,
        page: &[(Key, Versioned)],
        screen: &mut Screen,
        lend: impl FnOnce(),
    ) -> io::Result<bool> {
        match self {
            Self::Lines { style, output } => {
                let lines = page.iter().map(|(key, found)| entry_line(key, found, *style));
                output.take(&lines.collect::<String>(), screen, lend)
            }
            Self::Json { has_begun } => {
                for (key, found) in page {
                    let before = if *has_begun { "," } else { "{\"entries\":[" };
                    *has_begun = true;
                    screen.piece(&(before.to_owned() + &json::entry(key, found)))?;
                }
                Ok(false)
            }
        }
    }

    /// Prints how it ended.
    fn end(self, finished: Finished, screen: &mut Screen) -> io::Result<()> {
        let has_begun = match self {
            Self::Lines { output, .. } => return output.end(screen),
            Self::Json { has_begun } => has_begun,
        };
        let is_done = finished.result.is_ok();
        let rest = json::finished(finished);
        match (has_begun, rest.strip_prefix('{')) {
            (true, Some(rest)) => screen.line(format!("],{rest}")),
            (false, Some(rest)) if is_done => screen.line(format!("{{\"entries\":[],{rest}")),
            _ => screen.line(rest),
        }
    }
}

fn keys(count: u64) -> String {
    match count {
        1 => "1 key".to_owned(),
        _ => format!("{count} keys"),
    }
}

fn are(count: u64) -> String {
    match count {
        1 => "1 key is".to_owned(),
        _ => format!("{count} keys are"),
    }
}

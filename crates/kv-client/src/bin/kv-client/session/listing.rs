//! Keys with what they hold, printed as they come.

use std::io;
use std::time::Instant;

use kv_client::{ClientError, Pages};
use kv_core::{Key, RequestOptions, Versioned};

use super::interrupts::Interrupts;
use super::wait::{LinesDropped, WaitMode};
use crate::args::start::Defaults;
use crate::commands::command::{Listing, Part, Shape};
use crate::output::exit::ExitStatus;
use crate::output::finished::{Effect, Failure, Finished, Interrupted, Success};
use crate::output::json;
use crate::output::paged_output::PagedOutput;
use crate::output::screen::{Screen, Style, at_line};
use crate::output::text::{ListForm, entry_bytes, error_text, keys, no_result};
use crate::session::{Mode, Session, Work};

/// How keys are written.
enum Form {
    Lines {
        style: Style,
        form: ListForm,
        output: PagedOutput,
    },
    /// One object, whose entries are printed before its other parts.
    Json {
        has_begun: bool,
        part: Part,
    },
    /// Their number alone, at the end.
    Count {
        is_json: bool,
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
    pub(super) async fn list(
        &mut self,
        listing: Listing,
        shape: Shape,
        defaults: Defaults,
    ) -> io::Result<Work> {
        let begin = Instant::now();
        let (command, mut pages) = self.pages(&listing, shape, defaults);
        let mut form = self.form(shape, defaults);
        let mut count = 0;
        let end = self.print_pages(&mut pages, &mut form, shape.limit, &mut count).await?;
        let server = pages.server().or(self.client.server());
        let ended = self.ended(command, None, false, begin, Ok(Success::Listed));
        let finished = |result| Finished { server, result, ..ended };
        let work = match end {
            End::Interrupted(LinesDropped(lines_dropped)) => {
                let interrupted = Interrupted { effect: Effect::None, lines_dropped };
                let failure = || Err(Failure::Interrupted(interrupted));
                if defaults.json {
                    self.leave_interrupted_line();
                    form.end(finished(failure()), &mut self.screen)?;
                    Work::Told(ExitStatus::Unclear)
                } else {
                    form.end(finished(failure()), &mut self.screen)?;
                    Work::Ended(command, None, failure())
                }
            }
            End::Failed(error) => {
                let ended = finished(Err(error.clone().into()));
                self.fail_list(form, ended, count, &error, defaults)?
            }
            End::All | End::Enough => {
                let place = match (&listing, server) {
                    (Listing::Dump, Some(server)) => format!(" at server {server}"),
                    (Listing::Dump | Listing::Scan { .. }, _) => String::new(),
                };
                if let Form::Lines { style: Style::Terminal, form: ListForm::Quoted(_), output } =
                    &mut form
                    && matches!(end, End::All)
                {
                    let total = format!("{}{place}\n", keys(count));
                    output.take(total.as_bytes(), &mut self.screen, || {})?;
                }
                let success = match form {
                    Form::Count { .. } => Success::Counted(count),
                    Form::Lines { .. } | Form::Json { .. } => Success::Listed,
                };
                form.end(finished(Ok(success)), &mut self.screen)?;
                Work::Told(ExitStatus::Done)
            }
        };
        self.source.take_terminal();
        Ok(work)
    }

    fn pages(&self, listing: &Listing, shape: Shape, defaults: Defaults) -> (&'static str, Pages) {
        let options = RequestOptions::default().with_timeout(defaults.timeout);
        let (command, pages) = match listing {
            Listing::Scan { prefix, read_quorum } => {
                let options = options.with_read_quorum(*read_quorum);
                ("scan", self.client.scan_pages(prefix, options))
            }
            Listing::Dump => ("dump", self.client.dump_pages(options)),
        };
        match shape.limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)) {
            Some(limit) => (command, pages.with_page_len(limit.clamp(1, PAGE_LEN_MAX))),
            None => (command, pages),
        }
    }

    /// Prints that a list is not whole.
    fn fail_list(
        &mut self,
        form: Form,
        ended: Finished,
        count: u64,
        error: &ClientError,
        defaults: Defaults,
    ) -> io::Result<Work> {
        let message = match (&form, count) {
            (Form::Count { .. }, _) | (_, 0) => error_text(error),
            _ => format!("only {} shown: {}", are(count), error_text(error)),
        };
        let has_lines = matches!(form, Form::Lines { .. }) && count > 0;
        form.end(ended, &mut self.screen)?;
        if !defaults.json {
            self.screen.complain(&at_line(self.line, &message));
            if self.mode == Mode::Pipe && !has_lines {
                self.screen.line(no_result(error))?;
            }
        }
        Ok(Work::Told(ExitStatus::of_error(error)))
    }

    /// The terminal is lent to a pager only where no line is being typed.
    fn form(&mut self, shape: Shape, defaults: Defaults) -> Form {
        let part = shape.part;
        if part == Part::Count {
            return Form::Count { is_json: defaults.json };
        }
        if defaults.json {
            return Form::Json { has_begun: false, part };
        }
        let style = self.style(defaults);
        let form = match (shape.null, defaults.raw) {
            (true, _) => ListForm::Null(part),
            (false, true) => ListForm::Raw(part),
            (false, false) => ListForm::Quoted(part),
        };
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
        Form::Lines { style, form, output }
    }

    async fn print_pages(
        &mut self,
        pages: &mut Pages,
        form: &mut Form,
        limit: Option<u64>,
        count: &mut u64,
    ) -> io::Result<End> {
        let mode = match self.source.is_open() {
            true => WaitMode::Request,
            false => WaitMode::Output,
        };
        self.source.heed_signals();
        loop {
            let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(*count));
            if room == 0 {
                return Ok(End::Enough);
            }
            let mut page = match self.wait_for(mode, pages.next()).await {
                Ok(Ok(Some(page))) => page,
                Ok(Ok(None)) => return Ok(End::All),
                Ok(Err(error)) => return Ok(End::Failed(error)),
                Err(dropped) => return Ok(End::Interrupted(dropped)),
            };
            page.truncate(usize::try_from(room).unwrap_or(usize::MAX));
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
            Self::Lines { style, form, output } => {
                let lines =
                    page.iter().flat_map(|(key, found)| entry_bytes(key, found, *style, form));
                output.take(&lines.collect::<Vec<u8>>(), screen, lend)
            }
            Self::Count { .. } => Ok(false),
            Self::Json { has_begun, part } => {
                for (key, found) in page {
                    let before = if *has_begun { "," } else { "{\"entries\":[" };
                    *has_begun = true;
                    screen.piece(&(before.to_owned() + &json::entry(key, found, *part)))?;
                }
                Ok(false)
            }
        }
    }

    /// Prints how it ended.
    fn end(self, finished: Finished, screen: &mut Screen) -> io::Result<()> {
        let has_begun = match self {
            Self::Lines { output, .. } => return output.end(screen),
            Self::Count { is_json: true } => return screen.line(json::finished(finished)),
            Self::Count { is_json: false } => {
                return match finished.result {
                    Ok(Success::Counted(count)) => screen.line(count.to_string()),
                    Ok(_) | Err(_) => Ok(()),
                };
            }
            Self::Json { has_begun, .. } => has_begun,
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

fn are(count: u64) -> String {
    match count {
        1 => "1 key is".to_owned(),
        _ => format!("{count} keys are"),
    }
}

/// A server ends a page earlier if it likes.
const PAGE_LEN_MAX: u32 = 1000;

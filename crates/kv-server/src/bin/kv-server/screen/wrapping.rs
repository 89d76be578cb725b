//! Lines that end at a word's end.

/// A start screen with no line longer than a terminal has columns, as far as words allow: what does not
/// fit goes on below, where its row begins. A command to type stays on its line, so that it can be
/// copied.
pub(super) fn wrapped(text: &str, columns: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| wrapped_line(line, columns)).collect();
    lines.join("\n")
}

fn wrapped_line(line: &str, columns: usize) -> String {
    let is_command = line.starts_with("  try ") || line.starts_with(COMMAND);
    if is_command || line.chars().count() <= columns {
        return line.to_owned();
    }
    // A row begins with its name; a title does not.
    let (begin, indentation) = match line.char_indices().nth(ROW_COLUMNS) {
        Some((at, _)) if line.starts_with("  ") => (at, ROW_COLUMNS),
        Some(_) | None => (0, 2),
    };
    let (head, rest) = line.split_at(begin);
    let mut done = head.to_owned();
    let mut used = head.chars().count();
    let mut is_first = true;
    for word in rest.split(' ') {
        let width = word.chars().count();
        if !is_first && used + 1 + width > columns {
            done.push('\n');
            done.push_str(&" ".repeat(indentation));
            used = indentation;
        } else if !is_first {
            done.push(' ');
            used += 1;
        }
        done.push_str(word);
        used += width;
        is_first = false;
    }
    done
}

/// Where the text of a row begins, behind its name.
const ROW_COLUMNS: usize = 15;

/// What a command begins with that stands on a line of its own.
const COMMAND: &str = "                 ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_on_where_they_began() {
        let text = "kv-server 1.0 | server 1 of 3\n  means        a write is done when one server holds \
                    it\n  data         in memory";
        let expected = "kv-server 1.0 | server 1 of 3\n  means        a write is done\n               \
                        when one server\n               holds it\n  data         in memory";
        assert_eq!(wrapped(text, 31), expected);
        assert_eq!(wrapped(text, 80), text);
    }

    #[test]
    fn a_title_goes_on_and_a_long_word_and_a_command_stay_whole() {
        assert_eq!(wrapped("kv-server 1.0 | server 1", 20), "kv-server 1.0 |\n  server 1");
        let path = "  data         /a/very/long/path (new)";
        assert_eq!(wrapped(path, 20), "  data         /a/very/long/path\n               (new)");
        let command = "  try          ./kv-client 2 --servers 1-3, then: put x 1";
        assert_eq!(wrapped(command, 20), command);
        let command = format!("{COMMAND}./kv-client 2 --servers 1-3");
        assert_eq!(wrapped(&command, 20), command);
    }
}

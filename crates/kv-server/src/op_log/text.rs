//! Lines of the log of operations on their way to the file.

use bytes::Bytes;
use kv_core::Value;

/// Whole lines. A large value stays as it came until the file is written: to escape it takes time
/// that the driver does not have.
#[derive(Debug, Default)]
pub(crate) struct OpLogText {
    before: Vec<CutText>,
    text: Vec<u8>,
    size: usize,
}

/// Text whose last line is ended by a large value.
#[derive(Debug)]
pub(crate) struct CutText {
    pub(crate) text: Vec<u8>,
    pub(crate) value: Bytes,
}

impl OpLogText {
    pub(crate) const fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// How many bytes it holds, those of large values as they came.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// The parts that a large value ends.
    pub(crate) fn cut(&self) -> &[CutText] {
        &self.before
    }

    /// What follows them.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.text
    }

    /// Appends bytes as they are.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        self.size += bytes.len();
    }

    /// Appends a number in decimal digits.
    pub(crate) fn put_number(&mut self, number: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends bytes so that a line stays a line and a column a column.
    pub(crate) fn put_escaped(&mut self, bytes: &[u8]) {
        let before = self.text.len();
        escape(bytes, &mut self.text);
        self.size += self.text.len() - before;
    }

    /// Appends a value that is the last of its line, and ends the line.
    pub(crate) fn end_line_with(&mut self, value: &Value) {
        let bytes = value.as_bytes();
        if bytes.len() < LARGE_BYTES {
            self.put_escaped(bytes);
            self.put(b"\n");
        } else {
            self.size += bytes.len();
            let text = std::mem::take(&mut self.text);
            self.before.push(CutText { text, value: value.to_shared() });
        }
    }

    /// Moves the lines of `later` to the end of these, and leaves it empty.
    pub(crate) fn append(&mut self, later: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, later);
            return;
        }
        for CutText { text: cut, value } in later.before.drain(..) {
            let mut text = std::mem::take(&mut self.text);
            text.extend_from_slice(&cut);
            self.before.push(CutText { text, value });
        }
        self.text.extend_from_slice(&later.text);
        self.size += later.size;
        later.clear();
    }

    /// Forgets all lines; keeps the memory for as many as are usual.
    pub(crate) fn clear(&mut self) {
        self.before.clear();
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        self.size = 0;
    }
}

/// Appends bytes to `text`: printable ASCII as it is, everything else, and comma, quote and
/// backslash, as `\xNN`.
pub(crate) fn escape(bytes: &[u8], text: &mut Vec<u8>) {
    let (chunks, rest) = bytes.as_chunks::<CHUNK_BYTES>();
    for chunk in chunks {
        // Of a fixed length and without branches, so that the compiler looks at many at once.
        if chunk.iter().fold(0, |any, byte| any | is_odd(*byte)) == 0 {
            text.extend_from_slice(chunk);
        } else {
            escape_each(chunk, text);
        }
    }
    escape_each(rest, text);
}

fn escape_each(bytes: &[u8], text: &mut Vec<u8>) {
    for byte in bytes {
        if is_odd(*byte) == 0 {
            text.push(*byte);
        } else {
            text.extend_from_slice(&[b'\\', b'x', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
}

/// 1 for a byte that is escaped, 0 for one that stays.
fn is_odd(byte: u8) -> u8 {
    let unprintable = byte.wrapping_sub(b' ') > b'~' - b' ';
    u8::from(unprintable)
        | u8::from(byte == b',')
        | u8::from(byte == b'"')
        | u8::from(byte == b'\\')
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// From this size on a value is escaped by whoever writes the file.
const LARGE_BYTES: usize = 4 << 10;

/// How much memory is kept for later lines.
const KEPT_BYTES: usize = 1 << 20;

/// How many bytes are looked at in one go.
const CHUNK_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        escape(bytes, &mut text);
        text
    }

    #[test]
    fn exactly_the_bytes_that_would_break_a_line_or_a_column_are_escaped() {
        for byte in 0..=u8::MAX {
            let stays = matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'"' | b'\\');
            let expected = if stays { vec![byte] } else { format!("\\x{byte:02x}").into_bytes() };
            assert_eq!(escaped(&[byte]), expected);
        }
        let long = [vec![b'a'; CHUNK_BYTES], vec![b'\n'], vec![b'b'; CHUNK_BYTES]].concat();
        let expected = ["a".repeat(CHUNK_BYTES), "b".repeat(CHUNK_BYTES)].join("\\x0a");
        assert_eq!(escaped(&long), expected.into_bytes());
    }

    #[test]
    fn large_values_are_kept_as_they_came_and_in_order() {
        let large = Value::new(vec![b','; LARGE_BYTES]).unwrap();
        let mut first = OpLogText::default();
        first.put(b"a,");
        first.end_line_with(&Value::new(",").unwrap());
        let mut second = OpLogText::default();
        second.put(b"b,");
        second.end_line_with(&large);
        second.put(b"c\n");
        first.append(&mut second);

        assert!(second.is_empty());
        assert_eq!(first.size(), b"a,\\x2c\nb,c\n".len() + LARGE_BYTES);
        let [cut] = first.cut() else { panic!("one value is large") };
        assert_eq!((cut.text.as_slice(), &cut.value[..]), (&b"a,\\x2c\nb,"[..], large.as_bytes()));
        assert_eq!(first.rest(), b"c\n");
    }
}

//! The longest common subsequence of two strings.

use bytes::Bytes;

use crate::data::overlay::Overlay;
use crate::data::{Lcs, LcsForm};
use crate::error::ReplyError;
use crate::reply::Reply;

pub(super) fn lcs(overlay: &mut Overlay, lcs: &Lcs) -> Result<Reply, ReplyError> {
    let [one, other] = lcs
        .keys
        .each_ref()
        .map(|key| overlay.value(key).map_or_else(Bytes::new, |held| held.to_shared()));
    let cells = (one.len() + 1).checked_mul(other.len() + 1);
    let cells = cells.filter(|cells| *cells <= CELLS_MAX).ok_or(ReplyError::LcsMemory)?;
    overlay.spend(cells * size_of::<u32>());
    let lens = Lens::of(&one, &other);
    let len = usize::try_from(lens.at(one.len(), other.len())).unwrap_or(0);
    if lcs.form == LcsForm::Length {
        return Ok(Reply::count(len));
    }
    let Traced { text, matches } = trace(&one, &other, &lens);
    let LcsForm::Matches { len_min, with_len } = lcs.form else {
        return Ok(Reply::Bulk(text.into()));
    };
    let range =
        |end: usize, len: usize| Reply::Array(vec![Reply::count(end - len), Reply::count(end - 1)]);
    let matches = matches.into_iter().filter(|found| found.len >= len_min.max(1));
    let matches = matches.map(|Match { one_end, other_end, len }| {
        let mut reply = vec![range(one_end, len), range(other_end, len)];
        reply.extend(with_len.then(|| Reply::count(len)));
        Reply::Array(reply)
    });
    Ok(Reply::Map(vec![
        (Reply::text("matches"), Reply::Array(matches.collect())),
        (Reply::text("len"), Reply::count(len)),
    ]))
}

/// The lengths of the longest common subsequences of all beginnings of both strings.
struct Lens {
    columns: usize,
    cells: Vec<u32>,
}

impl Lens {
    fn of(one: &[u8], other: &[u8]) -> Self {
        let columns = other.len() + 1;
        let mut lens = Self { columns, cells: vec![0; (one.len() + 1) * columns] };
        for (i, left) in one.iter().enumerate() {
            for (j, right) in other.iter().enumerate() {
                let len = if left == right {
                    lens.at(i, j) + 1
                } else {
                    lens.at(i, j + 1).max(lens.at(i + 1, j))
                };
                if let Some(cell) = lens.cells.get_mut((i + 1) * columns + j + 1) {
                    *cell = len;
                }
            }
        }
        lens
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells.get(i * self.columns + j).copied().unwrap_or(0)
    }
}

/// One of the subsequences, and the ranges that it is made of, the last one first.
struct Traced {
    text: Vec<u8>,
    matches: Vec<Match>,
}

/// A range that both strings have; its ends are excluded.
struct Match {
    one_end: usize,
    other_end: usize,
    len: usize,
}

/// Goes back from the end of both strings, as Redis does.
fn trace(one: &[u8], other: &[u8], lens: &Lens) -> Traced {
    let (mut i, mut j) = (one.len(), other.len());
    let (mut text, mut matches) = (Vec::new(), Vec::new());
    let mut open: Option<Match> = None;
    while i > 0 && j > 0 {
        let (left, right) = (one.get(i - 1), other.get(j - 1));
        if left == right {
            text.extend(left);
            match &mut open {
                Some(found) => found.len += 1,
                None => open = Some(Match { one_end: i, other_end: j, len: 1 }),
            }
            (i, j) = (i - 1, j - 1);
            continue;
        }
        matches.extend(open.take());
        if lens.at(i - 1, j) > lens.at(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    matches.extend(open);
    text.reverse();
    Traced { text, matches }
}

/// So many lengths fit into what a value may have.
const CELLS_MAX: usize = kv_core::Value::LEN_MAX / size_of::<u32>();

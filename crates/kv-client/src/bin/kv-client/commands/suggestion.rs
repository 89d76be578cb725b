//! The word that was probably meant.

/// The candidate that takes the fewest changed, missing or surplus letters, if those are few.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let distances = candidates.iter().map(|candidate| (distance(word, candidate), *candidate));
    let (distance, candidate) = distances.min()?;
    let few = candidate.chars().count().div_ceil(2).min(DISTANCE_MAX);
    (distance <= few).then_some(candidate)
}

/// Levenshtein's distance, row by row; neighbours swapped count as two.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.chars().zip(row.windows(2)) {
            if let [diagonal, above] = above {
                left = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
                next.push(left);
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

const DISTANCE_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("get", "get"), 0);
    }

    #[test]
    fn small_mistakes_have_a_suggestion_and_other_words_none() {
        let names = ["get", "put", "delete", "status"];
        assert_eq!(nearest("gte", &names), Some("get"));
        assert_eq!(nearest("delte", &names), Some("delete"));
        assert_eq!(nearest("stauts", &names), Some("status"));
        assert_eq!(nearest("frobnicate", &names), None);
        assert_eq!(nearest("x", &names), None);
    }
}

//! Cursors: where a list continues. Opaque, versioned, and valid for the list that gave them only.

use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::server::edge::problem::Problem;
use hallpass_core::base::digest::Digest;

/// The list that a cursor belongs to: its kind and everything that filters or orders it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListId([u8; BINDING_BYTES]);

impl ListId {
    pub(crate) fn new(kind: &str, filter: &[(&str, &str)]) -> Self {
        let mut text = kind.to_owned();
        for (name, value) in filter {
            // Values hold no control character, so no two filters are spelled alike.
            text.extend(["\0", name, "\u{1}", value]);
        }
        let digest = Digest::of(text.as_bytes());
        let mut binding = [0; BINDING_BYTES];
        binding
            .iter_mut()
            .zip(digest.as_bytes())
            .for_each(|(to, from)| *to = *from);
        Self(binding)
    }

    /// The cursor from which the list continues after `position`.
    pub(crate) fn cursor(&self, position: &impl ToString) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.0);
        bytes.extend(position.to_string().into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position that `cursor` holds.
    ///
    /// A cursor is not a secret and gives no access: what is listed is decided anew.
    pub(crate) fn position<T: FromStr>(&self, cursor: &str) -> Result<T, Problem> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (version, rest) = bytes.split_first()?;
            let (binding, position) = rest.split_at_checked(BINDING_BYTES)?;
            (*version == VERSION && binding == self.0).then_some(())?;
            std::str::from_utf8(position).ok()?.parse().ok()
        };
        read().ok_or_else(|| {
            Problem::invalid(
                "cursor",
                "not a cursor of this list: take `next` as the last page gave it, with the same filter",
            )
        })
    }
}

const VERSION: u8 = 1;
const BINDING_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_list_only() {
        let list = ListId::new("tasks", &[("agent", "a")]);
        let cursor = list.cursor(&7);
        assert_eq!(list.position::<u64>(&cursor).unwrap(), 7);
        for other in [
            ListId::new("tasks", &[("agent", "b")]),
            ListId::new("tasks", &[]),
            ListId::new("audit", &[("agent", "a")]),
        ] {
            assert!(other.position::<u64>(&cursor).is_err());
        }
    }

    #[test]
    fn changed_and_foreign_cursors_are_refused() {
        let list = ListId::new("tasks", &[]);
        let cursor = list.cursor(&"x");
        for bad in [
            "",
            "AA",
            "!",
            &cursor[1..],
            &format!("{cursor}="),
            &cursor.replace('A', "B"),
        ] {
            assert!(list.position::<u64>(bad).is_err(), "{bad}");
        }
        let mut other_version = URL_SAFE_NO_PAD.decode(list.cursor(&1)).unwrap();
        other_version[0] = 2;
        assert!(
            list.position::<u64>(&URL_SAFE_NO_PAD.encode(other_version))
                .is_err()
        );
    }
}

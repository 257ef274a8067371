//! Beginning a segment: what it starts with is durable before its first record is.

use std::fs::File;

use crate::{
    domain::event::{Actor, ChainEvent, Entry},
    ledger::{
        file::{Reader, Snapshot, error::OpenError, files, line::Body},
        record::Head,
    },
};
use hallpass_core::base::{digest::Digest, time::Timestamp};

/// A segment that was made and has no record yet.
pub(super) struct Begun<E> {
    pub(super) file: File,
    /// Its first entry.
    pub(super) entry: Entry<E>,
    pub(super) body: Body,
    /// How long its snapshot is; 0 when none was taken.
    pub(super) snapshot_bytes: u64,
}

/// Makes segment `number`, which follows on `head`, and the snapshot that its first record vouches for.
///
/// # Errors
///
/// When the disk fails, or has no room. Nothing is left of the segment then, as far as that could be undone;
/// the next start removes the rest.
pub(super) fn begin<E: ChainEvent>(
    reader: &Reader<E>,
    number: u32,
    (head, at): (Head, Timestamp),
    snapshot: Option<&Snapshot>,
) -> Result<Begun<E>, String> {
    let path = reader.path(number);
    let snapshot_path = reader.dir().join(files::snapshot_name(number));
    let make = || -> Result<(File, Option<Digest>, u64), OpenError> {
        let (mut digest, mut length) = (None, 0);
        if let Some(snapshot) = snapshot {
            let bytes = snapshot.to_bytes(head);
            digest = Some(Digest::of(&bytes));
            length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            // A start may have left it behind.
            files::remove(&snapshot_path)?;
            files::create(&snapshot_path, &bytes)?;
        }
        files::create(&path, b"")?;
        Ok((files::open_segment(&path)?, digest, length))
    };
    let (file, snapshot, snapshot_bytes) =
        make().map_err(|error| undo(reader, number, with_source(&error)))?;
    let event = E::segment_begun(snapshot);
    let entry = Entry {
        at,
        actor: Actor::Broker,
        request: None,
        trace: None,
        idempotency: None,
        event,
    };
    let body = Body::of(&entry).map_err(|error| undo(reader, number, error.to_string()))?;
    Ok(Begun {
        file,
        entry,
        body,
        snapshot_bytes,
    })
}

/// Removes what was made of segment `number`, and returns why, together with what went wrong about that.
pub(super) fn undo<E>(reader: &Reader<E>, number: u32, why: String) -> String {
    let undone = files::remove(&reader.path(number));
    let undone =
        undone.and_then(|()| files::remove(&reader.dir().join(files::snapshot_name(number))));
    match undone {
        Ok(()) => why,
        Err(also) => format!("{why}; {}", with_source(&also)),
    }
}

/// Removes the snapshots that no start will look at: those before the last two.
pub(super) fn forget_old_snapshots<E>(reader: &Reader<E>) -> Result<(), OpenError> {
    let numbers = reader.segments().into_iter().map(|segment| segment.number);
    for number in numbers.rev().skip(KEPT_SNAPSHOTS) {
        files::remove(&reader.dir().join(files::snapshot_name(number)))?;
    }
    Ok(())
}

fn with_source(error: &OpenError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// The newest, and one in case that it cannot be read.
const KEPT_SNAPSHOTS: usize = 2;

//! Compacting an index, when there is room for the copy.

use crate::{
    disk::reserve::DiskReserve,
    ledger::views::{IndexError, Indexed, Views},
};

/// Gives back what an index has grown by for nothing, when there is room for the copy.
pub(crate) fn compact<E: Indexed>(
    views: &Views<E>,
    reserve: &DiskReserve,
) -> Result<(), IndexError> {
    views.compact(&|bytes| {
        let has_room = reserve.has_room_for(bytes);
        if !has_room {
            tracing::warn!(
                bytes,
                "an index has grown to a multiple of what it holds, and a copy of it has no room"
            );
        }
        has_room
    })
}

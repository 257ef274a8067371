//! Finding a journal's files, choosing where to begin, and reading everything.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    domain::event::ChainEvent,
    ledger::{
        file::{
            Chain, DIRECTORY, Line, Lines, Options, Reader, Recovered, Recovery, Restore, Segment,
            Snapshot, Torn,
            error::{Flaw, OpenError},
            files::{self, MARKER, MARKER_CONTENT, mark},
            read::{Durable, Shared},
        },
        record::{Head, LinePlace},
    },
};
use hallpass_core::base::{digest::Digest, time::Timestamp};

/// Checks the journal in `data_dir`, beginning one when there was none, and replays it into `views`: from the
/// newest snapshot that can be used, or all that is kept.
pub(super) fn recover<E: ChainEvent>(
    data_dir: &Path,
    options: Options,
    views: &mut dyn Restore<E>,
    use_snapshots: bool,
) -> Result<(Recovered<E>, Recovery), OpenError> {
    files::ensure_dir(data_dir)?;
    let lock = files::lock(data_dir)?;
    let found = Found::in_or_begun(data_dir, &options)?;
    let begin = if use_snapshots {
        found.newest_snapshot(views)?
    } else {
        Begin::with(found.oldest())
    };
    let mut read = found.read(begin.segment, views)?;
    if found.marked && read.head == Head::GENESIS {
        return Err(OpenError::Missing {
            file: found.path(found.oldest()),
            evidence: found.dir.join(MARKER),
        });
    }
    // From here on the journal is sound, and may be mended.
    let torn = read.cut_torn_tail(&found)?;
    let unbegun = read.drop_unbegun_segment(&found)?;
    let last = found.path(read.end().segment);
    let segment = files::open_segment(&last)?;
    // After a kill there may be records that no sync covered. They count from now on, so they must last.
    segment
        .sync_all()
        .map_err(|error| OpenError::io("sync", &last, error))?;
    if !found.marked && read.head != Head::GENESIS {
        mark(&found.dir)?;
    }
    let recovery = Recovery {
        head: read.head,
        created: found.created,
        torn,
        unbegun,
        replayed_from: read.replayed_from,
        unusable: begin.unusable,
    };
    let before = begin.segment.saturating_sub(1).max(found.oldest());
    let restorable = if use_snapshots {
        before
    } else {
        read.end().segment
    };
    let durable = Durable {
        head: read.head,
        end: read.end(),
        segments: read.segments,
        restorable,
    };
    let reader = Reader::new(found.dir, Arc::new(Shared::new(durable)));
    Ok((
        Recovered {
            lock,
            segment,
            reader,
            options,
            last_at: read.last_at,
            take_snapshot: None,
        },
        recovery,
    ))
}

/// The journal's files as they were found.
struct Found {
    dir: PathBuf,
    /// Without a gap.
    numbers: Vec<u32>,
    created: bool,
    marked: bool,
}

/// Where replaying begins.
struct Begin {
    segment: u32,
    unusable: Vec<String>,
}

impl Begin {
    const fn with(segment: u32) -> Self {
        Self {
            segment,
            unusable: Vec::new(),
        }
    }
}

impl Found {
    /// Finds the journal that is there, or begins one where nothing shows that there was one.
    fn in_or_begun(data_dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let dir = data_dir.join(DIRECTORY);
        let marker = dir.join(MARKER);
        let mut numbers = if dir.is_dir() {
            files::segments_in(&dir)?
        } else {
            Vec::new()
        };
        let (created, marked) = (numbers.is_empty(), marker.exists());
        let first = dir.join(files::segment_name(1));
        if created {
            let evidence = options.evidence.iter().map(|name| data_dir.join(name));
            if let Some(evidence) = std::iter::once(marker.clone())
                .chain(evidence)
                .find(|path| path.exists())
            {
                return Err(OpenError::Missing {
                    file: first,
                    evidence,
                });
            }
        }
        if marked
            && fs::read(&marker).map_err(|error| OpenError::io("read", &marker, error))?
                != MARKER_CONTENT
        {
            return Err(OpenError::Unknown { file: marker });
        }
        for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
            if before.saturating_add(1) != *after {
                let file = dir.join(files::segment_name(before.saturating_add(1)));
                return Err(OpenError::Missing {
                    file,
                    evidence: dir.join(files::segment_name(*after)),
                });
            }
        }
        if created {
            files::ensure_dir(&dir)?;
            files::create(&first, b"")?;
            numbers.push(1);
        }
        Ok(Self {
            dir,
            numbers,
            created,
            marked,
        })
    }

    fn oldest(&self) -> u32 {
        self.numbers.first().copied().unwrap_or(1)
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(files::segment_name(number))
    }

    /// Restores `views` from the newest snapshot that its segment vouches for; all that is kept is replayed when
    /// there is none and nothing was removed.
    fn newest_snapshot<E: ChainEvent>(
        &self,
        views: &mut dyn Restore<E>,
    ) -> Result<Begin, OpenError> {
        let mut unusable = Vec::new();
        for number in self
            .numbers
            .iter()
            .rev()
            .copied()
            .filter(|number| *number > 1)
        {
            let Some((digest, before)) = self.beginning::<E>(number)? else {
                continue;
            };
            let path = self.dir.join(files::snapshot_name(number));
            let restored = read_snapshot(&path, digest, before).and_then(|mut snapshot| {
                snapshot.mark_dispensable(self.oldest() == 1);
                views.restore(&snapshot).map_err(|error| error.to_string())
            });
            match restored {
                Ok(()) => {
                    return Ok(Begin {
                        segment: number,
                        unusable,
                    });
                }
                Err(detail) => {
                    let name = files::snapshot_name(number);
                    unusable.push(format!(
                        "could not use the snapshot {name}: {detail}; replayed what is older"
                    ));
                }
            }
        }
        if self.oldest() == 1 {
            return Ok(Begin {
                segment: 1,
                unusable,
            });
        }
        let detail = unusable
            .pop()
            .unwrap_or_else(|| "no segment begins with a snapshot".to_owned());
        Err(OpenError::Snapshot {
            dir: self.dir.clone(),
            detail,
        })
    }

    /// The digest of the snapshot that segment `number` begins with, and the head that it was taken after.
    fn beginning<E: ChainEvent>(&self, number: u32) -> Result<Option<(Digest, Head)>, OpenError> {
        let path = self.path(number);
        let failed = |error| OpenError::io("read", &path, error);
        let mut lines = Lines::new(BufReader::new(File::open(&path).map_err(failed)?));
        // Whatever is wrong with the line is found when the whole chain is checked.
        let Line::Complete(line) = lines.next_line().map_err(failed)? else {
            return Ok(None);
        };
        let Ok(record) = Chain::<E>::oldest(number).accept(line) else {
            return Ok(None);
        };
        let before = Head {
            sequence: record.sequence.saturating_sub(1),
            hash: record.prev,
        };
        Ok(record.entry.event.snapshot().map(|digest| (digest, before)))
    }

    /// Checks every segment and replays those from `begin` on.
    fn read<E: ChainEvent>(
        &self,
        begin: u32,
        views: &mut dyn Restore<E>,
    ) -> Result<Read, OpenError> {
        let oldest = self.oldest();
        let mut chain: Chain<E> = if oldest == 1 {
            Chain::genesis()
        } else {
            Chain::oldest(oldest)
        };
        let mut read = Read::nothing();
        for number in self.numbers.iter().copied() {
            if number != oldest {
                chain.begin_segment();
            }
            let path = self.path(number);
            let damaged = |damage| OpenError::Damaged {
                file: path.clone(),
                damage,
            };
            let failed = |error| OpenError::io("read", &path, error);
            let file = File::open(&path).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len();
            let mut lines = Lines::new(BufReader::with_capacity(READ_BUFFER_BYTES, file));
            let mut records: u64 = 0;
            loop {
                match lines.next_line().map_err(failed)? {
                    Line::Complete(line) if number < begin => {
                        let _ = chain.check(line).map_err(damaged)?;
                    }
                    Line::Complete(line) => {
                        let record = chain.accept(line).map_err(damaged)?;
                        if read.replayed_from == 0 {
                            read.replayed_from = record.sequence;
                        }
                        read.last_at = record.entry.at;
                        views.replay(&record);
                    }
                    Line::TooLong => return Err(damaged(chain.damage(Flaw::TooLong))),
                    // Only the last write can have been interrupted.
                    Line::Unterminated(_) if Some(&number) != self.numbers.last() => {
                        return Err(damaged(chain.damage(Flaw::Unterminated)));
                    }
                    Line::Unterminated(tail) => {
                        chain.accept_unterminated(tail).map_err(damaged)?;
                        read.torn_bytes = length.saturating_sub(chain.next_place().offset);
                        break;
                    }
                    Line::End => break,
                }
                records = records.saturating_add(1);
            }
            read.head = chain.head();
            let first = read.head.sequence.saturating_add(1).saturating_sub(records);
            read.ends.push(chain.next_place());
            read.segments.push(Segment { number, first });
        }
        Ok(read)
    }
}

/// What reading found.
struct Read {
    head: Head,
    segments: Vec<Segment>,
    /// Where each segment ends, a torn tail left out.
    ends: Vec<LinePlace>,
    torn_bytes: u64,
    replayed_from: u64,
    last_at: Timestamp,
}

impl Read {
    const fn nothing() -> Self {
        let (head, last_at) = (Head::GENESIS, Timestamp::EPOCH);
        Self {
            head,
            segments: Vec::new(),
            ends: Vec::new(),
            torn_bytes: 0,
            replayed_from: 0,
            last_at,
        }
    }

    fn end(&self) -> LinePlace {
        self.ends.last().copied().unwrap_or(LinePlace {
            segment: 1,
            offset: 0,
        })
    }

    fn cut_torn_tail(&self, found: &Found) -> Result<Option<Torn>, OpenError> {
        if self.torn_bytes == 0 {
            return Ok(None);
        }
        let LinePlace { segment, offset } = self.end();
        let path = found.path(segment);
        let next = self.head.sequence.saturating_add(1);
        let kept_at = files::cut_tail(&path, &mut files::open_segment(&path)?, offset, next)?;
        Ok(Some(Torn {
            segment: path,
            offset,
            bytes: self.torn_bytes,
            kept_at,
        }))
    }

    /// Removes a segment that never got its first record: it is begun again when it is needed.
    fn drop_unbegun_segment(&mut self, found: &Found) -> Result<Option<u32>, OpenError> {
        let LinePlace { segment, offset } = self.end();
        let is_unbegun = segment > found.oldest() && offset == 0;
        if is_unbegun {
            self.segments.pop();
            self.ends.pop();
            files::remove(&found.path(segment))?;
        }
        // A snapshot is written before its segment.
        files::remove(
            &found
                .dir
                .join(files::snapshot_name(self.end().segment.saturating_add(1))),
        )?;
        files::sync_dir(&found.dir)?;
        Ok(is_unbegun.then_some(segment))
    }
}

/// The snapshot in the file at `path`, or why it is none.
fn read_snapshot(path: &Path, digest: Digest, after: Head) -> Result<Snapshot, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if Digest::of(&bytes) != digest {
        return Err("it does not have the digest that the journal holds".to_owned());
    }
    Snapshot::from_bytes(bytes, after).map_err(|error| error.to_string())
}

const READ_BUFFER_BYTES: usize = 256 * 1024;

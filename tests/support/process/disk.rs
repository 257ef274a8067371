//! A disk that loses power: ext4 in an image file, mounted over a loop device.
//!
//! The writer is halted and the image file is copied as it is. What the file system holds in memory
//! and has not written to its device is thereby lost, as when the machine goes dark: data pages,
//! sizes of files, names in directories. The loop device is left with direct I/O off: a write that
//! the loop driver has completed is then in the page cache of the image file, which is what reading
//! the image reads. What was completed by the device counts as kept; a drive that loses what it
//! acknowledged, or keeps a part of what was never flushed, is not modelled.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{fs::SeekFrom, io::Errno};

use crate::skip::{impossible, skipped};

/// A file system of its own, mounted as long as this lives.
pub struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// An empty one of `mebibytes`, or `None` where no image can be mounted, which is said loudly. With
    /// `CI=true` it is an error on a machine that has root and loop devices.
    pub fn new(mebibytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match Self::format(directory.path(), mebibytes).and_then(|()| Self::mount(directory)) {
            Ok(disk) => Some(disk),
            Err(why) => {
                let loops = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open("/dev/loop-control");
                let could = rustix::process::geteuid().is_root() && loops.is_ok();
                let what = "a disk of its own";
                let why = format!("no image can be mounted here: {why}");
                if could {
                    skipped(what, why)
                } else {
                    impossible(what, why)
                }
                None
            }
        }
    }

    fn format(directory: &Path, mebibytes: u64) -> Result<(), String> {
        let image = directory.join(IMAGE);
        File::create(&image)
            .and_then(|file| file.set_len(mebibytes * 1024 * 1024))
            .unwrap();
        // Whatever could be written later, in the background, is written now.
        let complete = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", "-E", complete])
            .arg(image))
    }

    fn mount(directory: tempfile::TempDir) -> Result<Self, String> {
        let place = directory.path().join(PLACE);
        fs::create_dir(&place).unwrap();
        // Nothing is written out by time, nor because a file was renamed over another: what lasts, lasts
        // because the broker synced it.
        let options = "loop,noatime,commit=300,noauto_da_alloc";
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", options])
            .arg(directory.path().join(IMAGE))
            .arg(place))?;
        Ok(Self { directory })
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(PLACE)
    }

    /// What a machine that starts again would find, if power went away now. The writers must be halted.
    ///
    /// A sync that was under way may still be going on in the kernel: the image is read until two
    /// readings in a row are the same, so that the copy shows one moment.
    pub fn after_power_loss(&self) -> Self {
        let image = File::open(self.directory.path().join(IMAGE)).unwrap();
        let mut content = written(&image);
        loop {
            let again = written(&image);
            if again == content {
                break;
            }
            content = again;
        }
        let directory = tempfile::tempdir().unwrap();
        let copy = File::create(directory.path().join(IMAGE)).unwrap();
        copy.set_len(image.metadata().unwrap().len()).unwrap();
        for (offset, bytes) in content {
            copy.write_all_at(&bytes, offset).unwrap();
        }
        Self::mount(directory).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // At once where it can be; else when its last user is gone.
        let unmount = |options: &[&str]| run(Command::new("umount").args(options).arg(self.path()));
        if let Err(why) = unmount(&[]).or_else(|_| unmount(&["--lazy"])) {
            eprintln!("left mounted: {why}");
        }
    }
}

/// Every part of a file that is not a hole.
fn written(file: &File) -> Vec<(u64, Vec<u8>)> {
    let mut parts = Vec::new();
    let mut end = 0;
    loop {
        let start = match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return parts,
            Err(error) => panic!("{error}"),
        };
        end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap();
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        file.read_exact_at(&mut bytes, start).unwrap();
        parts.push((start, bytes));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

const IMAGE: &str = "disk.img";
const PLACE: &str = "mounted";

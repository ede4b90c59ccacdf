//! A disk that is small enough to be filled: a tmpfs of its own, unmounted with the value.
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

pub struct Tmpfs {
    // Unmounted before the directory is removed.
    at: PathBuf,
    _dir: TempDir,
}

/// All that the page cache is asked for at once.
const CHUNK: usize = 1 << 16;

impl Tmpfs {
    /// None where this is not allowed: it needs root.
    pub fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "atio-tests"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|o| o.status.success());
        mounted.then(|| Self { at: dir.path().to_owned(), _dir: dir })
    }
    pub fn path(&self) -> &Path {
        &self.at
    }
    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
    /// Takes every page that is left.
    pub fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file");
        for chunk in [CHUNK, 4096] {
            while file.write_all(&vec![0; chunk]).is_ok() {}
        }
    }
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("removed");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Also where somebody still has a file open.
        let _left_behind = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

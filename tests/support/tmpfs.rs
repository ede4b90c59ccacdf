//! A disk that is small enough to be filled: a tmpfs of its own, unmounted with the value, and with this process where it is killed.
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

pub struct Tmpfs {
    dir: TempDir,
    keeper: Child,
}

/// Mounts, and unmounts when its input ends, which it does however this process ends; also where somebody still has a file open.
const KEEPER: &str = r#"
trap '' INT TERM HUP
mount -t tmpfs -o size="$1" atio-tests "$2" || exit 1
echo mounted
read -r _
umount -l "$2"
"#;

/// All that the page cache is asked for at once.
const CHUNK: usize = 1 << 16;

impl Tmpfs {
    /// None where this is not allowed: it needs root.
    pub fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper", size]).arg(dir.path());
        // In a group of its own: what ends this one's leaves it to its work.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = command.spawn().expect("a shell");
        let said = BufReader::new(keeper.stdout.take().expect("stdout")).lines().next();
        let tmpfs = Self { dir, keeper };
        said.is_some().then_some(tmpfs)
    }
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
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
        // Its input ends here; the directory is removed after this.
        let _unmounted = self.keeper.wait();
    }
}

//! A wall clock of their own for processes, which jumps while they run: libfaketime, of the package `faketime`. Clocks that never go back are
//! left as they are. A wait that has begun is not affected, as it would be where a system's clock is set.
use std::{path::PathBuf, process::Command};
use tempfile::TempDir;

/// librdkafka takes the end of a wait from the wall clock and waits with `cnd_timedwait`, which libfaketime (0.9.10) does not know: it would wait
/// for an hour. What libfaketime knows does the same.
const WAITS: &str = "
#include <errno.h>
#include <pthread.h>
#include <threads.h>
int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until) {
    int ended = pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, until);
    return ended == 0 ? thrd_success : ended == ETIMEDOUT ? thrd_timedout : thrd_error;
}
";

pub struct Clock {
    dir: TempDir,
}

/// Where the library is; none where it is not installed.
pub fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}

impl Clock {
    /// Right, at first.
    pub fn new() -> Self {
        let clock = Self { dir: tempfile::tempdir().expect("a directory") };
        std::fs::write(clock.dir.path().join("waits.c"), WAITS).expect("written");
        let mut compiler = Command::new("cc");
        compiler.current_dir(clock.dir.path()).args(["-shared", "-fPIC", "-O1", "-o", "waits.so", "waits.c"]);
        let made = compiler.output().expect("a C compiler");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        clock.jump(0);
        clock
    }
    /// What a process is started with to go by it.
    pub fn env(&self) -> [(&'static str, String); 5] {
        let text = |path: PathBuf| path.into_os_string().into_string().expect("a path in UTF-8");
        [
            (
                "LD_PRELOAD",
                format!(
                    "{}:{}",
                    text(self.dir.path().join("waits.so")),
                    text(library().expect("libfaketime"))
                ),
            ),
            ("FAKETIME_TIMESTAMP_FILE", text(self.file())),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
            // Otherwise timed waits on such clocks end at once (0.9.10), and a JVM spins.
            ("FAKETIME_FORCE_MONOTONIC_FIX", "0".into()),
        ]
    }
    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }
    /// So many seconds ahead of the true one, within a second.
    pub fn jump(&self, ahead: i64) {
        // Whole, whenever somebody looks.
        let part = self.dir.path().join("part");
        std::fs::write(&part, format!("{ahead:+}\n")).expect("written");
        std::fs::rename(part, self.file()).expect("renamed");
    }
}

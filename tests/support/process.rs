//! Children of a trial: killed when dropped, their output kept, conditions waited for with a deadline.
use std::{
    io::{BufRead, BufReader},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// A point in time that a wait must not pass.
#[derive(Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(seconds: u64) -> Self {
        Self(Instant::now() + Duration::from_secs(seconds))
    }
    pub fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())
    }
    /// Asks at this pace until there is an answer; none when the time is over.
    pub fn every<T>(self, pace: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let answer = ask();
            if answer.is_some() || self.left().is_none() {
                return answer;
            }
            std::thread::sleep(pace);
        }
    }
    /// Asks until there is an answer; panics with `what` when the time is over.
    pub fn until<T>(self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(self.left().is_some(), "in time: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[derive(Default)]
struct Output {
    lines: Mutex<(Vec<String>, bool)>,
    news: Condvar,
}

/// A child process with its stdout and stderr by lines.
pub struct Child {
    child: std::process::Child,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
}

fn follow(stream: impl std::io::Read + Send + 'static) -> Arc<Output> {
    let output = Arc::new(Output::default());
    let shared = output.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            shared.lines.lock().unwrap().0.push(String::from_utf8_lossy(&line).into_owned());
            shared.news.notify_all();
        }
        shared.lines.lock().unwrap().1 = true;
        shared.news.notify_all();
    });
    output
}

impl Child {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = follow(child.stdout.take().expect("stdout"));
        let stderr = follow(child.stderr.take().expect("stderr"));
        Self { child, stdout, stderr }
    }
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// The first stdout line that `pick` takes. Panics with what was printed when the child ends, or time is over, before.
    pub fn line<T>(&self, what: &str, deadline: Deadline, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let mut seen = 0;
        let mut guard = self.stdout.lines.lock().unwrap();
        loop {
            while seen < guard.0.len() {
                if let Some(found) = pick(&guard.0[seen]) {
                    return found;
                }
                seen += 1;
            }
            let left = deadline.left();
            if guard.1 || left.is_none() {
                let printed = guard.0.join("\n");
                drop(guard);
                panic!("no {what}; stdout:\n{printed}\nstderr:\n{}", self.stderr());
            }
            guard = self.stdout.news.wait_timeout(guard, left.unwrap_or_default()).unwrap().0;
        }
    }
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lines.lock().unwrap().0.clone()
    }
    pub fn stderr(&self) -> String {
        self.stderr.lines.lock().unwrap().0.join("\n")
    }
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill -{signal} {}", self.pid());
    }
    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        let _gone_already = self.child.kill();
        self.child.wait().expect("wait");
    }
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait")
    }
    /// Waits for the end; panics when it does not come in time.
    pub fn wait(&mut self, deadline: Deadline) -> ExitStatus {
        let ended = deadline.every(Duration::from_millis(20), || self.child.try_wait().expect("wait"));
        ended.unwrap_or_else(|| {
            let said = self.stderr();
            let last: Vec<&str> = said.lines().rev().take(20).collect();
            panic!("the child does not end in time; last it said, newest first:\n{}", last.join("\n"))
        })
    }
}

/// How a child ended, and all that it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub stderr: String,
}

impl Ended {
    /// What it said, for a failure.
    pub fn told(&self) -> String {
        let lines = self.stdout.iter().cloned().chain(self.stderr.lines().map(str::to_owned));
        format!("{}\n{}", self.status, super::brief(&lines.collect::<Vec<_>>()))
    }
}

impl Child {
    /// Waits for the end and for the last line; panics when it does not come in time.
    pub fn finish(mut self, deadline: Deadline) -> Ended {
        let status = self.wait(deadline);
        for output in [&self.stdout, &self.stderr] {
            // Somebody else may have inherited the pipe: the wait has its deadline too.
            deadline.until("the last line", || output.lines.lock().unwrap().1.then_some(()));
        }
        Ended { status, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

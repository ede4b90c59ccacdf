//! What the kernel says of a process: CPU, memory, threads, disk. Owns the reading of /proc; must not know whose process it is.
use std::fs;

/// Ticks of `/proc/PID/stat` are hundredths of a second on Linux (USER_HZ).
const TICK_US: f64 = 10_000.0;

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// CPU that the process has used, user and system, in microseconds.
pub fn cpu_us(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    // The name may hold anything, parentheses too: fields count from the last one.
    let Some((_, fields)) = stat.rsplit_once(')') else { return f64::NAN };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) * TICK_US
}

/// CPU that the calling thread has used, in microseconds.
pub fn thread_cpu_us() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns / 1e3)
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
}

/// The most memory that was resident so far, in MB.
pub fn peak_rss_mb(pid: u32) -> f64 {
    field(&read(pid, "status"), "VmHWM") / 1024.0
}

/// Memory resident now, in MB.
pub fn rss_mb(pid: u32) -> f64 {
    field(&read(pid, "status"), "VmRSS") / 1024.0
}

pub fn threads(pid: u32) -> f64 {
    field(&read(pid, "status"), "Threads")
}

/// Bytes that went to the disk, or will.
pub fn disk(pid: u32) -> f64 {
    field(&read(pid, "io"), "write_bytes")
}

/// The machine, in a line each.
pub fn machine() -> Vec<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map(|(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal") / 1_048_576.0;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    vec![
        format!("cpu: {}, {cores} cores", model.unwrap_or("unknown")),
        format!("memory: {memory:.1} GiB; kernel: {}; load before: {load}", kernel.trim()),
    ]
}

//! This process: core dumps, locked memory, processors, and the wish of the user to stop.
//!
//! Owns: the few switches of the kernel that protect secrets, and `StopFlag`. Does not own: what is done when the user
//! wants to stop (each verb looks at the flag between two units of work).
//! Invariants: a refusal by the kernel is told, never hidden. Callers: `cli` sets up; verbs read the flag.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Exit code after a second Ctrl-C. Source: shell convention, 128 + SIGINT (2).
const EXIT_INTERRUPTED: i32 = 130;

/// Whether the memory of this process is kept out of swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryLock {
    /// All present and future pages are locked as they are touched.
    Locked,
    /// The limit of this user (bytes) is too low; locking all future memory would make allocations fail.
    LimitTooLow {
        /// `RLIMIT_MEMLOCK`. Unit: bytes.
        limit_bytes: u64,
    },
    /// The kernel refused.
    Refused(String),
}

/// Keeps secrets out of core dumps, and other processes of the same user from reading this one's memory.
///
/// # Errors
/// What the kernel said; the caller warns and goes on.
pub fn disable_core_dumps() -> io::Result<()> {
    let maximum = rustix::process::getrlimit(Resource::Core).maximum;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Tries to keep the memory of this process out of swap.
pub fn lock_memory() -> MemoryLock {
    if let Some(limit_bytes) = rustix::process::getrlimit(Resource::Memlock).current {
        return MemoryLock::LimitTooLow { limit_bytes };
    }
    match rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => MemoryLock::Locked,
        Err(errno) => MemoryLock::Refused(io::Error::from(errno).to_string()),
    }
}

/// The bytes of the program this process runs.
///
/// # Errors
/// What the system said.
pub fn own_program() -> io::Result<Vec<u8>> {
    std::fs::read(std::env::current_exe()?)
}

/// Whether this process may give files to other owners and make devices.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Processors this process may use, at least 1. Respects affinity and cgroup quotas.
pub fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The machine's name, for the record of who wrote what.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Most memory this process ever had resident. Unit: bytes. `None` where `/proc` is not readable.
pub fn resident_bytes_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Columns of a terminal; `None` where it is none.
pub fn terminal_columns(terminal: impl rustix::fd::AsFd) -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

/// Runs a shell command with some environment and input, for at most so long. What it prints goes where ours goes.
///
/// # Errors
/// When it cannot be started, did not end in time (it is then killed), or ended otherwise than well.
pub fn run_hook(
    command: &str,
    environment: &[(&str, String)],
    input: &[u8],
    patience: std::time::Duration,
) -> io::Result<()> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        // Standard output is for what the program was asked for.
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that reads nothing is a good command.
        drop(stdin.write_all(input));
    }
    let step = std::time::Duration::from_millis(20);
    let mut waited = std::time::Duration::ZERO;
    loop {
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) };
        }
        if waited >= patience {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {} s", patience.as_secs())));
        }
        std::thread::sleep(step);
        waited += step;
    }
}

/// Time of all processors of the machine since it was started: at work, and altogether. Unit: clock ticks. `None` where `/proc`
/// is not readable.
pub fn machine_time() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields = stat.lines().next()?.split_ascii_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is contained in these.
    let ticks: Vec<u64> = fields.take(8).map(|field| field.parse().unwrap_or(0)).collect();
    let all: u64 = ticks.iter().sum();
    let rest = ticks.get(3)? + ticks.get(4)?;
    Some((all.saturating_sub(rest), all))
}

/// Lets this thread, and those it will start, give way to others: 0 is ordinary, 19 gives way most.
///
/// # Errors
/// The kernel's; less than before takes privileges.
pub fn set_niceness(niceness: i32) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, niceness)?)
}

/// The wish to stop: set once, never taken back. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    stop: Arc<AtomicBool>,
}

impl StopFlag {
    /// A flag that nobody has set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to stop at the next good moment.
    pub fn is_set(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks for a stop.
    pub fn set(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Lets SIGINT, SIGTERM and SIGHUP set the flag; the second of them ends the process at once with code 130 (safe at any
    /// moment: volumes and job survive a cut of power, so they survive this).
    ///
    /// # Errors
    /// What the kernel said about the handlers.
    pub fn arm(&self) -> io::Result<()> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // ORDER: the exit handler first, so that it sees the flag as it was before this signal.
            signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, Arc::clone(&self.stop))?;
            signal_hook::flag::register(signal, Arc::clone(&self.stop))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_stop_flag_share_it() {
        let flag = StopFlag::new();
        let clone = flag.clone();
        assert!(!clone.is_set());
        flag.set();
        assert!(clone.is_set());
    }

    #[test]
    fn facts_about_this_process_are_plausible() {
        assert!(parallelism() >= 1);
        let (at_work, all) = machine_time().expect("Linux has /proc");
        assert!(at_work > 0 && at_work <= all);
        assert!(resident_bytes_peak().expect("Linux has /proc") > 100_000);
    }
}

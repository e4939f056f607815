//! What a drive says of its own health (SMART), asked through `smartctl` of smartmontools where that is installed.
//!
//! Owns: one question, bounded in time, and the few facts that matter for a drive about to travel. Does not own: any
//! decision made from them. Invariants: every fact is optional and nothing here fails: without the program, without the
//! rights, or behind a USB bridge that does not pass it on, there are simply none. The program, and not commands of our own,
//! because it knows hundreds of bridges and drives by name. Callers: `stage`, `doctor`.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::sys::device;

/// Longest wait for an answer: a drive that sleeps needs some seconds to wake up.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest answer that is read; real ones have some tens of kilobytes. Unit: bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// ATA attributes. Source: ATA/ATAPI vendor practice as listed by smartmontools: 5 reallocated sectors, 197 sectors that
/// wait for it.
const REALLOCATED: u64 = 5;
const PENDING: u64 = 197;

/// A drive's own words. A field is `None` when it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SmartFacts {
    /// Whether it calls itself well; `false`: it expects to fail.
    pub is_well: Option<bool>,
    /// How long it has been in use. Unit: hours.
    pub hours: Option<u64>,
    /// Sectors it has replaced by spare ones (ATA).
    pub reallocated: Option<u64>,
    /// Sectors it could not read and has not given up yet (ATA).
    pub pending: Option<u64>,
    /// Times data could not be read or written without error (NVMe).
    pub media_errors: Option<u64>,
    /// Share of its life that is used, over 100 beyond what it was made for (NVMe). Unit: percent.
    pub used_percent: Option<u64>,
}

impl SmartFacts {
    /// Whether it should not carry the only copy of anything.
    pub fn is_failing(&self) -> bool {
        self.is_well == Some(false) || self.pending.is_some_and(|sectors| sectors > 0)
    }
}

impl fmt::Display for SmartFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let well = self.is_well.map(|well| if well { "well" } else { "about to fail" }.to_owned());
        let counted = |count: Option<u64>, what: &str| count.map(|count| format!("{count} {what}"));
        let words: Vec<String> = [
            well,
            counted(self.hours, "hours in use"),
            counted(self.reallocated, "sectors replaced"),
            counted(self.pending, "sectors unreadable"),
            counted(self.media_errors, "media errors"),
            self.used_percent.map(|percent| format!("{percent} % of its life used")),
        ]
        .into_iter()
        .flatten()
        .collect();
        f.write_str(&words.join(", "))
    }
}

/// Asks the drive that holds `path`; `None` where there is nothing to be had.
pub fn facts(path: &Path) -> Option<SmartFacts> {
    let name = device::facts(path).name?;
    let mut command = Command::new("smartctl");
    command.args(["--json", "--all"]).arg(Path::new("/dev").join(name));
    answer(command, ANSWER)
}

fn answer(mut command: Command, limit: Duration) -> Option<SmartFacts> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let answer = child.stdout.take()?;
    let (tell, told) = std::sync::mpsc::channel();
    // The thread stays behind with a drive that answers nobody, or with whoever else holds the pipe: neither can be ended.
    std::thread::spawn(move || {
        use std::io::Read as _;
        let mut text = Vec::new();
        if answer.take(ANSWER_BYTES_MAX).read_to_end(&mut text).is_ok() {
            let _ = tell.send(text);
        }
        // Its exit code is a set of flags, some of which are bad news and no failure: the answer says it better.
        let _ = child.wait();
    });
    parse(&told.recv_timeout(limit).ok()?)
}

/// Reads the answer of `smartctl --json --all`; `None` if it has none of the facts.
fn parse(answer: &[u8]) -> Option<SmartFacts> {
    let said: Value = serde_json::from_slice(answer).ok()?;
    let number = |place: &str| said.pointer(place).and_then(Value::as_u64);
    let table = said.pointer("/ata_smart_attributes/table").and_then(Value::as_array);
    let attribute = |id: u64| {
        let row = table?.iter().find(|row| row.get("id").and_then(Value::as_u64) == Some(id))?;
        row.pointer("/raw/value").and_then(Value::as_u64)
    };
    let found = SmartFacts {
        is_well: said.pointer("/smart_status/passed").and_then(Value::as_bool),
        hours: number("/power_on_time/hours"),
        reallocated: attribute(REALLOCATED),
        pending: attribute(PENDING),
        media_errors: number("/nvme_smart_health_information_log/media_errors"),
        used_percent: number("/nvme_smart_health_information_log/percentage_used"),
    };
    (found != SmartFacts::default()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_unreadable_sectors_is_failing_whatever_it_calls_itself() {
        let answer = r#"{"smart_status":{"passed":true},"power_on_time":{"hours":12345},"ata_smart_attributes":{"table":[
            {"id":5,"name":"Reallocated_Sector_Ct","raw":{"value":8,"string":"8"}},
            {"id":197,"name":"Current_Pending_Sector","raw":{"value":2,"string":"2"}}]}}"#;
        let facts = parse(answer.as_bytes()).expect("facts");
        assert_eq!(facts.to_string(), "well, 12345 hours in use, 8 sectors replaced, 2 sectors unreadable");
        assert!(facts.is_failing());
    }

    #[test]
    fn an_nvme_drive_tells_its_wear() {
        let answer = r#"{"smart_status":{"passed":false},"nvme_smart_health_information_log":{"media_errors":0,"percentage_used":104}}"#;
        let facts = parse(answer.as_bytes()).expect("facts");
        assert_eq!(facts.to_string(), "about to fail, 0 media errors, 104 % of its life used");
        assert!(facts.is_failing());
    }

    #[test]
    fn a_drive_that_never_answers_is_not_waited_for() {
        let mut silent = Command::new("sleep");
        silent.arg("20");
        assert_eq!(answer(silent, Duration::from_millis(50)), None);
    }

    #[test]
    fn a_drive_that_says_nothing_and_a_program_that_failed_give_no_facts() {
        let unknown = r#"{"smartctl":{"messages":[{"string":"Unable to detect device type","severity":"error"}],"exit_status":1}}"#;
        for answer in ["", "no json", "{}", unknown, r#"{"ata_smart_attributes":{"table":[{"id":"5"}]}}"#] {
            assert_eq!(parse(answer.as_bytes()), None, "{answer}");
        }
        assert_eq!(facts(Path::new("/proc/no/such/path")), None);
    }
}

//! Volumes on the command line of `stage`: places, the question for a further one, the fill map and the shopping list.

use std::io::IsTerminal;
use std::sync::Arc;

use crate::cli::progress::Painter;
use crate::cli::{Exit, Failure};
use crate::stage::{FillMap, NextVolume, Place, Wanted};
use crate::units::{Bytes, Count};

/// Sizes that drives are sold in. Unit: bytes.
const SOLD_BYTES: [u64; 9] = [
    500_000_000_000,
    1_000_000_000_000,
    2_000_000_000_000,
    4_000_000_000_000,
    8_000_000_000_000,
    12_000_000_000_000,
    16_000_000_000_000,
    20_000_000_000_000,
    24_000_000_000_000,
];
/// What a file system leaves of a drive, in percent: ext4 keeps 5 % for root unless told otherwise.
const USABLE_PERCENT: u64 = 94;
/// Most drives of one size that a shopping list suggests.
const DRIVES_MAX: u64 = 12;

/// Splits `DIR,size=SIZE`.
pub(super) fn parse_place(text: &str) -> Result<Place, Failure> {
    let Some((path, size)) = text.rsplit_once(",size=") else {
        return Ok(Place { path: text.into(), limit_bytes: None });
    };
    let size: Bytes =
        size.parse().map_err(|error| Failure::of(Exit::Usage, format!("--volume {text}"), None, error))?;
    Ok(Place { path: path.into(), limit_bytes: Some(size.get()) })
}

/// The question for a further volume, if there is somebody to ask.
pub(super) fn asker(painter: &Arc<Painter>) -> Option<NextVolume> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let painter = Arc::clone(painter);
    Some(Arc::new(move |wanted: &Wanted| painter.asking(|| ask(wanted, &painter))))
}

fn ask(wanted: &Wanted, painter: &Painter) -> Option<Place> {
    if let Some(reason) = &wanted.refused {
        painter.say(reason.clone());
    }
    let pending = wanted.pending;
    painter.say(format!(
        "no volume has room for more; not staged yet: {} entries, {} (seen so far).\n\
         Connect a further drive and type its directory (or DIR,size=SIZE). Enter alone stops here; the same command goes on\n\
         later. Do not take a drive away before it is called sealed.",
        Count::new(pending.entries),
        Bytes::new(pending.bytes).decimal()
    ));
    loop {
        let mut line = String::new();
        let count = std::io::stdin().read_line(&mut line).ok()?;
        let text = line.trim();
        if count == 0 || text.is_empty() {
            return None;
        }
        match parse_place(text) {
            Ok(place) => return Some(place),
            Err(failure) => painter.say(format!("{failure}; try again:")),
        }
    }
}

/// The fill map for people.
pub(super) fn map_text(map: &FillMap) -> String {
    let bytes = Bytes::new;
    let mut lines = vec![format!("to stage: {} entries, {}", map.due.entries, bytes(map.due.bytes))];
    if map.staged.entries > 0 {
        lines.push(format!("staged already: {} entries, {}", map.staged.entries, bytes(map.staged.bytes)));
    }
    if map.problems > 0 {
        lines.push(format!("could not be looked at: {} names (packmule scan lists them)", map.problems));
    }
    let likely = map.likely_bytes.map_or_else(
        || ", nothing could be sampled".to_owned(),
        |likely| format!(", likely {} by samples of the content", bytes(likely)),
    );
    lines.push(format!("room needed: at most {}{likely}", bytes(map.worst_bytes)));
    for volume in &map.volumes {
        let name = volume.number.map_or_else(|| "new volume".to_owned(), |number| format!("volume {number}"));
        let place = volume.place.path.display();
        if volume.is_sealed {
            lines.push(format!("{name} at {place}: sealed, takes nothing more"));
            continue;
        }
        let likely = match map.likely_bytes {
            Some(_) if volume.likely_bytes != volume.worst_bytes => format!(" (likely {})", bytes(volume.likely_bytes)),
            _ => String::new(),
        };
        let (fill, room) = (bytes(volume.worst_bytes), bytes(volume.room_bytes));
        lines.push(format!("{name} at {place}: up to {fill} of {room}{likely}"));
    }
    let (worst, likely) = map.missing_bytes();
    lines.push(match (worst, likely) {
        (0, _) => "everything fits".to_owned(),
        (worst, 0) => format!(
            "it likely fits; if it compresses worse than the samples, up to {} more room is needed: {}",
            bytes(worst),
            shopping(worst)
        ),
        (worst, likely) => {
            format!("further volumes are needed for {} (at most {}): {}", bytes(likely), bytes(worst), shopping(worst))
        }
    });
    lines.push("nothing was written".to_owned());
    lines.join("\n") + "\n"
}

/// Drives that would hold so much: the smallest single one, and a few of the sizes below.
fn shopping(missing_bytes: u64) -> String {
    let usable = |size: u64| size / 100 * USABLE_PERCENT;
    let mut offers: Vec<String> = SOLD_BYTES
        .iter()
        .rev()
        .map(|size| (missing_bytes.div_ceil(usable(*size)), *size))
        .filter(|(count, _)| *count <= DRIVES_MAX)
        .map(|(count, size)| format!("{count} x {}", short(size)))
        .collect();
    // Larger single drives than the smallest that will do are no advice.
    let singles = offers.iter().filter(|offer| offer.starts_with("1 x ")).count();
    offers.drain(..singles.saturating_sub(1));
    if offers.is_empty() {
        let largest = SOLD_BYTES.last().copied().unwrap_or(1);
        return format!("{} x {}", missing_bytes.div_ceil(usable(largest)), short(largest));
    }
    offers.truncate(3);
    offers.join(", or ")
}

fn short(size: u64) -> String {
    if size < 1_000_000_000_000 {
        format!("{} GB", size / 1_000_000_000)
    } else {
        format!("{} TB", size / 1_000_000_000_000)
    }
}

/// The fill map for programs.
pub(super) fn map_json(map: &FillMap) -> serde_json::Value {
    let count = |count: crate::job::Count| serde_json::json!({"entries": count.entries, "bytes": count.bytes});
    let (worst, likely) = map.missing_bytes();
    serde_json::json!({
        "dry_run": true,
        "due": count(map.due),
        "staged": count(map.staged),
        "problems": map.problems,
        "worst_bytes": map.worst_bytes,
        "likely_bytes": map.likely_bytes,
        "volumes": map.volumes.iter().map(|volume| serde_json::json!({
            "path": volume.place.path.display().to_string(),
            "number": volume.number,
            "sealed": volume.is_sealed,
            "room_bytes": volume.room_bytes,
            "worst_bytes": volume.worst_bytes,
            "likely_bytes": volume.likely_bytes,
        })).collect::<Vec<_>>(),
        "missing_worst_bytes": worst,
        "missing_likely_bytes": likely,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shopping_list_names_one_drive_that_does_and_smaller_ones_together() {
        assert_eq!(shopping(1), "1 x 500 GB");
        assert_eq!(shopping(3_000_000_000_000), "1 x 4 TB, or 2 x 2 TB, or 4 x 1 TB");
        assert_eq!(shopping(400_000_000_000_000), "18 x 24 TB");
    }

    #[test]
    fn a_place_may_name_how_much_of_it_is_used() {
        let place = parse_place("/mnt/a,size=400GB").expect("a place");
        assert_eq!((place.path.to_str(), place.limit_bytes), (Some("/mnt/a"), Some(400_000_000_000)));
        assert_eq!(parse_place("/mnt/b").expect("a place").limit_bytes, None);
        assert!(parse_place("/mnt/c,size=much").is_err());
    }
}

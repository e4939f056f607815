//! What damage on one volume costs when another volume given has the same bytes: nothing.
//!
//! Owns: taking such ranges from the findings. Does not own: the findings themselves, which stay: a damaged volume is
//! damaged. Invariants: a range is only taken away when an extent that was read whole in this check covers it.
//! Callers: `job`.

use std::collections::{HashMap, HashSet};

use crate::format::record::Content;
use crate::sys::Access;
use crate::verify::finding::{Finding, Span};
use crate::volume::{Keyring, Volume, pack_name};

/// A place: volume, file on it, entry.
type Place = (u32, String, u64);

/// An extent that nothing is wrong with.
struct Copy {
    volume: u32,
    file: String,
    generation: u32,
    bytes: Span,
}

/// Takes from the findings what is whole on another volume. Few extents are lost, so the records are read once more.
pub(super) fn spare(volumes: &[Volume], keyring: &Keyring, findings: &mut [Finding]) {
    let mut lost: HashMap<Place, Vec<Span>> = HashMap::new();
    for finding in &*findings {
        for range in &finding.lost {
            lost.entry((finding.volume, finding.file.clone(), range.id)).or_default().push(range.bytes);
        }
    }
    if lost.is_empty() || volumes.len() < 2 {
        return;
    }
    let (copies, latest) = copies(volumes, keyring, &lost);
    for finding in findings {
        let (volume, file) = (finding.volume, finding.file.clone());
        let before = finding.lost.len();
        finding.lost.retain(|range| {
            let own = latest.get(&range.id).copied().unwrap_or(1);
            let covers = |copy: &&Copy| {
                let is_other = copy.volume != volume || copy.file != file;
                let is_inside = copy.bytes.from <= range.bytes.from && range.bytes.to <= copy.bytes.to;
                is_other && is_inside && copy.generation >= own
            };
            copies.get(&range.id).is_none_or(|copies| !copies.iter().any(|copy| covers(&copy)))
        });
        let spared = before - finding.lost.len();
        if spared > 0 {
            finding.text.push_str(&format!(" ({spared} ranges it held are whole elsewhere on the volumes given)"));
        }
    }
}

/// Whole extents of the entries that lost something, and the latest generation of each.
fn copies(
    volumes: &[Volume],
    keyring: &Keyring,
    lost: &HashMap<Place, Vec<Span>>,
) -> (HashMap<u64, Vec<Copy>>, HashMap<u64, u32>) {
    let wanted: HashSet<u64> = lost.keys().map(|(.., id)| *id).collect();
    let (mut copies, mut latest) = (HashMap::<u64, Vec<Copy>>::new(), HashMap::<u64, u32>::new());
    for volume in volumes {
        let number = volume.header().number;
        for pack in volume.packs().unwrap_or_default() {
            let opened = volume.open_pack(pack, Access::Buffered).and_then(|file| file.index(keyring));
            let Ok(index) = opened else { continue }; // damage is reported already
            let file = format!("packs/{}", pack_name(pack));
            for extent in index.extents().filter(|extent| wanted.contains(&extent.id)) {
                let highest = latest.entry(extent.id).or_default();
                *highest = extent.generation.max(*highest);
                let bytes = Span { from: extent.offset, to: extent.offset.saturating_add(extent.length) };
                let overlaps = |span: &Span| span.from < bytes.to && bytes.from < span.to;
                let place = (number, file.clone(), extent.id);
                let is_hit = lost.get(&place).is_some_and(|spans| spans.iter().any(overlaps));
                let has_frames = match &extent.content {
                    Content::Hole => true,
                    Content::Stored(pieces) => pieces
                        .iter()
                        .all(|piece| index.data.binary_search_by_key(&piece.frame, |frame| frame.index).is_ok()),
                };
                if !is_hit && has_frames {
                    let copy = Copy { volume: number, file: file.clone(), generation: extent.generation, bytes };
                    copies.entry(extent.id).or_default().push(copy);
                }
            }
        }
    }
    (copies, latest)
}

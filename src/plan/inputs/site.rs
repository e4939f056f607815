//! What the site gives: reading, listing, workers, stations, drives.
//!
//! Owns: their defaults and checks. Called by `inputs`.

use crate::plan::dataset::{DatasetFile, Marked};
use crate::plan::inputs::{Error, Resolver, question};
use crate::plan::request::Request;
use crate::units::{BitsPerSecond, BytesPerSecond, Count, Span};

/// What the site gives. Rates are bytes per second.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) source_read: f64,
    /// Files listed per second.
    pub(crate) scan_rate: f64,
    pub(crate) workers: f64,
    /// Whether anybody said how many; else a line gets as many as fill it.
    pub(crate) workers_given: bool,
    /// How long the source may stand still.
    pub(crate) window_days: f64,
    pub(crate) file_cost_s: Option<f64>,
    /// Rate of one drive, measured or given.
    pub(crate) drive_rate: Option<f64>,
    /// Devices filled at once.
    pub(crate) stations: usize,
    pub(crate) lan: f64,
    /// Devices held at once.
    pub(crate) devices: Option<usize>,
    pub(crate) bays: Option<f64>,
    pub(crate) drives_owned: u64,
    /// The line at the far site to which drives go.
    pub(crate) far_line: Option<f64>,
}

pub(super) fn site(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Site, Error> {
    let rate = |asked: Option<BytesPerSecond>, file: Option<Marked<BytesPerSecond>>| asked.map(Marked::given).or(file);
    let count = |asked: Option<Count>, file: Option<Marked<Count>>| asked.map(Marked::given).or(file);
    let source_read = r.pick_or_assume(
        "source read rate",
        rate(request.source_read, file.site.source_read),
        "source-read",
        |rate: BytesPerSecond| rate.get() / 1e6,
        |mb| BytesPerSecond::new(mb * 1e6).to_string(),
    ) * 1e6;
    if source_read <= 0.0 {
        return Err(question(
            "the source read rate is zero: nothing can be copied; measure it with `packmule probe --source DIR`",
        ));
    }
    let scan_rate = r.pick_or_assume(
        "files listed per second",
        file.site.scan_rate,
        "scan-rate",
        |c: Count| c.get() as f64,
        |n| format!("{n:.0} files/s"),
    );
    let workers = r.pick_or_assume(
        "parallel file workers",
        count(request.workers, file.site.workers),
        "workers",
        |c: Count| c.get().max(1) as f64,
        |n| format!("{n:.0}"),
    );
    let window_days = r.pick_or_assume(
        "window for the cutover",
        request.window.map(Marked::given).or(file.change.window),
        "cutover-window",
        |s: Span| s.days().get(),
        |d| crate::units::Days::new(d).to_string(),
    );
    let file_cost_s = file.site.file_cost_ms.map(|ms| {
        r.note("cost of one file", format!("{} ms", ms.value), ms.mark);
        ms.value / 1e3
    });
    let drive_rate =
        r.pick("rate of one volume or drive", request.drive_rate, file.site.volume_write).map(BytesPerSecond::get);
    let stations = r
        .pick("devices filled at once", request.stations, file.site.stations)
        .map_or(1, |c| usize::try_from(c.get()).unwrap_or(1).max(1));
    let lan = r
        .pick("network inside the building", None, file.site.lan)
        .map_or(f64::INFINITY, |rate: BitsPerSecond| rate.to_bytes().get());
    let devices = r.pick("devices held at once", request.devices, None);
    let far_line = r.pick("line at the far site", request.far_line, file.site.far_line);
    Ok(Site {
        source_read,
        scan_rate,
        workers,
        workers_given: request.workers.or(file.site.workers.map(|w| w.value)).is_some(),
        window_days,
        file_cost_s,
        drive_rate,
        stations,
        lan,
        devices: devices.map(|count: Count| usize::try_from(count.get()).unwrap_or(usize::MAX)),
        bays: r.pick("drive bays", request.bays, None).map(|count| count.get().max(1) as f64),
        drives_owned: r.pick("drives you own", request.drives_owned, None).map_or(0, Count::get),
        far_line: far_line.map(|rate| rate.to_bytes().get()),
    })
}

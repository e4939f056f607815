//! The lines there are: the internet line, and a Direct Connect that exists.
//!
//! Owns: their defaults and checks. Called by `inputs`.

use crate::plan::dataset::{DatasetFile, Mark};
use crate::plan::inputs::{Error, Resolver, question};
use crate::plan::network::{FRAME_1500, Line, Tcp, WeekProfile};
use crate::plan::request::Request;
use crate::units::{BitsPerSecond, BytesPerSecond, Count, Share};

pub(super) fn link(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Option<Line>, Error> {
    let measured = r.pick("upload rate to the bucket", None, file.link.upload_rate);
    let Some(rate) = r.pick("link", request.link, file.link.rate) else {
        let line = |rate: BytesPerSecond| Line {
            rate: BitsPerSecond::new((rate.get() * 8.0) as u64),
            profile: WeekProfile::constant(Share::ALL, Share::ZERO),
            frame: Share::ALL,
            tcp: None,
            measured: Some(rate),
        };
        if measured.is_some() {
            // The measured rate holds all that a round trip does to it; what was measured is shown all the same.
            r.pick("round trip in ms", None, file.link.rtt_ms);
        }
        return Ok(measured.map(line));
    };
    if rate.get() == 0 {
        return Err(question("a link of zero carries nothing; leave --link out to plan without a network"));
    }
    let share = match r.pick("share of the link we may use", request.share, file.link.share) {
        Some(share) => share,
        // What was measured was left by all others; only a share that somebody gives is a cap upon it.
        None if measured.is_some() => Share::ALL,
        None => {
            let assumed = r.assumed("line-utilisation");
            let busy = request.busy.or(file.link.busy.map(|b| b.value)).unwrap_or_default();
            let share = Share::new(assumed.min(1.0 - busy.get()));
            r.note("share of the link we may use", share.to_string(), Mark::Assumed);
            share
        }
    };
    let busy = r.pick("share of the link already busy", request.busy, file.link.busy).unwrap_or_default();
    let given = request.share.is_some() || file.link.share.is_some();
    if given && share.get() + busy.get() > 1.0 + 1e-9 {
        return Err(question(format!(
            "{share} of the link for us and {busy} already busy add to more than all of it; --share is what we may use, --busy what others already take"
        )));
    }
    if share.get() <= 0.0 && request.hours.is_empty() && file.link.hours.is_empty() {
        return Err(question("a share of 0% of the link carries nothing; leave --link out to plan without a network"));
    }
    let rules = if request.hours.is_empty() { &file.link.hours } else { &request.hours };
    let profile = WeekProfile::parse(rules, share).map_err(question)?.capped(busy);
    if !rules.is_empty() {
        r.note("hours of the week", format!("{} (mean {})", rules.join("; "), profile.mean()), Mark::Given);
    }
    if profile.mean().get() <= 0.0 {
        return Err(question("the hours given leave nothing of the link in any hour of the week"));
    }
    let tcp = tcp(r, request, file)?;
    Ok(Some(Line { rate, profile, frame: Share::new(FRAME_1500), tcp, measured }))
}

pub(super) fn existing_dx(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Option<Line>, Error> {
    let Some(rate) = r.pick("Direct Connect you have", request.existing_dx, file.direct_connect.rate) else {
        return Ok(None);
    };
    if rate.get() == 0 {
        return Err(question("a Direct Connect of zero carries nothing; leave it out"));
    }
    let busy = r.pick("share of it already busy", request.dx_busy, file.direct_connect.busy).unwrap_or_default();
    let share = file.direct_connect.share.map_or(Share::ALL, |share| share.value);
    let profile = WeekProfile::parse(&file.direct_connect.hours, share).map_err(question)?.capped(busy);
    Ok(Some(Line { rate, profile, frame: Share::new(FRAME_1500), tcp: None, measured: None }))
}

/// What TCP needs to know of the path; none without a round trip, which is then not a limit.
fn tcp(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Option<Tcp>, Error> {
    let rtt = r.pick("round trip in ms", request.rtt_ms, file.link.rtt_ms);
    if rtt.is_some_and(|ms| !ms.is_finite() || ms < 0.0) {
        return Err(question("a round trip is zero or more milliseconds, such as --rtt-ms 80"));
    }
    let loss = r.pick("packet loss", request.loss, file.link.loss).unwrap_or_default();
    let window = r.pick("TCP window", None, file.link.window);
    let Some(rtt) = rtt.filter(|ms| *ms > 0.0) else { return Ok(None) };
    let streams = r.pick_or_assume(
        "parallel connections",
        request.streams.map(crate::plan::dataset::Marked::given).or(file.link.streams),
        "streams",
        |count: Count| count.get() as f64,
        |n| format!("{n:.0}"),
    );
    Ok(Some(Tcp {
        streams: (streams as u32).max(1),
        window_bytes: window.map_or(f64::INFINITY, |w| w.get() as f64),
        rtt_s: rtt / 1e3,
        loss: loss.get(),
        mss_bytes: 1460.0,
        mathis: 1.0,
    }))
}
